locals {
  # What holds of each table besides its columns, as `pedwatch schema apply` reads it too.
  tables  = jsondecode(file("${path.module}/tables.json"))
  schemas = { for table in keys(local.tables) : table => jsondecode(file("${path.module}/schemas/${table}.json")) }

  # In milliseconds; 0 where a table's partitions stay. Watermarks have no such variable: they hold nobody's name, and are few.
  expirations = { for table in keys(local.tables) : table => try(var.partition_expiration_days[table] * 86400000, 0) }

  # A view that is stored stands alone: the views that it uses stand in it, so that neither the order in which they are made
  # nor another release's views matter. Their files are in an order in which each uses only those before it.
  view_names = jsondecode(file("${path.module}/views/order.json"))
  view_texts = {
    for view in local.view_names : view => replace(replace(templatefile("${path.module}/views/${view}.sql", {
      dataset  = "@dataset"
      now      = "CURRENT_TIMESTAMP()"
      text     = "STRING"
      calendar = "(SELECT day, UNIX_DATE(day) * 86400000000 AS begins FROM UNNEST(GENERATE_DATE_ARRAY((SELECT MIN(first_day) FROM periods), CURRENT_DATE())) AS day) AS days"
    }), "/MICROS_OF\\(([^)]*)\\)/", "UNIX_MICROS($1)"), "/DAYS_AGO\\(([0-9]+)\\)/", "TIMESTAMP_SUB(TIMESTAMP_TRUNC(CURRENT_TIMESTAMP(), DAY), INTERVAL $1 DAY)")
  }
  uses = {
    for view in local.view_names : view => toset([for other in local.view_names : other if can(regex("@dataset\\.${other}\\b", local.view_texts[view]))])
  }
  # What those use in turn: each step doubles how far it reaches, so these reach through 64 layers. A view that had more would
  # not be found whole: a precondition of the views says so.
  uses_2  = { for view, used in local.uses : view => setunion(used, [for other in used : local.uses[other]]...) }
  uses_4  = { for view, used in local.uses_2 : view => setunion(used, [for other in used : local.uses_2[other]]...) }
  uses_8  = { for view, used in local.uses_4 : view => setunion(used, [for other in used : local.uses_4[other]]...) }
  uses_16 = { for view, used in local.uses_8 : view => setunion(used, [for other in used : local.uses_8[other]]...) }
  uses_32 = { for view, used in local.uses_16 : view => setunion(used, [for other in used : local.uses_16[other]]...) }
  uses_64 = { for view, used in local.uses_32 : view => setunion(used, [for other in used : local.uses_32[other]]...) }

  dataset = "`${var.project}`.${google_bigquery_dataset.this.dataset_id}"

  # A view that stands on one of these reads less than all events, and so does what it uses.
  bounded = jsondecode(file("${path.module}/views/bounded.json"))
  reads   = merge({ all = { events = "replica_events WHERE TRUE", carried = "carried_writes WHERE FALSE", subjects = "subjects" } }, local.bounded)
  read_by = { for view in local.view_names : view => concat([for told in keys(local.bounded) : told if contains(local.uses_64[view], told)], ["all"])[0] }
  texts = {
    for told, reads in local.reads : told => {
      for view in local.view_names : view => replace(replace(replace(local.view_texts[view],
        "@dataset.replica_events WHERE TRUE", "@dataset.${reads.events}"),
        "@dataset.carried_writes WHERE FALSE", "@dataset.${reads.carried}"),
      "@dataset.subjects", "@dataset.${reads.subjects}")
    }
  }
  within     = { for told, texts in local.texts : told => { for view, text in texts : view => replace(text, "/@dataset\\.(${join("|", local.view_names)})\\b/", "$1") } }
  definition = { for told, texts in local.within : told => { for view, text in texts : view => "${view} AS (\n${trimspace(text)}\n)" } }
  definitions = {
    for view in local.view_names : view => [
      for other in local.view_names : local.definition[local.read_by[view]][other] if other == view || contains(local.uses_64[view], other)
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

  dynamic "default_encryption_configuration" {
    for_each = local.dataset_key[*]

    content {
      kms_key_name = default_encryption_configuration.value
    }
  }

  depends_on = [google_kms_crypto_key_iam_member.agents]
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
    expiration_ms = local.expirations[each.key] == 0 ? null : local.expirations[each.key]
  }

  # The dataset's default, said again: the provider takes what a table has, and nobody asked for, for a change.
  dynamic "encryption_configuration" {
    for_each = local.dataset_key[*]

    content {
      kms_key_name = encryption_configuration.value
    }
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

  lifecycle {
    precondition {
      condition     = alltrue([for view in local.view_names : alltrue([for used in local.uses_64[view] : length(setsubtract(local.uses[used], local.uses_64[view])) == 0])])
      error_message = "The views in views/order.json stand on more than 64 layers of each other, more than bigquery.tf follows."
    }
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
  for_each = toset(["deployment_config", "carried_writes"])

  project    = var.project
  dataset_id = google_bigquery_dataset.this.dataset_id
  table_id   = google_bigquery_table.tables[each.key].table_id
  role       = "roles/bigquery.dataViewer"
  member     = google_service_account.consumer.member
}

moved {
  from = google_bigquery_table_iam_member.consumer_reads
  to   = google_bigquery_table_iam_member.consumer_reads["deployment_config"]
}

# Not google_bigquery_dataset_iam_member: that takes the teams' authorized views away.
resource "google_bigquery_dataset_access" "consumer_checks" {
  project       = var.project
  dataset_id    = google_bigquery_dataset.this.dataset_id
  role          = "roles/bigquery.metadataViewer"
  user_by_email = google_service_account.consumer.email
}

# What the first release granted by it is the same grant; destroying the one would take the other.
removed {
  from = google_bigquery_dataset_iam_member.consumer_checks

  lifecycle {
    destroy = false
  }
}

removed {
  from = google_bigquery_dataset_iam_member.jobs_read

  lifecycle {
    destroy = false
  }
}

resource "google_project_iam_member" "consumer_queries" {
  project = var.project
  role    = "roles/bigquery.jobUser"
  member  = google_service_account.consumer.member
}

# The pipeline registers PEDs as this identity: it appends versions, marks those that take effect in days that may be closed,
# and judges the writes that came before them.
resource "google_service_account" "registrar" {
  project      = var.project
  account_id   = "${var.name}-registrar"
  display_name = "pedwatch: registers PEDs"
}

resource "google_bigquery_table_iam_member" "registrar_writes" {
  for_each = toset(["deployment_config", "alert_log", "watermarks"])

  project    = var.project
  dataset_id = google_bigquery_dataset.this.dataset_id
  table_id   = google_bigquery_table.tables[each.key].table_id
  role       = "roles/bigquery.dataEditor"
  member     = google_service_account.registrar.member
}

resource "google_bigquery_table_iam_member" "registrar_reads" {
  for_each = toset(["replica_events", "carried_writes"])

  project    = var.project
  dataset_id = google_bigquery_dataset.this.dataset_id
  table_id   = google_bigquery_table.tables[each.key].table_id
  role       = "roles/bigquery.dataViewer"
  member     = google_service_account.registrar.member
}

moved {
  from = google_bigquery_table_iam_member.registrar_reads
  to   = google_bigquery_table_iam_member.registrar_reads["replica_events"]
}

resource "google_project_iam_member" "registrar_queries" {
  project = var.project
  role    = "roles/bigquery.jobUser"
  member  = google_service_account.registrar.member
}
