locals {
  push = var.delivery == "push"

  # Google's sidecar scrapes 8080 unless a secret says otherwise, so metrics have that port, and pushes another.
  metrics_port = 8080
  push_port    = 8081

  # Releases of the sidecar before those that know worker pools were seen in use with services only.
  google_sidecar = local.push ? "us-docker.pkg.dev/cloud-ops-agents-artifacts/cloud-run-gmp-sidecar/cloud-run-gmp-sidecar:1.3.0" : null
  sidecar_image  = try(coalesce(var.managed_prometheus.image, local.google_sidecar), null)
  sidecars       = local.sidecar_image == null || var.managed_prometheus == null ? [] : [merge(var.managed_prometheus, { image = local.sidecar_image })]

  # What is given null is left out.
  vpc_access           = var.vpc_access[*]
  binary_authorization = var.binary_authorization[*]

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
      "consumer.metrics_port" = tostring(local.metrics_port)
    },
    # What is closed is not computed again out of events that are gone.
    { "bigquery.partition_expiration_days" = tostring(var.partition_expiration_days.replica_events) },
    # Its object is out of scope, wherever it is.
    { for canary in var.canary[*] : "canary.namespace" => canary.namespace },
    # Cloud Run verifies the token before a request gets to us: nobody but the invoker may invoke the service.
    local.push ? { "push.auth" = "platform", "push.max_in_flight" = tostring(var.concurrency) } : {},
    local.push ? {} : { "pull.subscription" = "projects/${var.project}/subscriptions/${var.name}-audit" },
    { for ledger in local.ledger : "notify.ledger" => ledger },
    { for registry in local.registry : "registry" => registry },
    var.settings,
  )
  env = merge(
    { for key, value in local.settings : "PEDWATCH_${upper(replace(key, ".", "__"))}" => value },
    { for telling in local.telling : "PEDWATCH_CONFIG" => "${local.config_folder}/pedwatch.toml" },
  )
}

resource "google_service_account" "consumer" {
  project      = var.project
  account_id   = "${var.name}-consumer"
  display_name = "pedwatch: records what audit logs say"
}

# The sidecar writes what it scraped as the identity that it runs beside.
resource "google_project_iam_member" "consumer_measures" {
  count = length(local.sidecars)

  project = var.project
  role    = "roles/monitoring.metricWriter"
  member  = google_service_account.consumer.member
}

resource "google_cloud_run_v2_service" "this" {
  count = local.push ? 1 : 0

  project             = var.project
  location            = var.region
  name                = var.name
  ingress             = var.ingress
  launch_stage        = var.launch_stage
  deletion_protection = false
  labels              = local.labels

  dynamic "binary_authorization" {
    for_each = local.binary_authorization

    content {
      use_default              = binary_authorization.value.use_default
      policy                   = binary_authorization.value.policy
      breakglass_justification = binary_authorization.value.breakglass_justification
    }
  }

  template {
    service_account                  = google_service_account.consumer.email
    encryption_key                   = var.kms_key
    max_instance_request_concurrency = var.concurrency
    # Longer than an append may take with all its retries, and no longer than the acknowledgement deadline.
    timeout = "60s"
    labels  = local.labels

    scaling {
      min_instance_count = var.instances.min
      max_instance_count = var.instances.max
    }

    dynamic "vpc_access" {
      for_each = local.vpc_access

      content {
        connector = vpc_access.value.connector
        egress    = vpc_access.value.egress

        dynamic "network_interfaces" {
          for_each = vpc_access.value.connector == null ? [vpc_access.value] : []

          content {
            network    = network_interfaces.value.network
            subnetwork = network_interfaces.value.subnetwork
            tags       = network_interfaces.value.tags
          }
        }
      }
    }

    dynamic "volumes" {
      for_each = local.send_volumes

      content {
        name = volumes.key

        secret {
          secret = volumes.value.secret

          items {
            path    = volumes.value.path
            version = volumes.value.version
          }
        }
      }
    }

    containers {
      name  = "pedwatch"
      image = var.image
      args  = ["serve"]

      ports {
        container_port = local.push_port
      }

      resources {
        limits            = { cpu = var.resources.cpu, memory = var.resources.memory }
        cpu_idle          = var.cpu_idle
        startup_cpu_boost = true
      }

      dynamic "env" {
        for_each = local.env

        content {
          name  = env.key
          value = env.value
        }
      }

      dynamic "volume_mounts" {
        for_each = local.send_volumes

        content {
          name       = volume_mounts.key
          mount_path = volume_mounts.value.folder
        }
      }

      # It is not ready before it has checked the store and read the limits, with all the retries that
      # bigquery.deadline_seconds gives each query, and while grants are still spreading; then it answers from memory.
      startup_probe {
        period_seconds    = var.probes.startup_period
        timeout_seconds   = var.probes.startup_timeout
        failure_threshold = var.probes.startup_failures

        http_get {
          path = "/readyz"
        }
      }

      # It waits for nothing but a processor, which a busy instance may be short of for a moment.
      liveness_probe {
        period_seconds    = var.probes.liveness_period
        timeout_seconds   = var.probes.liveness_timeout
        failure_threshold = var.probes.liveness_failures

        http_get {
          path = "/livez"
        }
      }
    }

    # Behind pedwatch, so that it ends before it and scrapes what came last.
    dynamic "containers" {
      for_each = local.sidecars

      content {
        name       = "prometheus"
        image      = containers.value.image
        depends_on = ["pedwatch"]

        resources {
          limits   = { cpu = containers.value.cpu, memory = containers.value.memory }
          cpu_idle = var.cpu_idle
        }
      }
    }
  }

  # Whatever it checks at its start, and whatever it does as the consumer, is granted before.
  depends_on = [
    google_bigquery_table.tables,
    google_bigquery_table.views,
    google_bigquery_table_iam_member.consumer_writes,
    google_bigquery_table_iam_member.consumer_reads,
    google_bigquery_dataset_access.consumer_checks,
    google_project_iam_member.consumer_queries,
    google_project_iam_member.consumer_measures,
    google_bigquery_table_iam_member.consumer_costs,
    google_project_iam_member.ledger,
    google_project_iam_member.registry,
    google_firestore_index.notifications,
    google_secret_manager_secret_iam_member.config,
    google_secret_manager_secret_iam_member.secrets,
    google_kms_crypto_key_iam_member.agents,
  ]
}

