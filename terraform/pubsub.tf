resource "google_pubsub_topic" "audit" {
  project      = var.project
  name         = "${var.name}-audit"
  kms_key_name = var.kms_key
  labels       = local.labels

  depends_on = [google_kms_crypto_key_iam_member.agents]
}

resource "google_pubsub_subscription" "audit" {
  project = var.project
  name    = "${var.name}-audit"
  topic   = google_pubsub_topic.audit.id
  labels  = local.labels

  # Longer than bigquery.deadline_seconds, so that a message is given back before it is given to another.
  ack_deadline_seconds = 60
  # The longest there is: a store that is down over a weekend loses nothing.
  message_retention_duration = "604800s"

  # Never: a subscription that nobody reads for 31 days would be deleted, and with it what waits.
  expiration_policy {
    ttl = ""
  }

  retry_policy {
    minimum_backoff = "10s"
    maximum_backoff = "600s"
  }

  # At 600 s between attempts this is most of a day: an outage of the store is over by then, poison is not here at all
  # (it is acknowledged into quarantine).
  dead_letter_policy {
    dead_letter_topic     = google_pubsub_topic.dead_letters.id
    max_delivery_attempts = 100
  }

  dynamic "push_config" {
    for_each = google_cloud_run_v2_service.this

    content {
      push_endpoint = "${push_config.value.uri}/pubsub/push"

      oidc_token {
        service_account_email = google_service_account.invoker[0].email
        audience              = push_config.value.uri
      }
    }
  }

  # Nothing is pushed before the invoker may invoke, and Pub/Sub may sign as it.
  depends_on = [
    google_pubsub_topic_iam_member.dead_letters,
    google_cloud_run_v2_service_iam_member.invoker,
    google_service_account_iam_member.pubsub_signs,
  ]
}

resource "google_pubsub_topic" "dead_letters" {
  project      = var.project
  name         = "${var.name}-dead-letters"
  kms_key_name = var.kms_key
  labels       = local.labels

  depends_on = [google_kms_crypto_key_iam_member.agents]
}

# A dead-letter topic without a subscription drops what is published to it.
resource "google_pubsub_subscription" "dead_letters" {
  project = var.project
  name    = "${var.name}-dead-letters"
  topic   = google_pubsub_topic.dead_letters.id
  labels  = local.labels

  ack_deadline_seconds       = 600
  message_retention_duration = "604800s"

  expiration_policy {
    ttl = ""
  }
}

# Both grants that dead-lettering needs: to publish there, and to acknowledge here.
resource "google_pubsub_topic_iam_member" "dead_letters" {
  project = var.project
  topic   = google_pubsub_topic.dead_letters.name
  role    = "roles/pubsub.publisher"
  member  = local.pubsub_agent
}

resource "google_pubsub_subscription_iam_member" "dead_letters" {
  project      = var.project
  subscription = google_pubsub_subscription.audit.name
  role         = "roles/pubsub.subscriber"
  member       = local.pubsub_agent
}
