# Who is told: the ledger in Firestore, the configuration that says whom, the receivers' secrets, and a job that sends what is due
# by the clock where nothing else runs.
locals {
  telling = var.telling[*]

  # Where files are mounted. A receiver's secret is read from /secrets/NAME/value.
  config_folder  = "/etc/pedwatch"
  secrets_folder = "/secrets"

  ledger = [for telling in local.telling : "firestore:${var.project}/${google_firestore_database.ledger[0].name}"]

  # The configuration goes to everybody, so that all judge alike; secrets to those who send.
  config_volumes = { for secret in google_secret_manager_secret.config : "config" => { secret = secret.secret_id, path = "pedwatch.toml", folder = local.config_folder, version = google_secret_manager_secret_version.config[0].version } }
  secret_volumes = { for name, secret in try(var.telling.secrets, {}) : "secret-${name}" => { secret = secret, path = "value", folder = "${local.secrets_folder}/${name}", version = "latest" } }
  send_volumes   = merge(local.config_volumes, local.secret_volumes)

  # By what is known before anything is made.
  ledger_users = length(local.telling) == 0 ? {} : merge(
    {
      consumer  = google_service_account.consumer.member
      registrar = google_service_account.registrar.member
      notify    = google_service_account.notify[0].member
    },
    { for daily in var.daily[*] : "daily" => google_service_account.daily[0].member },
  )
  config_readers = length(local.telling) == 0 ? {} : merge(
    {
      consumer = google_service_account.consumer.member
      notify   = google_service_account.notify[0].member
    },
    { for daily in var.daily[*] : "daily" => google_service_account.daily[0].member },
    { for account in local.billing_accounts : account => google_service_account.billing[account].member },
    length(var.jobs) == 0 ? {} : { jobs = google_service_account.jobs[0].member },
  )
  senders = length(local.telling) == 0 ? {} : {
    consumer = google_service_account.consumer.member
    notify   = google_service_account.notify[0].member
  }
  secret_readers = { for pair in setproduct(keys(local.senders), keys(try(var.telling.secrets, {}))) : "${pair[0]}/${pair[1]}" => { member = local.senders[pair[0]], secret = var.telling.secrets[pair[1]] } }
}

resource "google_firestore_database" "ledger" {
  count = length(local.telling)

  project                 = var.project
  name                    = "${var.name}-ledger"
  location_id             = coalesce(var.telling.location, var.region)
  type                    = "FIRESTORE_NATIVE"
  delete_protection_state = "DELETE_PROTECTION_ENABLED"

  dynamic "cmek_config" {
    for_each = local.ledger_key[*]

    content {
      kms_key_name = cmek_config.value
    }
  }

  depends_on = [google_kms_crypto_key_iam_member.agents]
}

# What its queries need and Firestore does not make by itself: what is due for a receiver, and what is in a state.
resource "google_firestore_index" "notifications" {
  for_each = length(local.telling) == 0 ? {} : { due = ["receiver", "due_at"], states = ["state", "created_at"] }

  project    = var.project
  database   = google_firestore_database.ledger[0].name
  collection = "notifications"

  dynamic "fields" {
    for_each = each.value

    content {
      field_path = fields.value
      order      = "ASCENDING"
    }
  }
}

# What is told and over goes after a while; what is open stays, because what follows refers to it. Nobody asks by this field.
resource "google_firestore_field" "expires_at" {
  count = length(local.telling)

  project    = var.project
  database   = google_firestore_database.ledger[0].name
  collection = "notifications"
  field      = "expires_at"

  ttl_config {}
  index_config {}
}

# Those who step incidents, and those who send: in this database and no other.
resource "google_project_iam_member" "ledger" {
  for_each = local.ledger_users

  project = var.project
  role    = "roles/datastore.user"
  member  = each.value

  condition {
    title      = "pedwatch-ledger"
    expression = "resource.name == \"projects/${var.project}/databases/${google_firestore_database.ledger[0].name}\""
  }
}

# The configuration holds no secret; it is kept as one because Cloud Run mounts nothing else as a file.
resource "google_secret_manager_secret" "config" {
  count = length(local.telling)

  project   = var.project
  secret_id = "${var.name}-config"
  labels    = local.labels

  replication {
    auto {}
  }
}

resource "google_secret_manager_secret_version" "config" {
  count = length(local.telling)

  secret      = google_secret_manager_secret.config[0].id
  secret_data = var.telling.config

  # Instances that run still read the one before.
  lifecycle {
    create_before_destroy = true
  }
}

