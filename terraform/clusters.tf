# What really runs, and whether it is heard of: pedwatch snapshot and pedwatch canary, each as an identity of its own that may get into
# the clusters, and what tells when they did not run, or a canary did not come back. What either may do inside a cluster, the cluster
# itself grants: deploy/kubernetes/rbac.yaml and canary.yaml, with their names in them.
locals {
  # Who looks into clusters.
  lookers = toset(concat(var.snapshot == null ? [] : ["snapshot"], var.canary == null ? [] : ["canary"]))

  cluster_settings = merge([
    for name, cluster in var.cluster_access : merge(
      {
        "clusters.${name}.project"  = cluster.project
        "clusters.${name}.location" = cluster.location
        "clusters.${name}.name"     = cluster.name
        "clusters.${name}.access"   = cluster.access
      },
      length(cluster.namespaces) == 0 ? {} : { "clusters.${name}.namespaces" = join(",", cluster.namespaces) },
      cluster.membership == null ? {} : { "clusters.${name}.membership" = cluster.membership },
    )
  ]...)

  looking_settings = {
    snapshot = merge(local.cluster_settings, { "snapshot.pods" = tostring(try(var.snapshot.pods, false)) })
    canary   = merge(local.cluster_settings, { "canary.wait_seconds" = tostring(try(var.canary.wait_seconds, 120)) })
  }

  # Whoever looks, in each project where a cluster is.
  looked_into = {
    for pair in setproduct(local.lookers, toset([for cluster in values(var.cluster_access) : cluster.project])) :
    "${pair[0]} ${pair[1]}" => { looker = pair[0], project = pair[1] }
  }
  gateways = {
    for pair in setproduct(local.lookers, toset([for cluster in values(var.cluster_access) : cluster.project if cluster.access == "connect_gateway"])) :
    "${pair[0]} ${pair[1]}" => { looker = pair[0], project = pair[1] }
  }
}

resource "google_service_account" "lookers" {
  for_each = local.lookers

  project      = var.project
  account_id   = "${var.name}-${each.key}"
  display_name = { snapshot = "pedwatch: records what runs", canary = "pedwatch: proves that entries come" }[each.key]
}

# To find a cluster, and to get to its API server. Not to read anything inside of it.
resource "google_project_iam_custom_role" "lookers" {
  for_each = toset([for cluster in values(var.cluster_access) : cluster.project if length(local.lookers) > 0])

  project     = each.key
  role_id     = "${replace(var.name, "-", "_")}_looker"
  title       = "pedwatch: gets into clusters"
  permissions = ["container.clusters.get", "container.clusters.connect"]
}

resource "google_project_iam_member" "lookers_connect" {
  for_each = local.looked_into

  project = each.value.project
  role    = "projects/${each.value.project}/roles/${google_project_iam_custom_role.lookers[each.value.project].role_id}"
  member  = google_service_account.lookers[each.value.looker].member
}

# The gateway lets only editors send a patch; what may be patched, the cluster says.
resource "google_project_iam_member" "lookers_pass" {
  for_each = local.gateways

  project = each.value.project
  role    = { snapshot = "roles/gkehub.gatewayReader", canary = "roles/gkehub.gatewayEditor" }[each.value.looker]
  member  = google_service_account.lookers[each.value.looker].member
}

resource "google_bigquery_table_iam_member" "lookers_write_snapshots" {
  for_each = var.snapshot == null ? [] : toset(["pod_metrics", "snapshots", "watermarks"])

  project    = var.project
  dataset_id = google_bigquery_dataset.this.dataset_id
  table_id   = google_bigquery_table.tables[each.key].table_id
  role       = "roles/bigquery.dataEditor"
  member     = google_service_account.lookers["snapshot"].member
}

# The limits that stand beside what runs.
resource "google_bigquery_table_iam_member" "lookers_read_limits" {
  for_each = var.snapshot == null ? [] : toset(["deployment_config"])

  project    = var.project
  dataset_id = google_bigquery_dataset.this.dataset_id
  table_id   = google_bigquery_table.tables[each.key].table_id
  role       = "roles/bigquery.dataViewer"
  member     = google_service_account.lookers["snapshot"].member
}

# The mark that whoever consumes leaves of a canary.
resource "google_bigquery_table_iam_member" "lookers_read_marks" {
  for_each = var.canary == null ? [] : toset(["watermarks"])

  project    = var.project
  dataset_id = google_bigquery_dataset.this.dataset_id
  table_id   = google_bigquery_table.tables[each.key].table_id
  role       = "roles/bigquery.dataViewer"
  member     = google_service_account.lookers["canary"].member
}

# The schema that they check at their start.
resource "google_bigquery_dataset_access" "lookers_check" {
  for_each = local.lookers

  project       = var.project
  dataset_id    = google_bigquery_dataset.this.dataset_id
  role          = "roles/bigquery.metadataViewer"
  user_by_email = google_service_account.lookers[each.key].email
}

