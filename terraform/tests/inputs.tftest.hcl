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

run "closing_days_has_a_schedule_of_five_fields" {
  command = plan
  variables { daily = { schedule = "nightly" } }
  expect_failures = [var.daily]
}

run "sending_has_a_schedule_of_five_fields" {
  command = plan
  variables { telling = { config = "", schedule = "often" } }
  expect_failures = [var.telling]
}

run "a_secret_is_a_folder" {
  command = plan
  variables { telling = { config = "", secrets = { "../slack" = "slack" } } }
  expect_failures = [var.telling]
}

run "who_is_not_told_is_told_later_than_he_is_looked_for" {
  command = plan
  variables { telling = { config = "", told_after_minutes = 5 } }
  expect_failures = [var.telling]
}

run "sending_is_no_other_job" {
  command = plan
  variables { jobs = { notify = { args = ["notify", "--once"], schedule = "*/5 * * * *" } } }
  expect_failures = [var.jobs]
}

run "closing_days_is_no_other_job" {
  command = plan
  variables { jobs = { daily = { args = ["daily"], schedule = "30 0 * * *" } } }
  expect_failures = [var.jobs]
}

run "bills_are_no_other_job" {
  command = plan
  variables { jobs = { close = { args = ["bill", "--close"], schedule = "30 0 3 * *" } } }
  expect_failures = [var.jobs]
}

run "bills_have_a_schedule_of_five_fields" {
  command = plan
  variables { billing = { close_schedule = "monthly" } }
  expect_failures = [var.billing]
}

run "bills_are_made_more_often_than_missed" {
  command = plan
  variables { billing = { told_after_hours = 24 } }
  expect_failures = [var.billing]
}

run "a_page_is_put_into_a_bucket" {
  command = plan
  variables { billing = { report = { bucket = "gs://acme-reports" } } }
  expect_failures = [var.billing]
}

run "a_folder_ends_in_a_slash" {
  command = plan
  variables { billing = { report = { bucket = "acme-reports", folder = "pedwatch" } } }
  expect_failures = [var.billing]
}

run "the_platform_allows_a_range" {
  command = plan
  variables { platform = { min_replicas = 9 } }
  expect_failures = [var.platform]
}

run "silence_is_what_monitoring_can_see" {
  command = plan
  variables {
    silence_hours      = 48
    managed_prometheus = null
  }
  expect_failures = [var.silence_hours]
}

run "silence_is_at_most_a_week" {
  command = plan
  variables { silence_hours = 169 }
  expect_failures = [var.silence_hours]
}

run "a_whole_cpu" {
  command = plan
  variables { resources = { cpu = "0.5" } }
  expect_failures = [var.resources]
}

run "ingress_has_three_values" {
  command = plan
  variables { ingress = "internal" }
  expect_failures = [var.ingress]
}

run "a_vpc_is_reached_one_way" {
  command = plan
  variables { vpc_access = { connector = "projects/acme-prod/locations/europe-west1/connectors/run", network = "default" } }
  expect_failures = [var.vpc_access]
}

run "a_vpc_is_reached_some_way" {
  command = plan
  variables { vpc_access = { egress = "ALL_TRAFFIC" } }
  expect_failures = [var.vpc_access]
}

run "a_worker_pool_has_no_connector" {
  command = plan
  variables {
    delivery   = "pull"
    vpc_access = { connector = "projects/acme-prod/locations/europe-west1/connectors/run" }
  }
  expect_failures = [var.vpc_access]
}

run "an_image_satisfies_one_policy" {
  command = plan
  variables { binary_authorization = { use_default = true, policy = "projects/acme-prod/platforms/cloudRun/policies/strict" } }
  expect_failures = [var.binary_authorization]
}

run "a_launch_stage_is_known" {
  command = plan
  variables { launch_stage = "PREVIEW" }
  expect_failures = [var.launch_stage]
}

run "a_start_outlasts_the_spreading_of_grants" {
  command = plan
  variables { probes = { startup_failures = 40 } }
  expect_failures = [var.probes]
}

run "a_key_is_where_cloud_run_is" {
  command = plan
  variables { kms_key = "projects/acme-prod/locations/europe/keyRings/pedwatch/cryptoKeys/all" }
  expect_failures = [var.kms_key]
}

