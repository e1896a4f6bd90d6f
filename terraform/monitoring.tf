resource "google_monitoring_notification_channel" "email" {
  for_each = toset(var.alert_emails)

  project      = var.project
  display_name = "pedwatch: ${each.key}"
  type         = "email"
  labels       = { email_address = each.key }
}

locals {
  channels = [for channel in google_monitoring_notification_channel.email : channel.id]

  on_subscription  = "resource.type = \"pubsub_subscription\" AND resource.labels.subscription_id = \"${google_pubsub_subscription.audit.name}\""
  on_dead_letters  = "resource.type = \"pubsub_subscription\" AND resource.labels.subscription_id = \"${google_pubsub_subscription.dead_letters.name}\""
  on_topic         = "resource.type = \"pubsub_topic\" AND resource.labels.topic_id = \"${google_pubsub_topic.audit.name}\""
  pubsub           = "metric.type = \"pubsub.googleapis.com"
  push_of_class    = "${local.pubsub}/subscription/push_request_count\" AND ${local.on_subscription}"
  pushes_that_fail = "${local.push_of_class} AND metric.labels.response_class != \"ack\""
}

resource "google_monitoring_alert_policy" "dead_letters" {
  project               = var.project
  display_name          = "pedwatch: dead letters"
  combiner              = "OR"
  severity              = "CRITICAL"
  notification_channels = local.channels
  user_labels           = local.labels

  conditions {
    display_name = "A message was given up after 100 attempts"

    condition_threshold {
      filter          = "${local.pubsub}/subscription/num_undelivered_messages\" AND ${local.on_dead_letters}"
      comparison      = "COMPARISON_GT"
      threshold_value = 0
      duration        = "0s"

      aggregations {
        alignment_period   = "300s"
        per_series_aligner = "ALIGN_MAX"
      }
    }
  }

  documentation {
    mime_type = "text/markdown"
    content   = "The store failed for most of a day. After it works again, feed them: `gcloud pubsub subscriptions pull ${google_pubsub_subscription.dead_letters.name} --project ${var.project} --limit 1000 --format json | pedwatch replay --store … -`, and acknowledge them when it says that they are recorded."
  }
}

resource "google_monitoring_alert_policy" "backlog" {
  project               = var.project
  display_name          = "pedwatch: backlog"
  combiner              = "OR"
  severity              = "WARNING"
  notification_channels = local.channels
  user_labels           = local.labels

  conditions {
    display_name = "The oldest message has waited for fifteen minutes"

    condition_threshold {
      filter          = "${local.pubsub}/subscription/oldest_unacked_message_age\" AND ${local.on_subscription}"
      comparison      = "COMPARISON_GT"
      threshold_value = 900
      duration        = "300s"

      aggregations {
        alignment_period   = "60s"
        per_series_aligner = "ALIGN_MAX"
      }
    }
  }

  documentation {
    mime_type = "text/markdown"
    content   = "Nothing is lost while messages wait, for seven days. Look at pedwatch's logs: is BigQuery slow, is a table or a grant missing? Otherwise raise `instances`."
  }
}

resource "google_monitoring_alert_policy" "push_errors" {
  count = local.push ? 1 : 0

  project               = var.project
  display_name          = "pedwatch: push errors"
  combiner              = "OR"
  severity              = "CRITICAL"
  notification_channels = local.channels
  user_labels           = local.labels

  conditions {
    display_name = "More than one push in twenty is refused"

    condition_threshold {
      filter             = local.pushes_that_fail
      denominator_filter = local.push_of_class
      comparison         = "COMPARISON_GT"
      threshold_value    = 0.05
      duration           = "300s"

      aggregations {
        alignment_period     = "300s"
        per_series_aligner   = "ALIGN_RATE"
        cross_series_reducer = "REDUCE_SUM"
      }

      denominator_aggregations {
        alignment_period     = "300s"
        per_series_aligner   = "ALIGN_RATE"
        cross_series_reducer = "REDUCE_SUM"
      }
    }
  }

  documentation {
    mime_type = "text/markdown"
    content   = "401 and 403: the invoker's grant or the audience. 429: raise `concurrency` or `instances`. 500: a table or a role is missing, the logs say which. 503: BigQuery does not answer."
  }
}

resource "google_monitoring_alert_policy" "sink_errors" {
  project               = var.project
  display_name          = "pedwatch: sink export errors"
  combiner              = "OR"
  severity              = "CRITICAL"
  notification_channels = local.channels
  user_labels           = local.labels

  conditions {
    display_name = "The sink cannot export"

    condition_threshold {
      filter          = "metric.type = \"logging.googleapis.com/exports/error_count\" AND resource.type = \"logging_sink\" AND resource.labels.name = \"${var.name}\""
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
    content   = "Entries that cannot be exported are dropped by Logging. Is the sink's writer still publisher on ${google_pubsub_topic.audit.name}? What was missed is in Logging: `gcloud logging read` it, and `pedwatch replay` it."
  }
}

resource "google_monitoring_alert_policy" "silence" {
  project               = var.project
  display_name          = "pedwatch: silence"
  combiner              = "OR"
  severity              = "WARNING"
  notification_channels = local.channels
  user_labels           = local.labels

  conditions {
    display_name = "No audit entry for ${var.silence_hours} hours"

    condition_absent {
      filter   = "${local.pubsub}/topic/send_request_count\" AND ${local.on_topic}"
      duration = "${var.silence_hours * 3600}s"

      aggregations {
        alignment_period     = "300s"
        per_series_aligner   = "ALIGN_RATE"
        cross_series_reducer = "REDUCE_SUM"
      }
    }
  }

  documentation {
    mime_type = "text/markdown"
    content   = "Even failed calls and dry runs come through, so a cluster in use is never silent for long. Compare with `gcloud logging read` and the output `filter`; look at the sink."
  }
}

resource "google_monitoring_dashboard" "this" {
  project = var.project
  dashboard_json = jsonencode({
    displayName = "pedwatch"
    gridLayout = {
      columns = 2
      widgets = [
        for title, filter in {
          "Entries exported to the topic" = "${local.pubsub}/topic/send_request_count\" AND ${local.on_topic}"
          "Push answers by class"         = local.push_of_class
          "Age of the oldest message (s)" = "${local.pubsub}/subscription/oldest_unacked_message_age\" AND ${local.on_subscription}"
          "Messages waiting"              = "${local.pubsub}/subscription/num_undelivered_messages\" AND ${local.on_subscription}"
          "Dead letters"                  = "${local.pubsub}/subscription/num_undelivered_messages\" AND ${local.on_dead_letters}"
          "Sink export errors"            = "metric.type = \"logging.googleapis.com/exports/error_count\" AND resource.type = \"logging_sink\""
          } : {
          title = title
          xyChart = {
            dataSets = [{
              timeSeriesQuery = {
                timeSeriesFilter = {
                  filter      = filter
                  aggregation = { alignmentPeriod = "300s", perSeriesAligner = can(regex("_count\"", filter)) ? "ALIGN_RATE" : "ALIGN_MAX" }
                }
              }
            }]
          }
        }
      ]
    }
  })
}
