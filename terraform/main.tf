# GKE audit logs → sink → Pub/Sub → pedwatch on Cloud Run → BigQuery.
data "google_project" "this" {
  project_id = var.project
}

locals {
  labels = merge({ app = var.name }, var.labels)

  # Google's own identity of Pub/Sub in this project, which dead-letters and signs push tokens.
  pubsub_agent = "serviceAccount:service-${data.google_project.this.number}@gcp-sa-pubsub.iam.gserviceaccount.com"

  sinks_elsewhere = var.scope.project != null && var.scope.project != var.project
}

module "sink" {
  source = "./modules/sink"

  name              = var.name
  scope             = var.scope
  clusters          = var.clusters
  namespaces        = var.namespaces
  distributed_cloud = var.distributed_cloud
  topic             = { id = google_pubsub_topic.audit.id, name = google_pubsub_topic.audit.name, project = var.project }

  # A channel belongs to a project, as the policy that uses it does.
  notification_channels = local.sinks_elsewhere ? [] : local.channels
  alert_emails          = local.sinks_elsewhere ? var.alert_emails : []
  labels                = local.labels

  # A topic drops what is published to it before it has a subscription.
  depends_on = [google_pubsub_subscription.audit]
}
