variable "name" {
  description = "Name of the sink."
  type        = string
  default     = "pedwatch"

  validation {
    condition     = can(regex("^[A-Za-z0-9][A-Za-z0-9_.-]{0,99}$", var.name))
    error_message = "name would be at most 100 letters, digits, '_', '-' and '.', the first a letter or digit."
  }
}

variable "scope" {
  description = "Whose audit logs are exported: exactly one of project (its id), folder (its number) or organization (its number). A folder and an organization include everything below them."
  type = object({
    project      = optional(string)
    folder       = optional(string)
    organization = optional(string)
  })

  validation {
    condition     = length(compact([var.scope.project, var.scope.folder, var.scope.organization])) == 1
    error_message = "scope would name exactly one of project, folder and organization, such as {project = \"acme-prod\"}."
  }
  validation {
    condition     = alltrue([for number in compact([var.scope.folder, var.scope.organization]) : can(regex("^[0-9]+$", number))])
    error_message = "scope.folder and scope.organization would be numbers, such as \"123456789012\"."
  }
}

variable "topic" {
  description = "The topic that the sink writes to: output topic of the pedwatch module."
  type = object({
    id      = string
    name    = string
    project = string
  })
}

variable "clusters" {
  description = "Only these clusters; all, if empty."
  type        = list(string)
  default     = []

  validation {
    condition     = alltrue([for name in var.clusters : can(regex("^[a-z][a-z0-9-]{0,38}[a-z0-9]$", name))])
    error_message = "clusters would be names of GKE clusters: lower-case letters, digits and '-', at most 40."
  }
}

variable "namespaces" {
  description = "Only these namespaces; all, if empty."
  type        = list(string)
  default     = []

  validation {
    condition     = alltrue([for name in var.namespaces : can(regex("^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$", name))])
    error_message = "namespaces would be names of Kubernetes namespaces: lower-case letters, digits and '-', at most 63."
  }
}

variable "distributed_cloud" {
  description = "Whether clusters of Google Distributed Cloud (on VMware, bare metal, AWS or Azure) are exported too."
  type        = bool
  default     = false
}

variable "watch_errors" {
  description = "Whether an alert policy in scope.project tells of the sink's errors; whoever applies needs roles/monitoring.editor there. A folder's and an organization's sink has no such metric: its errors are seen as silence."
  type        = bool
  default     = true
}

variable "alert_emails" {
  description = "Who is told of the sink's errors: a channel for each is made in scope.project."
  type        = list(string)
  default     = []

  validation {
    condition     = alltrue([for email in var.alert_emails : can(regex("^[^@ ]+@[^@ ]+$", email))])
    error_message = "alert_emails would be e-mail addresses."
  }
}

variable "notification_channels" {
  description = "Channels of scope.project that are told of the sink's errors, as projects/…/notificationChannels/…."
  type        = list(string)
  default     = []
}

variable "labels" {
  description = "Labels of the alert policy."
  type        = map(string)
  default     = {}
}
