resource "google_monitoring_notification_channel" "email" {
  for_each = toset(var.alert_emails)

  project      = var.project
  display_name = "pedwatch: ${each.key}"
  type         = "email"
  labels       = { email_address = each.key }
}

locals {
  channels = concat(var.notification_channels, [for channel in google_monitoring_notification_channel.email : channel.id])

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

# Errors of the sink are told by its own module, in its own project.
moved {
  from = google_monitoring_alert_policy.sink_errors
  to   = module.sink.google_monitoring_alert_policy.errors[0]
}

# What pedwatch has recorded last of each cluster, of whatever sink it came through: asked for by a query, because it is the age
# of a number that matters, and an instance that is gone has still said it. The window is a day longer than the silence, so that
# it is told even where nothing ran meanwhile, and a cluster that is gone for good is told once.
locals {
  last_event = "pedwatch_last_event_timestamp_seconds{cluster=\"__run__\", namespace=\"${var.name}\"%s}[${var.silence_hours + 24}h]"

  silent_clusters = "time() - max by (cluster_id) (max_over_time(${format(local.last_event, "")})) > ${var.silence_hours * 3600}"

  # A cluster that is named has to be there; of others nobody knows that they should.
  unheard_clusters = join(" or ", [
    for cluster in var.clusters :
    "max by (cluster_name) (label_replace(absent_over_time(${format(local.last_event, ", cluster_id=~\".+/clusters/${cluster}\"")}), \"cluster_name\", \"${cluster}\", \"\", \"\"))"
  ])

  silences = length(local.sidecars) == 0 ? {} : merge(
    { "A cluster of which nothing came for ${var.silence_hours} hours" = { query = local.silent_clusters, seconds = 0 } },
    length(var.clusters) == 0 ? {} : {
      "A cluster of which nothing ever came" = { query = local.unheard_clusters, seconds = var.silence_hours * 3600 }
    },
  )
}

resource "google_monitoring_alert_policy" "silence" {
  project               = var.project
  display_name          = "pedwatch: silence"
  combiner              = "OR"
  severity              = "WARNING"
  notification_channels = local.channels
  user_labels           = local.labels

  dynamic "conditions" {
    for_each = local.silences

    content {
      display_name = conditions.key

      condition_prometheus_query_language {
        query               = conditions.value.query
        duration            = "${conditions.value.seconds}s"
        evaluation_interval = "300s"
        # Nothing has been scraped yet when this is made first.
        disable_metric_validation = true
      }
    }
  }

  # Without the sidecar Monitoring knows the topic alone, into which all sinks write.
  dynamic "conditions" {
    for_each = length(local.sidecars) == 0 ? [1] : []

    content {
      display_name = "No audit entry of any cluster for ${var.silence_hours} hours"

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
  }

  documentation {
    mime_type = "text/markdown"
    content   = "Any write to a Deployment or an HPA counts, even one that changes nothing, so a cluster in use is never silent for long. Compare with `gcloud logging read` and the output `filter` in the cluster's project; look at the sink and its writer's grant. A folder's or an organization's sink shows its errors nowhere else."
  }
}

# What only pedwatch's own metrics tell: prometheus/rules.yaml has the same where Prometheus evaluates rules.
locals {
  of_messages = "pedwatch_messages_total{cluster=\"__run__\", namespace=\"${var.name}\"%s}"
  quarantined = format(local.of_messages, ", outcome=\"quarantined\"")

  own_metrics = length(local.sidecars) == 0 ? {} : merge(
    {
      quarantine = {
        severity  = "WARNING"
        condition = "A message was quarantined in the last hour"
        # A counter is born with its first event, of which `increase` knows nothing.
        query    = "sum(increase(${local.quarantined}[1h]) > 0 or (${local.quarantined} unless ${format(local.of_messages, "")} offset 1h)) > 0"
        duration = "0s"
        do       = "Something could not be read or stored, and is kept${var.partition_expiration_days.quarantine == 0 ? "" : " for ${var.partition_expiration_days.quarantine} days"}: `pedwatch quarantine list`; after a fix, `pedwatch quarantine replay`."
      }
    },
    # Of pushes Pub/Sub knows it by itself.
    local.push ? {} : {
      retried = {
        severity  = "CRITICAL"
        condition = "More than one message in twenty is given back"
        query     = "sum(rate(${format(local.of_messages, ", outcome=\"retried\"")}[10m])) / sum(rate(${format(local.of_messages, "")}[10m])) > 0.05"
        duration  = "300s"
        do        = "The logs say why: a table or a role is missing, or BigQuery does not answer. Nothing is lost as long as the subscription and its dead-letter topic keep it."
      }
    },
  )
}