run "a_dataset_has_a_key_at_its_location" {
  command = plan
  variables { kms_key = "projects/acme-prod/locations/europe-west1/keyRings/pedwatch/cryptoKeys/all" }
  expect_failures = [var.dataset]
}

run "a_partition_expires_in_days" {
  command = plan
  variables { partition_expiration_days = { quarantine = -1 } }
  expect_failures = [var.partition_expiration_days]
}

run "an_expiry_of_the_first_release_is_not_forgotten" {
  command = plan
  variables { dataset = { location = "EU", partition_expiration_days = 800 } }
  expect_failures = [var.dataset]
}

run "owners_have_members" {
  command = plan
  variables { owners = { team-payments = ["payments@example.com"] } }
  expect_failures = [var.owners]
}

run "owners_have_datasets_of_their_own" {
  command = plan
  variables { owners = { "team-a" = ["group:a@example.com"], "Team.A" = ["group:b@example.com"] } }
  expect_failures = [var.owners]
}

run "a_channel_is_named_whole" {
  command = plan
  variables { notification_channels = ["slack"] }
  expect_failures = [var.notification_channels]
}

run "without_the_sidecar_nothing_scrapes_and_the_topic_is_watched" {
  command = plan
  variables { managed_prometheus = null }

  assert {
    condition     = length(google_cloud_run_v2_service.this[0].template[0].containers) == 1 && length(google_project_iam_member.consumer_measures) == 0
    error_message = "there is a sidecar, or its grant"
  }
  assert {
    condition     = google_monitoring_alert_policy.silence.conditions[0].condition_absent[0].duration == "43200s"
    error_message = "nobody watches for silence"
  }
}

run "a_worker_pool_has_a_sidecar_only_when_one_is_named" {
  command = plan
  variables { delivery = "pull" }

  assert {
    condition     = length(google_cloud_run_v2_worker_pool.this[0].template[0].containers) == 1
    error_message = "there is a sidecar that may not know worker pools"
  }
}

run "a_service_takes_a_connector" {
  command = plan
  variables { vpc_access = { connector = "projects/acme-prod/locations/europe-west1/connectors/run" } }

  assert {
    condition     = length(google_cloud_run_v2_service.this[0].template[0].vpc_access[0].network_interfaces) == 0
    error_message = "both ways"
  }
}

run "severities_are_told_as_asked" {
  command = plan
  variables { tell = { critical = false, info = true } }

  assert {
    condition     = keys(google_monitoring_alert_policy.alerts) == ["info"]
    error_message = "another severity is told"
  }
}

run "each_table_expires_as_asked" {
  command = plan
  variables { partition_expiration_days = { replica_events = 400, deployment_config = 3000 } }

  assert {
    condition = alltrue([
      for table, days in { replica_events = 400, deployment_config = 3000, quarantine = 90 } :
      google_bigquery_table.tables[table].time_partitioning[0].expiration_ms == days * 86400000
    ])
    error_message = "a table keeps its partitions for another time"
  }
}

run "names_fit_service_accounts" {
  command = plan
  variables { name = "a-name-that-is-far-too-long-for-it" }
  expect_failures = [var.name]
}

run "snapshots_are_of_clusters" {
  command = plan
  variables { snapshot = {} }
  expect_failures = [var.snapshot]
}

run "canaries_are_sent_to_clusters" {
  command = plan
  variables { canary = {} }
  expect_failures = [var.canary]
}

run "snapshots_have_a_schedule_of_five_fields" {
  command = plan
  variables {
    cluster_access = { prod_1 = { project = "acme-prod", location = "europe-west1", name = "prod-1" } }
    snapshot       = { schedule = "nightly" }
  }
  expect_failures = [var.snapshot]
}

run "canaries_are_told_within_a_day" {
  command = plan
  variables {
    cluster_access = { prod_1 = { project = "acme-prod", location = "europe-west1", name = "prod-1" } }
    canary         = { told_after_minutes = 3000 }
  }
  expect_failures = [var.canary]
}

run "a_cluster_has_a_name_that_a_variable_can_have" {
  command = plan
  variables { cluster_access = { prod-1 = { project = "acme-prod", location = "europe-west1", name = "prod-1" } } }
  expect_failures = [var.cluster_access]
}

run "a_cluster_is_reached_somehow" {
  command = plan
  variables { cluster_access = { prod_1 = { project = "acme-prod", location = "europe-west1", name = "prod-1", access = "kubeconfig" } } }
  expect_failures = [var.cluster_access]
}
