# One folder, pulled by a worker pool that always runs; snapshots and canaries of its clusters; and a job of one's own. Encrypted by keys of one's own: BigQuery's EU wants one
# in Cloud KMS' europe, Cloud Run one in its region.
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
  kms_key             = "projects/acme-keys/locations/europe-west1/keyRings/pedwatch/cryptoKeys/run"
  vpc_access          = { network = "shared" }

  # Mirrored, as the policy for images wants it; a release that knows worker pools.
  managed_prometheus   = { image = "europe-docker.pkg.dev/acme-prod/tools/cloud-run-gmp-sidecar:1.9.2" }
  binary_authorization = { policy = "projects/acme-prod/platforms/cloudRun/policies/pedwatch" }

  dataset = {
    location            = "EU"
    kms_key             = "projects/acme-keys/locations/europe/keyRings/pedwatch/cryptoKeys/tables"
    deletion_protection = false
  }

  # What really runs in them, every night; and whether they are heard of, every ten minutes.
  cluster_access = {
    prod_1 = { project = "acme-prod", location = "europe-west1", name = "prod-1" }
    prod_2 = { project = "acme-stores", location = "europe-west4", name = "prod-2", access = "connect_gateway", namespaces = ["payments*", "!payments-dev"] }
  }
  snapshot = { pods = true }
  canary   = { namespace = "platform" }

  # A limit that is registered holds for the next message.
  registry = {}

  # Whatever needs a name and a schedule.
  jobs = {
    schema-check = { args = ["schema", "check"], schedule = "15 2 * * *" }
  }
}
