locals {
  push = var.delivery == "push"

  # Exactly the variables that the binary reads, PEDWATCH_ and the key in capitals; a test compares them with its keys.
  settings = merge(
    {
      "store.url"             = "bigquery:${var.project}.${google_bigquery_dataset.this.dataset_id}"
      "bigquery.location"     = var.dataset.location
      "actors.pipeline"       = join(",", var.pipeline_identities)
      "platform.min_replicas" = tostring(var.platform.min_replicas)
      "platform.max_replicas" = tostring(var.platform.max_replicas)
      "platform.allow_zero"   = tostring(var.platform.allow_zero)
      "log.format"            = "json"
      "consumer.metrics_port" = "9090"
    },
    # Cloud Run verifies the token before a request gets to us: nobody but the invoker may invoke the service.
    local.push ? { "push.auth" = "platform", "push.max_in_flight" = tostring(var.concurrency) } : {},
    local.push ? {} : { "pull.subscription" = "projects/${var.project}/subscriptions/${var.name}-audit" },
    var.settings,
  )
  env = { for key, value in local.settings : "PEDWATCH_${upper(replace(key, ".", "__"))}" => value }
}

resource "google_service_account" "consumer" {
  project      = var.project
  account_id   = "${var.name}-consumer"
  display_name = "pedwatch: records what audit logs say"
}

resource "google_cloud_run_v2_service" "this" {
  count = local.push ? 1 : 0

  project             = var.project
  location            = var.region
  name                = var.name
  ingress             = "INGRESS_TRAFFIC_INTERNAL_ONLY"
  deletion_protection = false
  labels              = local.labels

  template {
    service_account                  = google_service_account.consumer.email
    max_instance_request_concurrency = var.concurrency
    # Longer than an append may take with all its retries, and no longer than the acknowledgement deadline.
    timeout = "60s"
    labels  = local.labels

    scaling {
      min_instance_count = var.instances.min
      max_instance_count = var.instances.max
    }

    containers {
      image = var.image
      args  = ["serve"]

      ports {
        container_port = 8080
      }

      resources {
        limits            = { cpu = var.resources.cpu, memory = var.resources.memory }
        startup_cpu_boost = true
      }

      dynamic "env" {
        for_each = local.env

        content {
          name  = env.key
          value = env.value
        }
      }

      # It does not listen before it has checked the store and read the limits, with all the retries that
      # bigquery.deadline_seconds gives each query; then it answers from memory. So a slow start is waited for, for 120 s.
      startup_probe {
        period_seconds    = 2
        timeout_seconds   = 2
        failure_threshold = 60

        http_get {
          path = "/readyz"
        }
      }

      # It waits for nothing but a processor, which a busy instance may be short of for a moment.
      liveness_probe {
        period_seconds  = 30
        timeout_seconds = 5

        http_get {
          path = "/livez"
        }
      }
    }
  }

  depends_on = [google_bigquery_table.tables, google_bigquery_table.views]
}

resource "google_cloud_run_v2_worker_pool" "this" {
  count = local.push ? 0 : 1

  project             = var.project
  location            = var.region
  name                = var.name
  deletion_protection = false
  labels              = local.labels

  scaling {
    scaling_mode          = "MANUAL"
    manual_instance_count = max(var.instances.min, 1)
  }

  template {
    service_account = google_service_account.consumer.email
    labels          = local.labels

    containers {
      image = var.image
      args  = ["pull"]

      resources {
        limits = { cpu = var.resources.cpu, memory = var.resources.memory }
      }

      dynamic "env" {
        for_each = local.env

        content {
          name  = env.key
          value = env.value
        }
      }
    }
  }

  depends_on = [google_bigquery_table.tables, google_bigquery_table.views]
}

# Push: one identity that may do nothing but invoke this service.
resource "google_service_account" "invoker" {
  count = local.push ? 1 : 0

  project      = var.project
  account_id   = "${var.name}-invoker"
  display_name = "pedwatch: Pub/Sub pushes as this"
}

resource "google_cloud_run_v2_service_iam_member" "invoker" {
  count = local.push ? 1 : 0

  project  = var.project
  location = var.region
  name     = google_cloud_run_v2_service.this[0].name
  role     = "roles/run.invoker"
  member   = google_service_account.invoker[0].member
}

# Pub/Sub signs the push token as the invoker.
resource "google_service_account_iam_member" "pubsub_signs" {
  count = local.push ? 1 : 0

  service_account_id = google_service_account.invoker[0].name
  role               = "roles/iam.serviceAccountTokenCreator"
  member             = local.pubsub_agent
}

# Pull: the consumer may take from this subscription.
resource "google_pubsub_subscription_iam_member" "consumer" {
  count = local.push ? 0 : 1

  project      = var.project
  subscription = google_pubsub_subscription.audit.name
  role         = "roles/pubsub.subscriber"
  member       = google_service_account.consumer.member
}
