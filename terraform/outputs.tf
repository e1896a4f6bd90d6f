output "topic" {
  description = "The topic that sinks write to; another project's sink module takes it."
  value       = { id = google_pubsub_topic.audit.id, name = google_pubsub_topic.audit.name, project = var.project }

  # A topic drops what is published to it before it has a subscription: sinks elsewhere wait for it too.
  depends_on = [google_pubsub_subscription.audit]
}

output "filter" {
  description = "What the sink exports, in Logging's query language; `gcloud logging read` takes it."
  value       = module.sink.filter
}

output "store" {
  description = "Where facts are kept, as pedwatch's --store takes it."
  value       = local.settings["store.url"]
}

output "registry" {
  description = "Where versions of PEDs are registered, as PEDWATCH_REGISTRY takes it: whoever registers sets it; null where that is the store."
  value       = one(local.registry)
}

output "service_url" {
  description = "URL of the service; null with pull."
  value       = one(google_cloud_run_v2_service.this[*].uri)
}

output "consumer" {
  description = "The identity that records facts."
  value       = google_service_account.consumer.email
}

output "registrar" {
  description = "The identity that registers PEDs: let the pipeline impersonate it."
  value       = google_service_account.registrar.email
}

output "dead_letters" {
  description = "The subscription where messages are that were given up."
  value       = google_pubsub_subscription.dead_letters.id
}

output "team_datasets" {
  description = "The dataset of each team of owners, by team."
  value       = { for team, dataset in google_bigquery_dataset.teams : team => "${var.project}.${dataset.dataset_id}" }
}

output "lookers" {
  description = "The identities that look into clusters, snapshot and canary: for the bindings in deploy/kubernetes/rbac.yaml and canary.yaml."
  value       = { for name, account in google_service_account.lookers : name => account.email }
}
