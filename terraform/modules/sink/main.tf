# One sink, and its writer's grant on the topic: of a project, a folder or an organization.
resource "google_logging_project_sink" "this" {
  count = var.scope.project == null ? 0 : 1

  project                = var.scope.project
  name                   = var.name
  description            = local.description
  destination            = local.destination
  filter                 = local.filter
  unique_writer_identity = true
}

resource "google_logging_folder_sink" "this" {
  count = var.scope.folder == null ? 0 : 1

  folder           = var.scope.folder
  name             = var.name
  description      = local.description
  destination      = local.destination
  filter           = local.filter
  include_children = true
}

resource "google_logging_organization_sink" "this" {
  count = var.scope.organization == null ? 0 : 1

  org_id           = var.scope.organization
  name             = var.name
  description      = local.description
  destination      = local.destination
  filter           = local.filter
  include_children = true
}

locals {
  description = "GKE audit logs of writes to Deployments and HorizontalPodAutoscalers, for pedwatch"
  destination = "pubsub.googleapis.com/${var.topic.id}"

  # A folder's and an organization's sink always has a writer of its own.
  writer_identity = one(concat(
    google_logging_project_sink.this[*].writer_identity,
    google_logging_folder_sink.this[*].writer_identity,
    google_logging_organization_sink.this[*].writer_identity,
  ))
}

# This writer, on this topic only.
resource "google_pubsub_topic_iam_member" "writer" {
  project = var.topic.project
  topic   = var.topic.name
  role    = "roles/pubsub.publisher"
  member  = local.writer_identity
}

# Monitoring shows a sink's errors in the sink's own project, and shows none of a folder's or an organization's.
locals {
  watched_in = var.watch_errors ? var.scope.project : null
}

resource "google_monitoring_notification_channel" "email" {
  for_each = local.watched_in == null ? [] : toset(var.alert_emails)

  project      = local.watched_in
  display_name = "pedwatch: ${each.key}"
  type         = "email"
  labels       = { email_address = each.key }
}

resource "google_monitoring_alert_policy" "errors" {
  count = local.watched_in == null ? 0 : 1

  project               = local.watched_in
  display_name          = "pedwatch: sink export errors"
  combiner              = "OR"
  severity              = "CRITICAL"
  notification_channels = concat(var.notification_channels, [for channel in google_monitoring_notification_channel.email : channel.id])
  user_labels           = var.labels

  conditions {
    display_name = "The sink cannot export"

    condition_threshold {
      filter          = "metric.type = \"logging.googleapis.com/exports/error_count\" AND resource.type = \"logging_sink\" AND resource.labels.name = \"${one(google_logging_project_sink.this[*].name)}\""
      comparison      = "COMPARISON_GT"
      threshold_value = 0
      duration        = "0s"

      aggregations {
        alignment_period   = "300s"
        per_series_aligner = "ALIGN_DELTA"
      }
    }
  }

  documentation {
    mime_type = "text/markdown"
    content   = "Entries that cannot be exported are dropped by Logging. Is the sink's writer still publisher on ${var.topic.name}? What was missed is in Logging: `gcloud logging read` it, and `pedwatch replay` it."
  }
}
