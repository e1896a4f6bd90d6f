# The registry in Firestore: PEDs are registered there in transactions, and each message's Deployment is read there as of now. Every
# version comes into deployment_config as well.
locals {
  registry = [for registry in var.registry[*] : "firestore:${var.project}/${google_firestore_database.registry[0].name}"]

  # By what is known before anything is made. Those who register, and who mends what they left out.
  registry_writers = var.registry == null ? {} : merge(
    { registrar = google_service_account.registrar.member },
    { for daily in var.daily[*] : "daily" => google_service_account.daily[0].member },
  )
  # Those who go by limits, or by versions.
  registry_readers = var.registry == null ? {} : merge(
    { consumer = google_service_account.consumer.member },
    length(local.telling) == 0 ? {} : { notify = google_service_account.notify[0].member },
    { for snapshot in var.snapshot[*] : "snapshot" => google_service_account.lookers["snapshot"].member },
    { for account in local.billing_accounts : account => google_service_account.billing[account].member },
    length(var.jobs) == 0 ? {} : { jobs = google_service_account.jobs[0].member },
  )
}

resource "google_firestore_database" "registry" {
  count = length(var.registry[*])

  project                 = var.project
  name                    = "${var.name}-registry"
  location_id             = coalesce(var.registry.location, var.region)
  type                    = "FIRESTORE_NATIVE"
  delete_protection_state = "DELETE_PROTECTION_ENABLED"

  dynamic "cmek_config" {
    for_each = local.registry_key[*]

    content {
      kms_key_name = cmek_config.value
    }
  }

  depends_on = [google_kms_crypto_key_iam_member.agents]
}

# In this database and no other.
resource "google_project_iam_member" "registry" {
  for_each = merge(
    { for name, member in local.registry_writers : name => { role = "roles/datastore.user", member = member } },
    { for name, member in local.registry_readers : name => { role = "roles/datastore.viewer", member = member } },
  )

  project = var.project
  role    = each.value.role
  member  = each.value.member

  condition {
    title      = "pedwatch-registry"
    expression = "resource.name == \"projects/${var.project}/databases/${google_firestore_database.registry[0].name}\""
  }
}

# What was registered, and never came there.
resource "google_bigquery_table_iam_member" "daily_mends" {
  for_each = var.registry == null || var.daily == null ? [] : toset(["deployment_config"])

  project    = var.project
  dataset_id = google_bigquery_dataset.this.dataset_id
  table_id   = google_bigquery_table.tables[each.key].table_id
  role       = "roles/bigquery.dataEditor"
  member     = google_service_account.daily[0].member
}