resource "google_secret_manager_secret_iam_member" "config" {
  for_each = local.config_readers

  project   = var.project
  secret_id = google_secret_manager_secret.config[0].secret_id
  role      = "roles/secretmanager.secretAccessor"
  member    = each.value
}

# The receivers' secrets are made by whoever has them, and given by name: they are in no state.
resource "google_secret_manager_secret_iam_member" "secrets" {
  for_each = local.secret_readers

  project   = var.project
  secret_id = each.value.secret
  role      = "roles/secretmanager.secretAccessor"
  member    = each.value.member
}

resource "google_service_account" "notify" {
  count = length(local.telling)

  project      = var.project
  account_id   = "${var.name}-notify"
  display_name = "pedwatch: sends what is due"
}

# It reads the limits that are in force, and what a breach costs; it writes no fact.
resource "google_bigquery_table_iam_member" "notify_reads" {
  for_each = length(local.telling) == 0 ? [] : toset(["deployment_config", "replica_events", "carried_writes", "closed_changes", "object_days", "watermarks"])

  project    = var.project
  dataset_id = google_bigquery_dataset.this.dataset_id
  table_id   = google_bigquery_table.tables[each.key].table_id
  role       = "roles/bigquery.dataViewer"
  member     = google_service_account.notify[0].member
}

# The schema that it checks at its start.
resource "google_bigquery_dataset_access" "notify_checks" {
  count = length(local.telling)

  project       = var.project
  dataset_id    = google_bigquery_dataset.this.dataset_id
  role          = "roles/bigquery.metadataViewer"
  user_by_email = google_service_account.notify[0].email
}

resource "google_project_iam_member" "notify_queries" {
  count = length(local.telling)

  project = var.project
  role    = "roles/bigquery.jobUser"
  member  = google_service_account.notify[0].member
}

# What a breach costs is a question about the month, which reads what is closed of it.
resource "google_bigquery_table_iam_member" "consumer_costs" {
  for_each = length(local.telling) == 0 ? [] : toset(["closed_changes", "object_days"])

  project    = var.project
  dataset_id = google_bigquery_dataset.this.dataset_id
  table_id   = google_bigquery_table.tables[each.key].table_id
  role       = "roles/bigquery.dataViewer"
  member     = google_service_account.consumer.member
}

# Somebody waits to be told, or was not: by what pedwatch measures, where that is scraped; and where nobody has looked for what
# is due, which tells itself however little runs.
locals {
  of_notices   = "pedwatch_notifications_total{cluster=\"__run__\", namespace=\"${var.name}\", outcome=\"refused\"}"
  oldest_asked = "pedwatch_oldest_unsent_notification_timestamp_seconds{cluster=\"__run__\", namespace=\"${var.name}\"}"

  untold = {
    for telling in local.telling : "telling" => merge(
      {
        "Nobody has looked for what is due for ${telling.told_after_minutes} minutes" = {
          query    = "absent_over_time(run_googleapis_com:job_completed_execution_count{monitored_resource=\"cloud_run_job\", job_name=\"${google_cloud_run_v2_job.jobs["notify"].name}\", result=\"succeeded\"}[${telling.told_after_minutes}m])"
          duration = "300s"
        }
      },
      length(local.sidecars) == 0 ? {} : {
        "A message has waited for ${telling.told_after_minutes} minutes" = {
          query    = "time() - min(${local.oldest_asked} > 0) > ${telling.told_after_minutes * 60}"
          duration = "300s"
        }
        # A counter is born with its first event, of which `increase` knows nothing.
        "A receiver refuses what it is told" = {
          query    = "sum by (receiver) (increase(${local.of_notices}[1h]) > 0 or (${local.of_notices} unless ${local.of_notices} offset 1h)) > 0"
          duration = "0s"
        }
      },
    )
  }
}

resource "google_monitoring_alert_policy" "untold" {
  for_each = local.untold

  project               = var.project
  display_name          = "pedwatch: somebody is not being told"
  combiner              = "OR"
  severity              = "CRITICAL"
  notification_channels = local.channels
  user_labels           = local.labels

  dynamic "conditions" {
    for_each = each.value

    content {
      display_name = conditions.key

      condition_prometheus_query_language {
        query               = conditions.value.query
        duration            = conditions.value.duration
        evaluation_interval = "60s"
        # There is no such metric before the first message and the first run.
        disable_metric_validation = true
      }
    }
  }

  documentation {
    mime_type = "text/markdown"
    content   = "Facts are recorded all the same, and what is to be told waits in the ledger. `pedwatch notify list` and `notify list --failed` say which receiver and why: is its secret another one by now, is it down? `pedwatch notify test --receiver NAME` tries it; `pedwatch notify retry ID` tells again what was given up."
  }
}
