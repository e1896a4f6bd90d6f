# One project: its clusters are watched, and everything runs in it. The Cloud Run service takes pushes.
provider "google" {}

module "pedwatch" {
  source = "../.."

  project             = "acme-prod"
  region              = "europe-west1"
  image               = "europe-docker.pkg.dev/acme-prod/tools/pedwatch:0.1.0"
  scope               = { project = "acme-prod" }
  pipeline_identities = ["deployer@acme-cicd.iam.gserviceaccount.com"]
  dataset             = { location = "EU" }
  alert_emails        = ["platform@example.com"]

  # What was recorded is kept for two years, and quarantine for 90 days; closed days and their changes stay.
  partition_expiration_days = { replica_events = 800, alert_log = 800, carried_writes = 800 }
}

# A second project's clusters, into the same pipeline.
module "staging_sink" {
  source = "../../modules/sink"

  scope        = { project = "acme-staging" }
  topic        = module.pedwatch.topic
  alert_emails = ["platform@example.com"]
}

output "filter" {
  value = module.pedwatch.filter
}

# For `pedwatch ped register --store "$(terraform output -raw store)"`, as this identity.
output "store" {
  value = module.pedwatch.store
}

output "registrar" {
  value = module.pedwatch.registrar
}
