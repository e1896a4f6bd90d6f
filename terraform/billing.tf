# What Deployments cost: a preliminary bill every day; the month before made final from the 3rd on, and corrected each day by what
# comes late; and a page of both in a bucket. Who keeps bills and who makes pages are two identities: a page is made of everything
# and changes nothing.
locals {
  reports = try(var.billing.report, null)[*]

  billing_jobs = merge(
    { for billing in var.billing[*] : "bill" => { args = ["bill"], schedule = billing.schedule, account = "bill" } },
    { for billing in var.billing[*] : "close" => { args = ["bill", "--month", "last", "--close"], schedule = billing.close_schedule, account = "bill" } },
    { for report in local.reports : "report" => { args = ["report", "--output", "gs://${report.bucket}/${report.folder}"], schedule = report.schedule, account = "report" } },
    { for report in local.reports : "report-last" => { args = ["report", "--month", "last", "--output", "gs://${report.bucket}/${report.folder}"], schedule = report.last_schedule, account = "report" } },
  )
  # Those that run on some days of a month alone rest for three at most.
  billing_told_after_hours = { for name in keys(local.billing_jobs) : name => var.billing.told_after_hours + (contains(["close", "report-last"], name) ? 48 : 0) }

  # Everything that a question about a month reads.
  billing_reads = {
    bill   = ["deployment_config", "replica_events", "carried_writes", "closed_changes", "object_days"]
    report = ["deployment_config", "replica_events", "carried_writes", "closed_changes", "object_days", "alert_log", "pod_metrics", "snapshots", "bills", "watermarks"]
  }
  billing_accounts = toset(concat(var.billing == null ? [] : ["bill"], length(local.reports) == 0 ? [] : ["report"]))
}

resource "google_service_account" "billing" {
  for_each = local.billing_accounts

  project      = var.project
  account_id   = "${var.name}-${each.key}"
  display_name = { bill = "pedwatch: keeps bills", report = "pedwatch: makes pages of months" }[each.key]
}

# Lines, and that a month is closed.
resource "google_bigquery_table_iam_member" "billing_writes" {
  for_each = var.billing == null ? [] : toset(["bills", "watermarks"])

  project    = var.project
  dataset_id = google_bigquery_dataset.this.dataset_id
  table_id   = google_bigquery_table.tables[each.key].table_id
  role       = "roles/bigquery.dataEditor"
  member     = google_service_account.billing["bill"].member
}

resource "google_bigquery_table_iam_member" "billing_reads" {
  for_each = merge([for account in local.billing_accounts : { for table in local.billing_reads[account] : "${account} ${table}" => { account = account, table = table } }]...)

  project    = var.project
  dataset_id = google_bigquery_dataset.this.dataset_id
  table_id   = google_bigquery_table.tables[each.value.table].table_id
  role       = "roles/bigquery.dataViewer"
  member     = google_service_account.billing[each.value.account].member
}

# The schema that they check at their start.
resource "google_bigquery_dataset_access" "billing_checks" {
  for_each = local.billing_accounts

  project       = var.project
  dataset_id    = google_bigquery_dataset.this.dataset_id
  role          = "roles/bigquery.metadataViewer"
  user_by_email = google_service_account.billing[each.key].email
}

resource "google_project_iam_member" "billing_queries" {
  for_each = local.billing_accounts

  project = var.project
  role    = "roles/bigquery.jobUser"
  member  = google_service_account.billing[each.key].member
}

# To put a page there, and another in its place: nobody reads by it, and nothing else in the bucket is touched.
resource "google_project_iam_custom_role" "reports" {
  count = length(local.reports)

  project     = var.project
  role_id     = "${replace(var.name, "-", "_")}_reports"
  title       = "pedwatch: writes pages"
  permissions = ["storage.objects.create", "storage.objects.delete"]
}

resource "google_storage_bucket_iam_member" "reports" {
  count = length(local.reports)

  bucket = local.reports[0].bucket
  role   = "projects/${var.project}/roles/${google_project_iam_custom_role.reports[0].role_id}"
  member = google_service_account.billing["report"].member

  condition {
    title      = "pedwatch-reports"
    expression = "resource.name.startsWith(\"projects/_/buckets/${local.reports[0].bucket}/objects/${local.reports[0].folder}\")"
  }
}

# As of closing days (daily.tf): a job that was never started tells nothing.
resource "google_monitoring_alert_policy" "billing" {
  count = var.billing == null ? 0 : 1

  project               = var.project
  display_name          = "pedwatch: no bill"
  combiner              = "OR"
  severity              = "WARNING"
  notification_channels = local.channels
  user_labels           = local.labels

  dynamic "conditions" {
    for_each = local.billing_told_after_hours

    content {
      display_name = "${google_cloud_run_v2_job.jobs[conditions.key].name} did not end well for ${conditions.value} hours"

      condition_prometheus_query_language {
        query               = "absent_over_time(run_googleapis_com:job_completed_execution_count{monitored_resource=\"cloud_run_job\", job_name=\"${google_cloud_run_v2_job.jobs[conditions.key].name}\", result=\"succeeded\"}[1h])"
        duration            = "${conditions.value * 3600}s"
        evaluation_interval = "300s"
        # There is no such metric before the first night.
        disable_metric_validation = true
      }
    }
  }

  documentation {
    mime_type = "text/markdown"
    content   = "No fact is lost: the next run makes up for it, and a month that is closed later says the same. Look at the logs of the job: is a table or a grant missing, was a price of a closed month changed, does the bucket refuse what is written? `gcloud run jobs execute NAME --project ${var.project} --region ${var.region}` tries it again."
  }
}