resource "google_monitoring_alert_policy" "own_metrics" {
  for_each = local.own_metrics

  project               = var.project
  display_name          = "pedwatch: ${each.key}"
  combiner              = "OR"
  severity              = each.value.severity
  notification_channels = local.channels
  user_labels           = local.labels

  conditions {
    display_name = each.value.condition

    condition_prometheus_query_language {
      query               = each.value.query
      duration            = each.value.duration
      evaluation_interval = "60s"
      # Nothing has been scraped yet when this is made first.
      disable_metric_validation = true
    }
  }

  documentation {
    mime_type = "text/markdown"
    content   = each.value.do
  }
}

# What pedwatch raises, as a metric: each alert is one log line, whose fields are the labels. A label that a line has not is empty.
locals {
  severities = { for severity, told in { critical = var.tell.critical, warning = var.tell.warning, info = var.tell.info } : severity => severity if told }

  alert_labels = {
    severity   = { field = "alert_severity", description = "Its severity: info, warning or critical." }
    alert_type = { field = "alert_type", description = "over_limit, bypass, …" }
    cluster    = { field = "cluster", description = "Name of the cluster." }
    namespace  = { field = "namespace", description = "Kubernetes namespace." }
    deployment = { field = "deployment", description = "The Deployment." }
    replicas   = { field = "replicas", description = "The number that was asked for." }
    limit      = { field = "limit", description = "The number that is allowed; empty where there is no limit." }
  }

  # Where its lines come from, as Logging names it.
  consumer_resource  = local.push ? "cloud_run_revision" : "cloud_run_worker_pool"
  alerting_resources = concat([local.consumer_resource], length(local.jobs) == 0 ? [] : ["cloud_run_job"])
}

resource "google_logging_metric" "alerts" {
  project     = var.project
  name        = "${var.name}/alerts"
  description = "Alerts that pedwatch raised: a line for each, however often its message comes to an instance; a redeploy over the limit is another."

  filter = join("\n", [
    "resource.type=(${join(" OR ", [for type in local.alerting_resources : "\"${type}\""])})",
    "(resource.labels.service_name=\"${var.name}\" OR resource.labels.worker_pool_name=\"${var.name}\" OR resource.labels.job_name=~\"^${var.name}-\")",
    "jsonPayload.message=\"alert\"",
    "jsonPayload.alert_id:*",
  ])

  label_extractors = { for label, from in local.alert_labels : label => "EXTRACT(jsonPayload.${from.field})" }

  metric_descriptor {
    metric_kind = "DELTA"
    value_type  = "INT64"
    unit        = "1"

    dynamic "labels" {
      for_each = local.alert_labels

      content {
        key         = labels.key
        value_type  = "STRING"
        description = labels.value.description
      }
    }
  }
}