resource "google_project_iam_member" "lookers_query" {
  for_each = local.lookers

  project = var.project
  role    = "roles/bigquery.jobUser"
  member  = google_service_account.lookers[each.key].member
}

# As of closing days (daily.tf): a job that was never started tells nothing. One that could not look into one of its clusters has
# failed, and says so.
resource "google_monitoring_alert_policy" "snapshot" {
  count = var.snapshot == null ? 0 : 1

  project               = var.project
  display_name          = "pedwatch: no snapshot"
  combiner              = "OR"
  severity              = "WARNING"
  notification_channels = local.channels
  user_labels           = local.labels

  conditions {
    display_name = "No snapshot of all clusters for ${var.snapshot.told_after_hours} hours"

    condition_prometheus_query_language {
      query               = "absent_over_time(run_googleapis_com:job_completed_execution_count{monitored_resource=\"cloud_run_job\", job_name=\"${google_cloud_run_v2_job.jobs["snapshot"].name}\", result=\"succeeded\"}[1h])"
      duration            = "${var.snapshot.told_after_hours * 3600}s"
      evaluation_interval = "300s"
      # There is no such metric before the first night.
      disable_metric_validation = true
    }
  }

  documentation {
    mime_type = "text/markdown"
    content   = "What runs is not compared with what the log says, in at least one cluster: `SELECT cluster_name, error FROM ${google_bigquery_dataset.this.dataset_id}.snapshots WHERE state = 'failed' ORDER BY started_at DESC LIMIT 10` tells which and why, `pedwatch cluster check` what is missing."
  }
}

# One line for each cluster whose canary did not come.
resource "google_logging_metric" "missing_canaries" {
  count = var.canary == null ? 0 : 1

  project     = var.project
  name        = "${var.name}/missing_canaries"
  description = "Canaries that did not come back through the sink, or could not be sent, by cluster."

  filter = join("\n", [
    "resource.type=\"cloud_run_job\"",
    "resource.labels.job_name=\"${var.name}-canary\"",
    "jsonPayload.message=\"canary is missing\"",
  ])

  label_extractors = { cluster = "EXTRACT(jsonPayload.cluster)" }

  metric_descriptor {
    metric_kind = "DELTA"
    value_type  = "INT64"
    unit        = "1"

    labels {
      key         = "cluster"
      value_type  = "STRING"
      description = "projects/PROJECT/locations/LOCATION/clusters/NAME"
    }
  }
}

resource "google_monitoring_alert_policy" "canary" {
  count = var.canary == null ? 0 : 1

  project               = var.project
  display_name          = "pedwatch: canary"
  combiner              = "OR"
  severity              = "CRITICAL"
  notification_channels = local.channels
  user_labels           = local.labels

  # One alone may have been slow.
  conditions {
    display_name = "Two canaries of a cluster did not come back within ${var.canary.told_after_minutes} minutes"

    condition_threshold {
      filter          = "metric.type = \"logging.googleapis.com/user/${google_logging_metric.missing_canaries[0].name}\" AND resource.type = \"cloud_run_job\""
      comparison      = "COMPARISON_GT"
      threshold_value = 1
      duration        = "0s"

      aggregations {
        alignment_period     = "${var.canary.told_after_minutes * 60}s"
        per_series_aligner   = "ALIGN_SUM"
        cross_series_reducer = "REDUCE_SUM"
        group_by_fields      = ["metric.label.cluster"]
      }
    }
  }

  # One that failed before it could say of which cluster tells nothing else.
  conditions {
    display_name = "Not all canaries came back for ${var.canary.told_after_minutes} minutes, or none was sent"

    condition_prometheus_query_language {
      query               = "absent_over_time(run_googleapis_com:job_completed_execution_count{monitored_resource=\"cloud_run_job\", job_name=\"${google_cloud_run_v2_job.jobs["canary"].name}\", result=\"succeeded\"}[${var.canary.told_after_minutes}m])"
      duration            = "60s"
      evaluation_interval = "60s"
      # There is no such metric before the first canary.
      disable_metric_validation = true
    }
  }

  documentation {
    mime_type = "text/markdown"
    content   = "What is written in a cluster does not get here, or nobody looks whether it does. Look at the logs of the job ${google_cloud_run_v2_job.jobs["canary"].name}, at the sink's filter, its writer's grant on the topic, and at the subscription. Until it is mended pedwatch is blind there; `pedwatch backfill` brings in what was missed."
  }

  # Monitoring learns of a new metric minutes after Logging has it.
  depends_on = [google_cloud_run_v2_service.this, google_cloud_run_v2_worker_pool.this, module.sink, google_monitoring_dashboard.this]
}
