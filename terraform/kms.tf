# Keys of one's own: each of Google's services that keeps something uses them as an identity of its own in this project.
locals {
  dataset_key = var.dataset.kms_key == null ? var.kms_key : var.dataset.kms_key
  ledger_key  = var.telling == null ? null : try(coalesce(var.telling.kms_key, var.kms_key), null)

  registry_key = var.registry == null ? null : try(coalesce(var.registry.kms_key, var.kms_key), null)

  # By what is known before anything is made.
  key_users = merge(
    var.kms_key == null ? {} : {
      pubsub = { key = var.kms_key, member = local.pubsub_agent }
      run    = { key = var.kms_key, member = "serviceAccount:service-${data.google_project.this.number}@serverless-robot-prod.iam.gserviceaccount.com" }
    },
    local.dataset_key == null ? {} : {
      bigquery = { key = local.dataset_key, member = data.google_bigquery_default_service_account.this[0].member }
    },
    local.ledger_key == null ? {} : {
      firestore = { key = local.ledger_key, member = "serviceAccount:service-${data.google_project.this.number}@gcp-sa-firestore.iam.gserviceaccount.com" }
    },
    local.registry_key == null || local.registry_key == local.ledger_key ? {} : {
      registry = { key = local.registry_key, member = "serviceAccount:service-${data.google_project.this.number}@gcp-sa-firestore.iam.gserviceaccount.com" }
    },
  )
}

# Asking for it makes it, where BigQuery has never encrypted in this project.
data "google_bigquery_default_service_account" "this" {
  count = local.dataset_key == null ? 0 : 1

  project = var.project
}

resource "google_kms_crypto_key_iam_member" "agents" {
  for_each = local.key_users

  crypto_key_id = each.value.key
  role          = "roles/cloudkms.cryptoKeyEncrypterDecrypter"
  member        = each.value.member
}

moved {
  from = google_kms_crypto_key_iam_member.pubsub[0]
  to   = google_kms_crypto_key_iam_member.agents["pubsub"]
}
