locals {
  schema_files = fileset("${path.module}/schemas", "*.json")
  schemas      = { for file in local.schema_files : trimsuffix(file, ".json") => jsondecode(file("${path.module}/schemas/${file}")) }

  # As `pedwatch schema apply` makes them: partitioned by the first time that every row has, clustered by what most
  # questions name.
  time_columns = {
    for table, fields in local.schemas : table => [for field in fields : field.name if field.type == "TIMESTAMP" && field.mode == "REQUIRED"][0]
  }
  cluster_columns = {
    for table, fields in local.schemas : table => coalescelist(
      [for column in ["cluster_name", "namespace", "deployment_name"] : column if contains(fields[*].name, column)],
      [for name in fields[*].name : name if name == "reason"],
    )
  }

  # Versions of PEDs judge old writes for ever.
  expiring = var.dataset.partition_expiration_days == 0 ? [] : setsubtract(keys(local.schemas), ["deployment_config"])

  view_files = fileset("${path.module}/views", "*.sql")
  view_names = [for file in local.view_files : trimsuffix(file, ".sql")]
  view_texts = { for view in local.view_names : view => file("${path.module}/views/${view}.sql") }
  # BigQuery checks a view when it is made, so the views that it uses come first.
  uses = {
    for view, text in local.view_texts : view => [for other in local.view_names : other if can(regex("\\$\\{dataset\\}\\.${other}\\b", text))]
  }
  first_views  = toset([for view in local.view_names : view if length(local.uses[view]) == 0])
  second_views = toset([for view in local.view_names : view if length(local.uses[view]) > 0 && length(setsubtract(local.uses[view], local.first_views)) == 0])
  third_views  = setsubtract(local.view_names, setunion(local.first_views, local.second_views))

  views = {
    for view in local.view_names : view => templatefile("${path.module}/views/${view}.sql", {
      dataset  = "`${var.project}`.${google_bigquery_dataset.this.dataset_id}"
      now      = "CURRENT_TIMESTAMP()"
      calendar = "UNNEST(GENERATE_DATE_ARRAY((SELECT MIN(first_day) FROM periods), CURRENT_DATE())) AS day"
    })
  }
}

resource "google_bigquery_dataset" "this" {
  project                    = var.project
  dataset_id                 = var.dataset.name
  location                   = var.dataset.location
  description                = "What pedwatch records: who changed a Deployment's replicas, and whether that was allowed."
  delete_contents_on_destroy = false
  labels                     = local.labels
}

resource "google_bigquery_table" "tables" {
  for_each = local.schemas

  project             = var.project
  dataset_id          = google_bigquery_dataset.this.dataset_id
  table_id            = each.key
  schema              = file("${path.module}/schemas/${each.key}.json")
  clustering          = local.cluster_columns[each.key]
  deletion_protection = var.dataset.deletion_protection
  labels              = local.labels

  time_partitioning {
    type          = "DAY"
    field         = local.time_columns[each.key]
    expiration_ms = contains(local.expiring, each.key) ? var.dataset.partition_expiration_days * 86400000 : null
  }
}

resource "google_bigquery_table" "views" {
  for_each = local.first_views

  project             = var.project
  dataset_id          = google_bigquery_dataset.this.dataset_id
  table_id            = each.key
  deletion_protection = false
  labels              = local.labels

  view {
    query          = local.views[each.key]
    use_legacy_sql = false
  }

  depends_on = [google_bigquery_table.tables]
}

resource "google_bigquery_table" "views_of_views" {
  for_each = local.second_views

  project             = var.project
  dataset_id          = google_bigquery_dataset.this.dataset_id
  table_id            = each.key
  deletion_protection = false
  labels              = local.labels

  view {
    query          = local.views[each.key]
    use_legacy_sql = false
  }

  depends_on = [google_bigquery_table.views]
}

resource "google_bigquery_table" "views_of_views_of_views" {
  for_each = local.third_views

  project             = var.project
  dataset_id          = google_bigquery_dataset.this.dataset_id
  table_id            = each.key
  deletion_protection = false
  labels              = local.labels

  view {
    query          = local.views[each.key]
    use_legacy_sql = false
  }

  depends_on = [google_bigquery_table.views_of_views]
}

# The consumer writes facts, reads limits, sees the schema it checks at its start, and runs queries: nothing else.
resource "google_bigquery_table_iam_member" "consumer_writes" {
  for_each = toset(["replica_events", "alert_log", "quarantine"])

  project    = var.project
  dataset_id = google_bigquery_dataset.this.dataset_id
  table_id   = google_bigquery_table.tables[each.key].table_id
  role       = "roles/bigquery.dataEditor"
  member     = google_service_account.consumer.member
}

resource "google_bigquery_table_iam_member" "consumer_reads" {
  project    = var.project
  dataset_id = google_bigquery_dataset.this.dataset_id
  table_id   = google_bigquery_table.tables["deployment_config"].table_id
  role       = "roles/bigquery.dataViewer"
  member     = google_service_account.consumer.member
}

resource "google_bigquery_dataset_iam_member" "consumer_checks" {
  project    = var.project
  dataset_id = google_bigquery_dataset.this.dataset_id
  role       = "roles/bigquery.metadataViewer"
  member     = google_service_account.consumer.member
}

resource "google_project_iam_member" "consumer_queries" {
  project = var.project
  role    = "roles/bigquery.jobUser"
  member  = google_service_account.consumer.member
}

# The pipeline registers PEDs as this identity.
resource "google_service_account" "registrar" {
  project      = var.project
  account_id   = "${var.name}-registrar"
  display_name = "pedwatch: registers PEDs"
}

resource "google_bigquery_table_iam_member" "registrar_writes" {
  project    = var.project
  dataset_id = google_bigquery_dataset.this.dataset_id
  table_id   = google_bigquery_table.tables["deployment_config"].table_id
  role       = "roles/bigquery.dataEditor"
  member     = google_service_account.registrar.member
}

resource "google_project_iam_member" "registrar_queries" {
  project = var.project
  role    = "roles/bigquery.jobUser"
  member  = google_service_account.registrar.member
}
