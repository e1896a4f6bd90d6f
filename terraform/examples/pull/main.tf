# One folder, pulled by a worker pool that always runs; and a daily job.
provider "google" {}

module "pedwatch" {
  source = "../.."

  project             = "acme-prod"
  region              = "europe-west1"
  image               = "europe-docker.pkg.dev/acme-prod/tools/pedwatch:0.1.0"
  scope               = { folder = "210987654321" }
  clusters            = ["prod-1", "prod-2"]
  delivery            = "pull"
  instances           = { min = 2 }
  pipeline_identities = ["deployer@acme-cicd.iam.gserviceaccount.com"]
  dataset             = { location = "EU", deletion_protection = false }

  # Whatever needs a name and a schedule.
  jobs = {
    schema-check = { args = ["schema", "check"], schedule = "15 2 * * *" }
  }
}
