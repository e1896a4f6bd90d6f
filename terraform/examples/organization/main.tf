# All clusters of an organization, into one project of the platform team. With a key of its own, in a VPC, only some namespaces,
# and with datasets for the teams that own them.
provider "google" {}

module "pedwatch" {
  source = "../.."

  project             = "acme-platform"
  region              = "europe-west1"
  image               = "europe-docker.pkg.dev/acme-platform/tools/pedwatch:0.1.0"
  scope               = { organization = "123456789012" }
  namespaces          = ["payments", "discovery"]
  pipeline_identities = ["deployer@acme-cicd.iam.gserviceaccount.com", "*@acme-argocd.iam.gserviceaccount.com"]
  platform            = { max_replicas = 10 }
  settings            = { "rules.bypass.severity" = "warning" }
  dataset             = { location = "europe-west1" }
  kms_key             = "projects/acme-platform/locations/europe-west1/keyRings/pedwatch/cryptoKeys/topics"
  instances           = { min = 1, max = 10 }
  vpc_access          = { network = "shared", subnetwork = "run", egress = "ALL_TRAFFIC" }

  binary_authorization      = { use_default = true }
  partition_expiration_days = { replica_events = 800, alert_log = 800, carried_writes = 800, quarantine = 30 }

  owners = {
    "team-payments"  = ["group:payments@example.com"]
    "team-discovery" = ["group:discovery@example.com", "user:lead@example.com"]
  }

  # Whom pedwatch itself tells; the secret's value is put into Secret Manager by hand.
  telling = {
    location = "europe-west1"
    secrets  = { slack = "pedwatch-slack-webhook" }
    config   = <<-EOT
      [receivers.platform]
      kind = "slack_webhook"
      webhook_url_file = "/secrets/slack/value"
      digest_at = "08:30"

      [[routes]]
      receivers = ["platform"]

      [billing.prices.2026-10-01]
      currency = "EUR"
      timezone = "Europe/Berlin"
    EOT
  }

  # A limit that is registered holds for the next message.
  registry = {}

  # A bill every day, the month before closed on the 3rd, and a page of each.
  billing = { report = { bucket = "acme-platform-reports", folder = "pedwatch/" } }

  tell         = { warning = true }
  alert_emails = ["platform@example.com"]
}
