# Wrong inputs are refused before anything is planned, with a message that says what would be right. The provider is mocked
# by its schema, so this needs no credentials.
mock_provider "google" {}

variables {
  project             = "acme-prod"
  region              = "europe-west1"
  image               = "europe-docker.pkg.dev/acme-prod/tools/pedwatch:0.1.0"
  scope               = { project = "acme-prod" }
  pipeline_identities = ["deployer@acme-cicd.iam.gserviceaccount.com"]
  dataset             = { location = "EU" }
}

run "good_inputs_are_taken" {
  command = plan

  assert {
    condition     = google_pubsub_subscription.audit.expiration_policy[0].ttl == ""
    error_message = "the subscription expires"
  }
}

run "a_scope_is_one_thing" {
  command = plan
  variables { scope = { project = "acme-prod", folder = "123" } }
  expect_failures = [var.scope]
}

run "a_scope_is_something" {
  command = plan
  variables { scope = {} }
  expect_failures = [var.scope]
}

run "delivery_is_push_or_pull" {
  command = plan
  variables { delivery = "poll" }
  expect_failures = [var.delivery]
}

run "instances_are_a_range" {
  command = plan
  variables { instances = { min = 5, max = 2 } }
  expect_failures = [var.instances]
}

run "somebody_deploys" {
  command = plan
  variables { pipeline_identities = [] }
  expect_failures = [var.pipeline_identities]
}

run "an_image_has_a_version" {
  command = plan
  variables { image = "pedwatch" }
  expect_failures = [var.image]
}

run "a_dataset_has_a_name_that_bigquery_takes" {
  command = plan
  variables { dataset = { location = "EU", name = "ped-watch" } }
  expect_failures = [var.dataset]
}

run "a_key_is_named_whole" {
  command = plan
  variables { kms_key = "topics" }
  expect_failures = [var.kms_key]
}

run "a_schedule_has_five_fields" {
  command = plan
  variables { jobs = { count = { args = ["count"], schedule = "daily" } } }
  expect_failures = [var.jobs]
}

run "the_platform_allows_a_range" {
  command = plan
  variables { platform = { min_replicas = 9 } }
  expect_failures = [var.platform]
}

run "silence_is_what_monitoring_can_see" {
  command = plan
  variables { silence_hours = 48 }
  expect_failures = [var.silence_hours]
}

run "names_fit_service_accounts" {
  command = plan
  variables { name = "a-name-that-is-far-too-long-for-it" }
  expect_failures = [var.name]
}
