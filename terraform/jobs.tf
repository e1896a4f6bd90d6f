# Daily work: a Cloud Run job for each subcommand, and the schedule that runs it.
resource "google_service_account" "jobs" {
  count = length(var.jobs) == 0 ? 0 : 1

  project      = var.project
  account_id   = "${var.name}-jobs"
  display_name = "pedwatch: daily work"
}

resource "google_bigquery_table_iam_member" "jobs_write" {
  for_each = length(var.jobs) == 0 ? [] : toset(["alert_log", "pod_metrics"])

  project    = var.project
  dataset_id = google_bigquery_dataset.this.dataset_id
  table_id   = google_bigquery_table.tables[each.key].table_id
  role       = "roles/bigquery.dataEditor"
  member     = google_service_account.jobs[0].member
}

resource "google_bigquery_dataset_iam_member" "jobs_read" {
  count = length(var.jobs) == 0 ? 0 : 1

  project    = var.project
  dataset_id = google_bigquery_dataset.this.dataset_id
  role       = "roles/bigquery.dataViewer"
  member     = google_service_account.jobs[0].member
}

resource "google_project_iam_member" "jobs_query" {
  count = length(var.jobs) == 0 ? 0 : 1

  project = var.project
  role    = "roles/bigquery.jobUser"
  member  = google_service_account.jobs[0].member
}

resource "google_cloud_run_v2_job" "jobs" {
  for_each = var.jobs

  project             = var.project
  location            = var.region
  name                = "${var.name}-${each.key}"
  deletion_protection = false
  labels              = local.labels

  template {
    template {
      service_account = google_service_account.jobs[0].email
      timeout         = each.value.timeout
      max_retries     = 3

      containers {
        image = var.image
        args  = each.value.args

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
  }

  depends_on = [google_bigquery_table.tables, google_bigquery_table.views]
}

resource "google_service_account" "scheduler" {
  count = length(var.jobs) == 0 ? 0 : 1

  project      = var.project
  account_id   = "${var.name}-scheduler"
  display_name = "pedwatch: starts daily work"
}

resource "google_cloud_run_v2_job_iam_member" "scheduler" {
  for_each = var.jobs

  project  = var.project
  location = var.region
  name     = google_cloud_run_v2_job.jobs[each.key].name
  role     = "roles/run.invoker"
  member   = google_service_account.scheduler[0].member
}

resource "google_cloud_scheduler_job" "jobs" {
  for_each = var.jobs

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
