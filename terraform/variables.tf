variable "project" {
  description = "Project that pedwatch runs in: its topic, service and dataset."
  type        = string

  validation {
    condition     = can(regex("^([a-z0-9.-]+:)?[a-z][a-z0-9-]{4,28}[a-z0-9]$", var.project))
    error_message = "project would be a project's id, such as \"acme-prod\"."
  }
}

variable "region" {
  description = "Region of the service or worker pool, and of the jobs."
  type        = string

  validation {
    condition     = can(regex("^[a-z]+-[a-z]+[0-9]+$", var.region))
    error_message = "region would be a Cloud Run region, such as \"europe-west1\"."
  }
}

variable "name" {
  description = "Prefix of everything that is made."
  type        = string
  default     = "pedwatch"

  validation {
    condition     = can(regex("^[a-z][a-z0-9-]{2,18}[a-z0-9]$", var.name))
    error_message = "name would be 4 to 20 lower-case letters, digits and '-': service accounts' names are made of it."
  }
}

variable "image" {
  description = "The pedwatch image, by digest or by tag."
  type        = string

  validation {
    condition     = can(regex("^[a-z0-9.-]+/.+(@sha256:[0-9a-f]{64}|:[A-Za-z0-9_.-]+)$", var.image))
    error_message = "image would have a registry and a digest or a tag, such as \"europe-docker.pkg.dev/acme-prod/tools/pedwatch:0.1.0\"."
  }
}

variable "scope" {
  description = "Whose audit logs are watched: exactly one of project (its id), folder (its number) or organization (its number)."
  type = object({
    project      = optional(string)
    folder       = optional(string)
    organization = optional(string)
  })

  validation {
    condition     = length(compact([var.scope.project, var.scope.folder, var.scope.organization])) == 1
    error_message = "scope would name exactly one of project, folder and organization, such as {project = \"acme-prod\"}."
  }
}

variable "clusters" {
  description = "Only these clusters; all, if empty."
  type        = list(string)
  default     = []
}

variable "namespaces" {
  description = "Only these namespaces; all, if empty."
  type        = list(string)
  default     = []
}

variable "distributed_cloud" {
  description = "Whether clusters of Google Distributed Cloud (on VMware, bare metal, AWS or Azure) are exported too."
  type        = bool
  default     = false
}

variable "delivery" {
  description = "How messages reach pedwatch: \"push\" (a Cloud Run service, scaled by its requests, down to zero) or \"pull\" (a worker pool that always runs)."
  type        = string
  default     = "push"

  validation {
    condition     = contains(["push", "pull"], var.delivery)
    error_message = "delivery would be \"push\" or \"pull\"."
  }
}

variable "instances" {
  description = "Instances of the service (min, max), or of the worker pool (min alone)."
  type = object({
    min = optional(number, 0)
    max = optional(number, 4)
  })
  default = {}

  validation {
    condition     = var.instances.min >= 0 && var.instances.max >= max(var.instances.min, 1) && var.instances.max <= 100
    error_message = "instances would have 0 <= min <= max, and 1 <= max <= 100."
  }
}

variable "resources" {
  description = "CPU and memory of one instance. The README's figures were measured with two cores; a message takes well under a millisecond of one, and memory stays under 150 MB."
  type = object({
    cpu    = optional(string, "1")
    memory = optional(string, "512Mi")
  })
  default = {}
}

variable "concurrency" {
  description = "Requests that one instance of the service handles at once: most of their time is waiting for the store."
  type        = number
  default     = 200

  validation {
    condition     = var.concurrency >= 1 && var.concurrency <= 1000
    error_message = "concurrency would be from 1 to 1000, Cloud Run's own limit."
  }
}

variable "pipeline_identities" {
  description = "Patterns of the identities that deploy what was approved (actors.pipeline), such as \"deployer@acme-cicd.iam.gserviceaccount.com\". Without any, every deployment looks like a bypass."
  type        = list(string)

  validation {
    condition     = length(var.pipeline_identities) > 0 && alltrue([for identity in var.pipeline_identities : length(trimspace(identity)) > 0 && !strcontains(identity, ",")])
    error_message = "pipeline_identities would name at least one identity, each without commas."
  }
}

variable "platform" {
  description = "Replicas that the platform allows anybody."
  type = object({
    min_replicas = optional(number, 2)
    max_replicas = optional(number, 8)
    allow_zero   = optional(bool, true)
  })
  default = {}

  validation {
    condition     = var.platform.min_replicas >= 0 && var.platform.max_replicas >= var.platform.min_replicas
    error_message = "platform would have 0 <= min_replicas <= max_replicas."
  }
}

variable "settings" {
  description = "Any other key of pedwatch's configuration, by its name (`pedwatch config check` lists them), such as {\"rules.bypass.severity\" = \"warning\"}."
  type        = map(string)
  default     = {}
}

variable "dataset" {
  description = "The dataset: its name, location, the days after which partitions of facts are dropped (0: never; versions of PEDs are kept for ever), and whether its tables are protected from terraform destroy."
  type = object({
    name                      = optional(string, "pedwatch")
    location                  = string
    partition_expiration_days = optional(number, 0)
    deletion_protection       = optional(bool, true)
  })

  validation {
    condition     = can(regex("^[A-Za-z0-9_]+$", var.dataset.name)) && length(var.dataset.name) <= 1024
    error_message = "dataset.name would be letters, digits and '_', at most 1024."
  }
  validation {
    condition     = var.dataset.partition_expiration_days >= 0 && var.dataset.partition_expiration_days <= 10000
    error_message = "dataset.partition_expiration_days would be from 0 to 10000."
  }
}

variable "kms_key" {
  description = "Key that encrypts the topics, as projects/…/locations/…/keyRings/…/cryptoKeys/…; Google's own, if null."
  type        = string
  default     = null

  validation {
    condition     = var.kms_key == null || can(regex("^projects/[^/]+/locations/[^/]+/keyRings/[^/]+/cryptoKeys/[^/]+$", var.kms_key))
    error_message = "kms_key would be projects/…/locations/…/keyRings/…/cryptoKeys/…."
  }
}

variable "jobs" {
  description = "Daily work: pedwatch subcommands by name, each with its arguments and a schedule in cron's form (UTC)."
  type = map(object({
    args     = list(string)
    schedule = string
    timeout  = optional(string, "1800s")
  }))
  default = {}

  validation {
    condition     = alltrue([for job in values(var.jobs) : length(split(" ", job.schedule)) == 5])
    error_message = "jobs.*.schedule would have five fields, such as \"15 2 * * *\"."
  }
}

variable "alert_emails" {
  description = "Who is told when the pipeline itself is broken."
  type        = list(string)
  default     = []

  validation {
    condition     = alltrue([for email in var.alert_emails : can(regex("^[^@ ]+@[^@ ]+$", email))])
    error_message = "alert_emails would be e-mail addresses."
  }
}

variable "silence_hours" {
  description = "Hours without a single audit entry after which somebody is told. A sink that lost its grant is as silent as a quiet night."
  type        = number
  default     = 12

  validation {
    condition     = var.silence_hours >= 1 && var.silence_hours <= 23
    error_message = "silence_hours would be from 1 to 23, Cloud Monitoring's limit."
  }
}

variable "labels" {
  description = "Labels of everything that has labels."
  type        = map(string)
  default     = {}
}
