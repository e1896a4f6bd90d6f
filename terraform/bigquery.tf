locals {
  # What holds of each table besides its columns, as `pedwatch schema apply` reads it too.
  tables  = jsondecode(file("${path.module}/tables.json"))
  schemas = { for table in keys(local.tables) : table => jsondecode(file("${path.module}/schemas/${table}.json")) }

  # Versions of PEDs judge old writes for ever.
  expiring = [for table, properties in local.tables : table if properties.expires && var.dataset.partition_expiration_days != 0]

  # A view that is stored stands alone: the views that it uses stand in it, so that neither the order in which they are made
  # nor another release's views matter. Their files are in an order in which each uses only those before it.
  view_names = jsondecode(file("${path.module}/views/order.json"))
  view_texts = {
    for view in local.view_names : view => replace(templatefile("${path.module}/views/${view}.sql", {
      dataset  = "@dataset"
      now      = "CURRENT_TIMESTAMP()"
      text     = "STRING"
      calendar = "UNNEST(GENERATE_DATE_ARRAY((SELECT MIN(first_day) FROM periods), CURRENT_DATE())) AS day"
    }), "/MICROS_OF\\(([^)]*)\\)/", "UNIX_MICROS($1)")
  }
  uses = {
    for view in local.view_names : view => [for other in local.view_names : other if can(regex("@dataset\\.${other}\\b", local.view_texts[view]))]
  }
  # What those use in turn: each step doubles how far it reaches.
  uses_2 = { for view in local.view_names : view => distinct(concat(local.uses[view], flatten([for used in local.uses[view] : local.uses[used]]))) }
  uses_4 = { for view in local.view_names : view => distinct(concat(local.uses_2[view], flatten([for used in local.uses_2[view] : local.uses_2[used]]))) }
  uses_8 = { for view in local.view_names : view => distinct(concat(local.uses_4[view], flatten([for used in local.uses_4[view] : local.uses_4[used]]))) }

  dataset = "`${var.project}`.${google_bigquery_dataset.this.dataset_id}"
  within  = { for view in local.view_names : view => replace(local.view_texts[view], "/@dataset\\.(${join("|", local.view_names)})\\b/", "$1") }
  definitions = {
    for view in local.view_names : view => [
      for other in local.view_names : "${other} AS (\n${trimspace(local.within[other])}\n)" if other == view || contains(local.uses_8[view], other)
    ]
  }
  views = {
    for view in local.view_names : view => replace(
      length(local.uses[view]) == 0 ? local.view_texts[view] : "WITH\n${join(",\n", local.definitions[view])}\nSELECT * FROM ${view}\n",
      "@dataset", local.dataset
    )
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
  for_each = local.tables

  project             = var.project
  dataset_id          = google_bigquery_dataset.this.dataset_id
  table_id            = each.key
  schema              = file("${path.module}/schemas/${each.key}.json")
  clustering          = each.value.clustering
  deletion_protection = var.dataset.deletion_protection
  labels              = local.labels

  time_partitioning {
    type          = "DAY"
    field         = each.value.partition
    expiration_ms = contains(local.expiring, each.key) ? var.dataset.partition_expiration_days * 86400000 : null
  }
}

resource "google_bigquery_table" "views" {
  for_each = local.views

  project             = var.project
  dataset_id          = google_bigquery_dataset.this.dataset_id
  table_id            = each.key
  deletion_protection = false
  labels              = local.labels

  view {
    query          = each.value
    use_legacy_sql = false
  }

  # BigQuery checks a view when it is made.
  depends_on = [google_bigquery_table.tables]
}

# The consumer writes facts and how far it has judged, reads them and the limits again, sees the schema it checks at its
# start, and runs queries: nothing else.
resource "google_bigquery_table_iam_member" "consumer_writes" {
  for_each = toset(["replica_events", "alert_log", "quarantine", "watermarks"])

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

# The pipeline registers PEDs as this identity: it appends versions, and judges the writes that came before them.
resource "google_service_account" "registrar" {
  project      = var.project
  account_id   = "${var.name}-registrar"
  display_name = "pedwatch: registers PEDs"
}

resource "google_bigquery_table_iam_member" "registrar_writes" {
  for_each = toset(["deployment_config", "alert_log"])

  project    = var.project
  dataset_id = google_bigquery_dataset.this.dataset_id
  table_id   = google_bigquery_table.tables[each.key].table_id
  role       = "roles/bigquery.dataEditor"
  member     = google_service_account.registrar.member
}

resource "google_bigquery_table_iam_member" "registrar_reads" {
  project    = var.project
  dataset_id = google_bigquery_dataset.this.dataset_id
  table_id   = google_bigquery_table.tables["replica_events"].table_id
  role       = "roles/bigquery.dataViewer"
  member     = google_service_account.registrar.member
}

resource "google_project_iam_member" "registrar_queries" {
  project = var.project
  role    = "roles/bigquery.jobUser"
  member  = google_service_account.registrar.member
}
