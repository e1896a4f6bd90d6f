# One sink, and its writer's grant on the topic: of a project, a folder or an organization.
resource "google_logging_project_sink" "this" {
  count = var.scope.project == null ? 0 : 1

  project                = var.scope.project
  name                   = var.name
  description            = local.description
  destination            = local.destination
  filter                 = local.filter
  unique_writer_identity = true
}

resource "google_logging_folder_sink" "this" {
  count = var.scope.folder == null ? 0 : 1

  folder           = var.scope.folder
  name             = var.name
  description      = local.description
  destination      = local.destination
  filter           = local.filter
  include_children = true
}

resource "google_logging_organization_sink" "this" {
  count = var.scope.organization == null ? 0 : 1

  org_id           = var.scope.organization
  name             = var.name
  description      = local.description
  destination      = local.destination
  filter           = local.filter
  include_children = true
}

locals {
  description = "GKE audit logs of writes to Deployments and HorizontalPodAutoscalers, for pedwatch"
  destination = "pubsub.googleapis.com/${var.topic.id}"

  # A folder's and an organization's sink always has a writer of its own.
  writer_identity = one(concat(
    google_logging_project_sink.this[*].writer_identity,
    google_logging_folder_sink.this[*].writer_identity,
    google_logging_organization_sink.this[*].writer_identity,
  ))
}

# This writer, on this topic only.
resource "google_pubsub_topic_iam_member" "writer" {
  project = var.topic.project
  topic   = var.topic.name
  role    = "roles/pubsub.publisher"
  member  = local.writer_identity
}
