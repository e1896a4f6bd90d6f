# Closing days that are over, so that no question reads the history, and holding snapshots against the log: pedwatch daily, as an
# identity of its own, and what tells when it has not run.
resource "google_service_account" "daily" {
  count = var.daily == null ? 0 : 1

  project      = var.project
  account_id   = "${var.name}-daily"
  display_name = "pedwatch: closes days"
}

# It stores what it made of a day, and that it did; raises what nobody had; and records what a snapshot taught (what the table
# refuses goes to quarantine).
resource "google_bigquery_table_iam_member" "daily_writes" {
  for_each = var.daily == null ? [] : toset(["closed_changes", "carried_writes", "object_days", "watermarks", "alert_log", "replica_events", "quarantine"])

  project    = var.project
  dataset_id = google_bigquery_dataset.this.dataset_id
  table_id   = google_bigquery_table.tables[each.key].table_id
  role       = "roles/bigquery.dataEditor"
  member     = google_service_account.daily[0].member
}

resource "google_bigquery_table_iam_member" "daily_reads" {
  for_each = var.daily == null ? [] : toset(["deployment_config", "snapshots", "pod_metrics"])

  project    = var.project
  dataset_id = google_bigquery_dataset.this.dataset_id
  table_id   = google_bigquery_table.tables[each.key].table_id
  role       = "roles/bigquery.dataViewer"
  member     = google_service_account.daily[0].member
}

# The schema that it checks at its start.
resource "google_bigquery_dataset_access" "daily_checks" {
  count = var.daily == null ? 0 : 1

  project       = var.project
  dataset_id    = google_bigquery_dataset.this.dataset_id
  role          = "roles/bigquery.metadataViewer"
  user_by_email = google_service_account.daily[0].email
}

resource "google_project_iam_member" "daily_queries" {
  count = var.daily == null ? 0 : 1

  project = var.project
  role    = "roles/bigquery.jobUser"
  member  = google_service_account.daily[0].member
}

# That nothing ended well is told whether it failed or was never started. Monitoring's own absence sees no longer than a day, so
# it is asked for by a query: not one success in any hour, for so long.
resource "google_monitoring_alert_policy" "daily" {
  count = var.daily == null ? 0 : 1

  project               = var.project
  display_name          = "pedwatch: days are not closed"
  combiner              = "OR"
  severity              = "WARNING"
  notification_channels = local.channels
  user_labels           = local.labels

  conditions {
    display_name = "No day was closed for ${var.daily.told_after_hours} hours"

    condition_prometheus_query_language {
      query               = "absent_over_time(run_googleapis_com:job_completed_execution_count{monitored_resource=\"cloud_run_job\", job_name=\"${google_cloud_run_v2_job.jobs["daily"].name}\", result=\"succeeded\"}[1h])"
      duration            = "${var.daily.told_after_hours * 3600}s"
      evaluation_interval = "300s"
      # There is no such metric before the first night.
      disable_metric_validation = true
    }
  }

  documentation {
    mime_type = "text/markdown"
    content   = "Every answer stays right, but costs more each day: what is not closed is read from its events. Look at the logs of the job ${google_cloud_run_v2_job.jobs["daily"].name}: is a table or a grant missing, does it end at its timeout? What it had done stays; `gcloud run jobs execute ${google_cloud_run_v2_job.jobs["daily"].name} --project ${var.project} --region ${var.region}` goes on there."
  }
}