resource "google_cloud_run_v2_worker_pool" "this" {
  count = local.push ? 0 : 1

  project             = var.project
  location            = var.region
  name                = var.name
  launch_stage        = var.launch_stage
  deletion_protection = false
  labels              = local.labels

  dynamic "binary_authorization" {
    for_each = local.binary_authorization

    content {
      use_default              = binary_authorization.value.use_default
      policy                   = binary_authorization.value.policy
      breakglass_justification = binary_authorization.value.breakglass_justification
    }
  }

  scaling {
    scaling_mode          = "MANUAL"
    manual_instance_count = max(var.instances.min, 1)
  }

  template {
    service_account = google_service_account.consumer.email
    encryption_key  = var.kms_key
    labels          = local.labels

    dynamic "vpc_access" {
      for_each = local.vpc_access

      content {
        egress = vpc_access.value.egress

        dynamic "network_interfaces" {
          for_each = [vpc_access.value]

          content {
            network    = network_interfaces.value.network
            subnetwork = network_interfaces.value.subnetwork
            tags       = network_interfaces.value.tags
          }
        }
      }
    }

    dynamic "volumes" {
      for_each = local.send_volumes

      content {
        name = volumes.key

        secret {
          secret = volumes.value.secret

          items {
            path    = volumes.value.path
            version = volumes.value.version
          }
        }
      }
    }

    containers {
      name  = "pedwatch"
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

      dynamic "volume_mounts" {
        for_each = local.send_volumes

        content {
          name       = volume_mounts.key
          mount_path = volume_mounts.value.folder
        }
      }

      startup_probe {
        period_seconds    = var.probes.startup_period
        timeout_seconds   = var.probes.startup_timeout
        failure_threshold = var.probes.startup_failures

        http_get {
          path = "/readyz"
          port = local.metrics_port
        }
      }

      liveness_probe {
        period_seconds    = var.probes.liveness_period
        timeout_seconds   = var.probes.liveness_timeout
        failure_threshold = var.probes.liveness_failures

        http_get {
          path = "/livez"
          port = local.metrics_port
        }
      }
    }

    dynamic "containers" {
      for_each = local.sidecars

      content {
        name       = "prometheus"
        image      = containers.value.image
        depends_on = ["pedwatch"]

        resources {
          limits = { cpu = containers.value.cpu, memory = containers.value.memory }
        }
      }
    }
  }

  depends_on = [
    google_bigquery_table.tables,
    google_bigquery_table.views,
    google_bigquery_table_iam_member.consumer_writes,
    google_bigquery_table_iam_member.consumer_reads,
    google_bigquery_dataset_access.consumer_checks,
    google_project_iam_member.consumer_queries,
    google_project_iam_member.consumer_measures,
    google_bigquery_table_iam_member.consumer_costs,
    google_project_iam_member.ledger,
    google_project_iam_member.registry,
    google_firestore_index.notifications,
    google_secret_manager_secret_iam_member.config,
    google_secret_manager_secret_iam_member.secrets,
    google_kms_crypto_key_iam_member.agents,
    google_pubsub_subscription_iam_member.consumer,
  ]
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
