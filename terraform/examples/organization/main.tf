# All clusters of an organization, into one project of the platform team. With a key of its own, and only some namespaces.
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
  alert_emails        = ["platform@example.com"]
}