# By the metric, not by the line: a log-match policy ends at 20 incidents a day.
resource "google_monitoring_alert_policy" "alerts" {
  for_each = local.severities

  project               = var.project
  display_name          = "pedwatch: ${each.key} alerts"
  combiner              = "OR"
  severity              = { critical = "CRITICAL", warning = "WARNING", info = "WARNING" }[each.key]
  notification_channels = local.channels
  user_labels           = local.labels

  dynamic "conditions" {
    for_each = local.alerting_resources

    content {
      display_name = "An alert of severity ${each.key} was raised (${conditions.value})"

      condition_threshold {
        filter          = "metric.type = \"logging.googleapis.com/user/${google_logging_metric.alerts.name}\" AND resource.type = \"${conditions.value}\" AND metric.labels.severity = \"${each.key}\""
        comparison      = "COMPARISON_GT"
        threshold_value = 0
        duration        = "0s"

        # An incident for each Deployment and number, whichever instance said it.
        aggregations {
          alignment_period     = "60s"
          per_series_aligner   = "ALIGN_SUM"
          cross_series_reducer = "REDUCE_SUM"
          group_by_fields      = [for label in keys(local.alert_labels) : "metric.label.${label}" if label != "severity"]
        }
      }
    }
  }

  # It is raised once, and stands until the number is allowed again: the view alerts tells whether it does.
  alert_strategy {
    auto_close = "1800s"
  }

  documentation {
    mime_type = "text/markdown"
    subject   = "pedwatch: $${metric.label.alert_type} of $${metric.label.namespace}/$${metric.label.deployment} in $${metric.label.cluster}"
    content   = "**$${metric.label.alert_type}**: $${metric.label.namespace}/$${metric.label.deployment} in $${metric.label.cluster} has $${metric.label.replicas} replicas; the limit is $${metric.label.limit}. Who, and whether it still stands: `SELECT * FROM ${google_bigquery_dataset.this.dataset_id}.alerts WHERE namespace = '$${metric.label.namespace}' AND deployment_name = '$${metric.label.deployment}' ORDER BY alert_time DESC`."
  }

  # Monitoring learns of a new metric minutes after Logging has it: so these come last of all.
  depends_on = [google_cloud_run_v2_service.this, google_cloud_run_v2_worker_pool.this, module.sink, google_monitoring_dashboard.this]
}

locals {
  # By title: what each chart shows, as a filter or as a query.
  charts = {
    "Entries exported to the topic" = "${local.pubsub}/topic/send_request_count\" AND ${local.on_topic}"
    "Push answers by class"         = local.push_of_class
    "Age of the oldest message (s)" = "${local.pubsub}/subscription/oldest_unacked_message_age\" AND ${local.on_subscription}"
    "Messages waiting"              = "${local.pubsub}/subscription/num_undelivered_messages\" AND ${local.on_subscription}"
    "Dead letters"                  = "${local.pubsub}/subscription/num_undelivered_messages\" AND ${local.on_dead_letters}"
    "Sink export errors"            = "metric.type = \"logging.googleapis.com/exports/error_count\" AND resource.type = \"logging_sink\""
    "Alerts raised"                 = "metric.type = \"logging.googleapis.com/user/${google_logging_metric.alerts.name}\" AND resource.type = \"${local.consumer_resource}\""
  }
  filters = {
    for title, filter in local.charts : title => {
      timeSeriesFilter = {
        filter      = filter
        aggregation = { alignmentPeriod = "300s", perSeriesAligner = can(regex("(_count|alerts)\"", filter)) ? "ALIGN_RATE" : "ALIGN_MAX" }
      }
    }
  }
  queries = length(local.sidecars) == 0 ? {} : {
    "Silence of each cluster (s)" = { prometheusQuery = "time() - max by (cluster_id) (max_over_time(${format(local.last_event, "")}))" }
  }
  telling_queries = length(local.sidecars) * length(local.telling) == 0 ? {} : {
    "Messages by receiver and outcome"     = { prometheusQuery = "sum by (receiver, outcome) (increase(pedwatch_notifications_total{cluster=\"__run__\", namespace=\"${var.name}\"}[5m]))" }
    "Age of the oldest unsent message (s)" = { prometheusQuery = "time() - min(${local.oldest_asked} > 0)" }
    "Deployments with an open incident"    = { prometheusQuery = "max(pedwatch_open_incidents{cluster=\"__run__\", namespace=\"${var.name}\"})" }
  }
}

resource "google_monitoring_dashboard" "this" {
  project = var.project
  dashboard_json = jsonencode({
    displayName = "pedwatch"
    gridLayout = {
      # An int64, which the API gives back as a string.
      columns = "2"
      widgets = concat(
        [for title, query in local.filters : { title = title, xyChart = { dataSets = [{ timeSeriesQuery = query }] } }],
        [for title, query in merge(local.queries, local.telling_queries) : { title = title, xyChart = { dataSets = [{ timeSeriesQuery = query }] } }],
      )
    }
  })
}
