# One project: its clusters are watched, and everything runs in it. The Cloud Run service takes pushes.
provider "google" {}

module "pedwatch" {
  source = "../.."

  project             = "acme-prod"
  region              = "europe-west1"
  image               = "europe-docker.pkg.dev/acme-prod/tools/pedwatch:0.1.0"
  scope               = { project = "acme-prod" }
  pipeline_identities = ["deployer@acme-cicd.iam.gserviceaccount.com"]
  dataset             = { location = "EU", partition_expiration_days = 800 }
  alert_emails        = ["platform@example.com"]
}

# A second project's clusters, into the same pipeline.
module "staging_sink" {
  source = "../../modules/sink"

  scope = { project = "acme-staging" }
  topic = module.pedwatch.topic
}

output "filter" {
  value = module.pedwatch.filter
}
