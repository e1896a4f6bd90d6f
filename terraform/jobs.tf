# What is done from time to time: a Cloud Run job for each subcommand, and the schedule that runs it. Closing days, bills, snapshots
# and canaries are of them, each as an identity of its own (daily.tf, billing.tf, clusters.tf).
locals {
  jobs = merge(
    { for name, job in var.jobs : name => { args = job.args, schedule = job.schedule, timeout = job.timeout, account = "jobs", retries = 3 } },
    { for daily in var.daily[*] : "daily" => { args = ["daily"], schedule = daily.schedule, timeout = daily.timeout, account = "daily", retries = 3 } },
    { for snapshot in var.snapshot[*] : "snapshot" => { args = ["snapshot"], schedule = snapshot.schedule, timeout = snapshot.timeout, account = "snapshot", retries = 3 } },
    { for telling in local.telling : "notify" => { args = ["notify", "--once"], schedule = telling.schedule, timeout = "600s", account = "notify", retries = 3 } },
    { for name, job in local.billing_jobs : name => { args = job.args, schedule = job.schedule, timeout = var.billing.timeout, account = job.account, retries = 3 } },
    # The next one comes soon, and a second one within the same run would count twice.
    { for canary in var.canary[*] : "canary" => { args = ["canary"], schedule = canary.schedule, timeout = "${canary.wait_seconds + 400}s", account = "canary", retries = 0 } },
  )
  job_accounts = {
    jobs     = one(google_service_account.jobs[*].email)
    daily    = one(google_service_account.daily[*].email)
    notify   = one(google_service_account.notify[*].email)
    bill     = try(google_service_account.billing["bill"].email, null)
    report   = try(google_service_account.billing["report"].email, null)
    snapshot = try(google_service_account.lookers["snapshot"].email, null)
    canary   = try(google_service_account.lookers["canary"].email, null)
  }
  # Who looks into clusters tells nobody of incidents, and needs no configuration for that; a canary goes by no limit.
  job_env = {
    for name in keys(local.jobs) : name => contains(keys(local.looking_settings), name) ? {
      for key, value in merge(local.settings, local.looking_settings[name]) : "PEDWATCH_${upper(replace(key, ".", "__"))}" => value if key != "notify.ledger" && !(name == "canary" && key == "registry")
    } : local.env
  }
  job_volumes = {
    for name in keys(local.jobs) : name => name == "notify" ? local.send_volumes : contains(keys(local.looking_settings), name) ? {} : local.config_volumes
  }
}

resource "google_service_account" "jobs" {
  count = length(var.jobs) == 0 ? 0 : 1

  project      = var.project
  account_id   = "${var.name}-jobs"
  display_name = "pedwatch: jobs"
}

resource "google_bigquery_table_iam_member" "jobs_write" {
  for_each = length(var.jobs) == 0 ? [] : toset(["alert_log", "pod_metrics", "snapshots"])

  project    = var.project
  dataset_id = google_bigquery_dataset.this.dataset_id
  table_id   = google_bigquery_table.tables[each.key].table_id
  role       = "roles/bigquery.dataEditor"
  member     = google_service_account.jobs[0].member
}

# READER is what the API calls roles/bigquery.dataViewer on a dataset.
resource "google_bigquery_dataset_access" "jobs_read" {
  count = length(var.jobs) == 0 ? 0 : 1

  project       = var.project
  dataset_id    = google_bigquery_dataset.this.dataset_id
  role          = "READER"
  user_by_email = google_service_account.jobs[0].email
}

resource "google_project_iam_member" "jobs_query" {
  count = length(var.jobs) == 0 ? 0 : 1

  project = var.project
  role    = "roles/bigquery.jobUser"
  member  = google_service_account.jobs[0].member
}

resource "google_cloud_run_v2_job" "jobs" {
  for_each = local.jobs

  project             = var.project
  location            = var.region
  name                = "${var.name}-${each.key}"
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
    template {
      service_account = local.job_accounts[each.value.account]
      encryption_key  = var.kms_key
      timeout         = each.value.timeout
      max_retries     = each.value.retries

      dynamic "volumes" {
        for_each = local.job_volumes[each.key]

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

      containers {
        image = var.image
        args  = each.value.args

        resources {
          limits = { cpu = var.resources.cpu, memory = var.resources.memory }
        }

        dynamic "env" {
          for_each = local.job_env[each.key]

          content {
            name  = env.key
            value = env.value
          }
        }

        dynamic "volume_mounts" {
          for_each = local.job_volumes[each.key]

          content {
            name       = volume_mounts.key
            mount_path = volume_mounts.value.folder
          }
        }
      }
    }
  }

  depends_on = [
    google_bigquery_table.tables,
    google_bigquery_table.views,
    google_bigquery_table_iam_member.jobs_write,
    google_bigquery_dataset_access.jobs_read,
    google_project_iam_member.jobs_query,
    google_bigquery_table_iam_member.daily_writes,
    google_bigquery_table_iam_member.daily_reads,
    google_bigquery_dataset_access.daily_checks,
    google_project_iam_member.daily_queries,
    google_bigquery_table_iam_member.billing_writes,
    google_bigquery_table_iam_member.billing_reads,
    google_bigquery_dataset_access.billing_checks,
    google_project_iam_member.billing_queries,
    google_storage_bucket_iam_member.reports,
    google_bigquery_table_iam_member.notify_reads,
    google_bigquery_dataset_access.notify_checks,
    google_project_iam_member.notify_queries,
    google_project_iam_member.ledger,
    google_project_iam_member.registry,
    google_bigquery_table_iam_member.daily_mends,
    google_firestore_index.notifications,
    google_secret_manager_secret_iam_member.config,
    google_secret_manager_secret_iam_member.secrets,
    google_bigquery_table_iam_member.lookers_write_snapshots,
    google_bigquery_table_iam_member.lookers_read_limits,
    google_bigquery_table_iam_member.lookers_read_marks,
    google_bigquery_dataset_access.lookers_check,
    google_project_iam_member.lookers_query,
    google_project_iam_member.lookers_connect,
    google_project_iam_member.lookers_pass,
    google_kms_crypto_key_iam_member.agents,
  ]
}

resource "google_service_account" "scheduler" {
  count = length(local.jobs) == 0 ? 0 : 1

  project      = var.project
  account_id   = "${var.name}-scheduler"
  display_name = "pedwatch: starts jobs"
}

resource "google_cloud_run_v2_job_iam_member" "scheduler" {
  for_each = local.jobs

  project  = var.project
  location = var.region
  name     = google_cloud_run_v2_job.jobs[each.key].name
  role     = "roles/run.invoker"
  member   = google_service_account.scheduler[0].member
}

resource "google_cloud_scheduler_job" "jobs" {
  for_each = local.jobs

  project   = var.project
  region    = var.region
  name      = "${var.name}-${each.key}"
  schedule  = each.value.schedule
  time_zone = "Etc/UTC"

  retry_config {
    retry_count = 3
  }

  http_target {
    http_method = "POST"
    uri         = "https://run.googleapis.com/v2/projects/${var.project}/locations/${var.region}/jobs/${google_cloud_run_v2_job.jobs[each.key].name}:run"

    oauth_token {
      service_account_email = google_service_account.scheduler[0].email
    }
  }

  depends_on = [google_cloud_run_v2_job_iam_member.scheduler]
}
