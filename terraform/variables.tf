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
  description = "Only these clusters; all, if empty. One that is named is missed when it was never heard of, too."
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
  description = "CPU and memory of pedwatch in one instance. The figures in docs/speed.md were measured with two cores; a message takes well under a millisecond of one, and memory stays under 150 MB."
  type = object({
    cpu    = optional(string, "1")
    memory = optional(string, "512Mi")
  })
  default = {}

  validation {
    condition     = contains(["1", "2", "4", "6", "8", "1000m", "2000m", "4000m", "6000m", "8000m"], var.resources.cpu)
    error_message = "resources.cpu would be 1, 2, 4, 6 or 8: Cloud Run gives less than one CPU only to a service that takes one request at a time."
  }
  validation {
    condition     = can(regex("^[0-9]+(Mi|Gi)$", var.resources.memory))
    error_message = "resources.memory would be a number of Mi or Gi, such as \"512Mi\"."
  }
}

variable "cpu_idle" {
  description = "Whether the service's CPU is taken away between requests, which is also how it is billed: by the request instead of by the instance's life. With it, limits are read again, what is owed to the next reading is judged, and metrics are scraped, when the next message comes, or when the instance ends 15 minutes after the last one. See the README for what either costs."
  type        = bool
  default     = false
}

variable "managed_prometheus" {
  description = "Google's sidecar that scrapes /metrics into Managed Service for Prometheus, from which silence is watched for each cluster: its image (Google's, if null; with delivery = \"pull\" name a release that knows worker pools, as 1.9 does), CPU and memory. Null, or no image with pull: no sidecar; then nothing scrapes, and silence is watched for all clusters together."
  type = object({
    image  = optional(string)
    cpu    = optional(string, "1")
    memory = optional(string, "512Mi")
  })
  default = {}
}

variable "ingress" {
  description = "From where the service is reached. Pub/Sub counts as internal, in a project and in a perimeter; whoever calls needs the invoker's grant whatever this says."
  type        = string
  default     = "INGRESS_TRAFFIC_INTERNAL_ONLY"

  validation {
    condition     = contains(["INGRESS_TRAFFIC_INTERNAL_ONLY", "INGRESS_TRAFFIC_INTERNAL_LOAD_BALANCER", "INGRESS_TRAFFIC_ALL"], var.ingress)
    error_message = "ingress would be INGRESS_TRAFFIC_INTERNAL_ONLY, INGRESS_TRAFFIC_INTERNAL_LOAD_BALANCER or INGRESS_TRAFFIC_ALL."
  }
}

variable "vpc_access" {
  description = "How the service, worker pool and jobs reach a VPC: a serverless connector (its id), or a network and subnetwork of their own (direct egress) with network tags; and what goes that way. With ALL_TRAFFIC the subnetwork needs Private Google Access. Null: not at all."
  type = object({
    connector  = optional(string)
    network    = optional(string)
    subnetwork = optional(string)
    tags       = optional(list(string), [])
    egress     = optional(string, "PRIVATE_RANGES_ONLY")
  })
  default = null

  validation {
    condition     = var.vpc_access == null || (try(var.vpc_access.connector, null) == null) != (try(var.vpc_access.network, null) == null && try(var.vpc_access.subnetwork, null) == null)
    error_message = "vpc_access would have either a connector, or a network or subnetwork."
  }
  validation {
    condition     = contains(["PRIVATE_RANGES_ONLY", "ALL_TRAFFIC"], try(var.vpc_access.egress, "ALL_TRAFFIC"))
    error_message = "vpc_access.egress would be PRIVATE_RANGES_ONLY or ALL_TRAFFIC."
  }
  validation {
    condition     = var.vpc_access == null || var.delivery == "push" || try(var.vpc_access.connector, null) == null
    error_message = "vpc_access would have a network or subnetwork with delivery = \"pull\": a worker pool has no connectors."
  }
}

variable "binary_authorization" {
  description = "Which policy an image has to satisfy: the project's (use_default), or one named as projects/…/platforms/cloudRun/policies/…. It has to allow the sidecar of managed_prometheus too. Null: none."
  type = object({
    use_default              = optional(bool)
    policy                   = optional(string)
    breakglass_justification = optional(string)
  })
  default = null

  validation {
    condition     = var.binary_authorization == null || (try(var.binary_authorization.use_default, null) == true) != (try(var.binary_authorization.policy, null) != null)
    error_message = "binary_authorization would have either use_default = true or a policy."
  }
}

variable "launch_stage" {
  description = "Launch stage of the Cloud Run features that are used, such as \"BETA\" where a setting is not generally available yet. Null: Google's default."
  type        = string
  default     = null

  validation {
    condition     = var.launch_stage == null || contains(["GA", "BETA", "ALPHA"], coalesce(var.launch_stage, "GA"))
    error_message = "launch_stage would be GA, BETA or ALPHA."
  }
}

variable "probes" {
  description = "How long a start may take (period times failures: it checks the store and reads the limits first, and tries for two minutes again what is refused while grants are still spreading), and how long a running instance may take to answer. Numbers are seconds but for the failures."
  type = object({
    startup_period    = optional(number, 3)
    startup_timeout   = optional(number, 2)
    startup_failures  = optional(number, 80)
    liveness_period   = optional(number, 30)
    liveness_timeout  = optional(number, 5)
    liveness_failures = optional(number, 3)
  })
  default = {}

  validation {
    condition     = var.probes.startup_period * var.probes.startup_failures >= 150 && var.probes.startup_period * var.probes.startup_failures <= 240
    error_message = "probes.startup_period times probes.startup_failures would be from 150 (grants may take two minutes to spread) to 240 seconds, Cloud Run's limit."
  }
  validation {
    condition     = var.probes.startup_timeout >= 1 && var.probes.startup_timeout <= var.probes.startup_period && var.probes.liveness_timeout >= 1 && var.probes.liveness_timeout <= var.probes.liveness_period
    error_message = "probes' timeouts would be from 1 second to their periods."
  }
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
  description = "The dataset: its name, its location, the key that encrypts it where kms_key is at another location, and whether its tables are protected from terraform destroy."
  type = object({
    name                      = optional(string, "pedwatch")
    location                  = string
    kms_key                   = optional(string)
    deletion_protection       = optional(bool, true)
    partition_expiration_days = optional(number)
  })

  validation {
    condition     = can(regex("^[A-Za-z0-9_]+$", var.dataset.name)) && length(var.dataset.name) <= 1024
    error_message = "dataset.name would be letters, digits and '_', at most 1024."
  }
  validation {
    condition     = var.dataset.partition_expiration_days == null
    error_message = "dataset.partition_expiration_days is a variable of its own now, by table: partition_expiration_days = {replica_events = 800, alert_log = 800}."
  }
  validation {
    condition     = var.dataset.kms_key == null || can(regex("^projects/[^/]+/locations/[^/]+/keyRings/[^/]+/cryptoKeys/[^/]+$", var.dataset.kms_key))
    error_message = "dataset.kms_key would be projects/…/locations/…/keyRings/…/cryptoKeys/…."
  }
  # The multi-regions have other names in BigQuery than in Cloud KMS, or in other letters.
  validation {
    condition     = try(split("/", coalesce(var.dataset.kms_key, var.kms_key))[3], null) == null ? true : split("/", coalesce(var.dataset.kms_key, var.kms_key))[3] == lookup({ eu = "europe" }, lower(var.dataset.location), lower(var.dataset.location))
    error_message = "dataset.kms_key would be a key at the dataset's location (\"europe\" for a dataset in EU): BigQuery takes no other."
  }
}

variable "partition_expiration_days" {
  description = "Days after which a table's partitions are dropped, by table; 0: never. By default what was recorded is kept. Where days are closed (daily), replica_events and carried_writes may go after 93 days or so: closed days and their changes stay, and what is there is carried along; replica_changes and alerts know what is left. Quarantine goes after 90 days, because nothing is derived from it. A version of a PED (deployment_config) that is dropped limits nothing any more: leave it at 0 unless every PED is registered again more often."
  type = object({
    replica_events    = optional(number, 0)
    alert_log         = optional(number, 0)
    quarantine        = optional(number, 90)
    deployment_config = optional(number, 0)
    pod_metrics       = optional(number, 0)
    carried_writes    = optional(number, 0)
    closed_changes    = optional(number, 0)
    object_days       = optional(number, 0)
  })
  default = {}

  validation {
    condition     = alltrue([for days in values(var.partition_expiration_days) : days >= 0 && days <= 10000])
    error_message = "partition_expiration_days.* would be from 0 (never) to 10000."
  }
}

variable "owners" {
  description = "Teams that may read the rows of their own Deployments: by metadata.owner of their PEDs, the members who may, such as {team-payments = [\"group:payments@example.com\"]}. Each team gets a dataset of authorized views."
  type        = map(list(string))
  default     = {}

  validation {
    condition     = alltrue([for member in flatten(values(var.owners)) : can(regex("^(user|group|serviceAccount):[^@ ]+@[^@ ]+$", member))])
    error_message = "owners.* would be members of IAM, such as \"group:payments@example.com\"."
  }
  validation {
    condition     = length(distinct([for team in keys(var.owners) : lower(replace(team, "/[^A-Za-z0-9_]/", "_"))])) == length(var.owners)
    error_message = "owners would differ by more than case and punctuation: a dataset is named after each."
  }
}

variable "kms_key" {
  description = "Key that encrypts everything that is kept: topics, dataset, and the Cloud Run service, worker pool and jobs; as projects/…/locations/…/keyRings/…/cryptoKeys/…, in var.region. Google's own, if null."
  type        = string
  default     = null

  validation {
    condition     = var.kms_key == null || can(regex("^projects/[^/]+/locations/[^/]+/keyRings/[^/]+/cryptoKeys/[^/]+$", var.kms_key))
    error_message = "kms_key would be projects/…/locations/…/keyRings/…/cryptoKeys/…."
  }
  validation {
    condition     = var.kms_key == null || try(split("/", var.kms_key)[3], "") == var.region
    error_message = "kms_key would be a key in var.region: Cloud Run takes no other. A dataset elsewhere has its own, dataset.kms_key."
  }
}

variable "daily" {
  description = "Closing days that are over: when (cron's form, UTC), for how long at most, and after how many hours without success somebody is told. Null: not at all, and every question about changes reads the whole history."
  type = object({
    schedule         = optional(string, "30 0 * * *")
    timeout          = optional(string, "3600s")
    told_after_hours = optional(number, 26)
  })
  default = {}

  validation {
    condition     = length(split(" ", try(var.daily.schedule, "30 0 * * *"))) == 5
    error_message = "daily.schedule would have five fields, such as \"30 0 * * *\"."
  }
  validation {
    condition     = try(var.daily.told_after_hours, 26) >= 2 && try(var.daily.told_after_hours, 26) <= 168
    error_message = "daily.told_after_hours would be from 2 to 168, a week, and more than are between two runs."
  }
}

variable "billing" {
  description = "What Deployments cost: when the running month's preliminary bill is made, and when the month before is closed (cron's form, UTC; again on each day from the 3rd on, by which what comes late is a correction), for how long at most, and after how many hours without success somebody is told. With report, pages of both months are put into a bucket of this project, into a folder that ends in a slash. Prices are in telling.config, else those built in: a month that is closed keeps its price. Null: not at all."
  type = object({
    schedule         = optional(string, "45 1 * * *")
    close_schedule   = optional(string, "15 2 3-31 * *")
    timeout          = optional(string, "1800s")
    told_after_hours = optional(number, 26)
    report = optional(object({
      bucket        = string
      folder        = optional(string, "")
      schedule      = optional(string, "45 2 * * *")
      last_schedule = optional(string, "15 3 3-31 * *")
    }))
  })
  default = null

  validation {
    condition     = alltrue([for schedule in [try(var.billing.schedule, null), try(var.billing.close_schedule, null), try(var.billing.report.schedule, null), try(var.billing.report.last_schedule, null)] : length(split(" ", schedule == null ? "45 1 * * *" : schedule)) == 5])
    error_message = "billing's schedules would have five fields, such as \"45 1 * * *\"."
  }
  validation {
    condition     = try(var.billing.told_after_hours, 26) >= 25 && try(var.billing.told_after_hours, 26) <= 120
    error_message = "billing.told_after_hours would be from 25 to 120, and more than are between two runs."
  }
  validation {
    condition     = can(regex("^[a-z0-9][a-z0-9._-]{1,220}[a-z0-9]$", try(var.billing.report.bucket, "none")))
    error_message = "billing.report.bucket would be a bucket's name without gs://, such as \"acme-reports\"."
  }
  validation {
    condition     = can(regex("^([A-Za-z0-9._-]+/)*$", try(var.billing.report.folder, "")))
    error_message = "billing.report.folder would be empty, or end in a slash, such as \"pedwatch/\"."
  }
}

variable "telling" {
  description = "Who is told of incidents: the configuration as a TOML file (receivers and routes; its secrets stand in files /secrets/NAME/value), those secrets by name (each a secret of Secret Manager in this project that has a version), where the ledger lies (a location of Firestore; the region if null), how often what is due by the clock is sent (cron's form, UTC), after how many minutes somebody is told who is not being told, and a key of one's own for the ledger (kms_key of the module if null). Null: nobody is told."
  type = object({
    config             = string
    secrets            = optional(map(string), {})
    location           = optional(string)
    schedule           = optional(string, "*/5 * * * *")
    told_after_minutes = optional(number, 30)
    kms_key            = optional(string)
  })
  default = null

  validation {
    condition     = length(split(" ", try(var.telling.schedule, "*/5 * * * *"))) == 5
    error_message = "telling.schedule would have five fields, such as \"*/5 * * * *\"."
  }
  validation {
    condition     = try(var.telling.told_after_minutes, 30) >= 10 && try(var.telling.told_after_minutes, 30) <= 1440
    error_message = "telling.told_after_minutes would be from 10 to 1440, a day, and more than are between two runs."
  }
  validation {
    condition     = alltrue([for name in keys(try(var.telling.secrets, {})) : can(regex("^[a-z][a-z0-9-]{0,40}$", name))])
    error_message = "telling.secrets would have names of lower-case letters, digits and '-', which are folders of /secrets."
  }
}

variable "registry" {
  description = "Keeps the versions of PEDs in a database of Firestore too, from where the limit of each message's Deployment is read as of now: where the database lies (a location of Firestore; the region if null), and a key of one's own for it (kms_key of the module if null). Null: they are in BigQuery alone, and read again every 45 s. Turned on later, run pedwatch daily before the service: it copies what is registered."
  type = object({
    location = optional(string)
    kms_key  = optional(string)
  })
  default = null
}

variable "cluster_access" {
  description = "The clusters that snapshots and canaries are of, by what they are called here: each as the audit log names it, how it is reached (dns, endpoint or connect_gateway), and patterns of namespaces to take, or behind ! to leave."
  type = map(object({
    project    = string
    location   = string
    name       = string
    access     = optional(string, "dns")
    namespaces = optional(list(string), [])
    membership = optional(string)
  }))
  default = {}

  validation {
    condition     = alltrue([for name in keys(var.cluster_access) : can(regex("^[a-z0-9_]+$", name))])
    error_message = "cluster_access would be named by lower-case letters, digits and _, such as prod_1."
  }
  validation {
    condition     = alltrue([for cluster in values(var.cluster_access) : contains(["dns", "endpoint", "connect_gateway"], cluster.access)])
    error_message = "cluster_access.*.access would be \"dns\", \"endpoint\" or \"connect_gateway\"."
  }
}

variable "snapshot" {
  description = "Recording what runs in the clusters of cluster_access: when (cron's form, UTC; before daily), for how long at most, whether pods are counted too, and after how many hours without success somebody is told. Null: not at all, and what the log misses is not found."
  type = object({
    schedule         = optional(string, "30 23 * * *")
    timeout          = optional(string, "1800s")
    pods             = optional(bool, false)
    told_after_hours = optional(number, 26)
  })
  default = null

  validation {
    condition     = length(split(" ", try(var.snapshot.schedule, "30 23 * * *"))) == 5
    error_message = "snapshot.schedule would have five fields, such as \"30 23 * * *\"."
  }
  validation {
    condition     = try(var.snapshot.told_after_hours, 26) >= 2 && try(var.snapshot.told_after_hours, 26) <= 168
    error_message = "snapshot.told_after_hours would be from 2 to 168, a week, and more than are between two runs."
  }
  validation {
    condition     = var.snapshot == null || length(var.cluster_access) > 0
    error_message = "snapshot would have clusters to look into: cluster_access has none."
  }
}

variable "canary" {
  description = "Proving that what is written in the clusters of cluster_access comes back: when a dry run is made in each (cron's form, UTC), where its object is (deploy/kubernetes/canary.yaml), how long its entry is waited for, and within how many minutes two that are missing, or none that was sent, are told. Null: not at all, and a broken sink is told after silence_hours."
  type = object({
    schedule           = optional(string, "*/10 * * * *")
    namespace          = optional(string, "pedwatch-canary")
    wait_seconds       = optional(number, 120)
    told_after_minutes = optional(number, 25)
  })
  default = null

  validation {
    condition     = length(split(" ", try(var.canary.schedule, "*/10 * * * *"))) == 5
    error_message = "canary.schedule would have five fields, such as \"*/10 * * * *\"."
  }
  validation {
    condition     = try(var.canary.told_after_minutes, 25) >= 5 && try(var.canary.told_after_minutes, 25) <= 1440
    error_message = "canary.told_after_minutes would be from 5 to 1440, a day, and more than are between three runs."
  }
  validation {
    condition     = try(var.canary.wait_seconds, 120) >= 1 && try(var.canary.wait_seconds, 120) <= 3600
    error_message = "canary.wait_seconds would be from 1 to 3600."
  }
  validation {
    condition     = var.canary == null || length(var.cluster_access) > 0
    error_message = "canary would have clusters to send to: cluster_access has none."
  }
}

variable "jobs" {
  description = "Other work from time to time: pedwatch subcommands by name, each with its arguments and a schedule in cron's form (UTC)."
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
  validation {
    condition     = length(setintersection(keys(var.jobs), ["daily", "notify", "snapshot", "canary", "bill", "close", "report", "report-last"])) == 0
    error_message = "jobs would not have \"daily\", \"notify\", \"snapshot\", \"canary\", \"bill\", \"close\", \"report\" or \"report-last\": these are variables of their own, daily, telling, snapshot, canary and billing."
  }
}

variable "alert_emails" {
  description = "Who is told of alerts, and when the pipeline itself is broken."
  type        = list(string)
  default     = []

  validation {
    condition     = alltrue([for email in var.alert_emails : can(regex("^[^@ ]+@[^@ ]+$", email))])
    error_message = "alert_emails would be e-mail addresses."
  }
}

variable "notification_channels" {
  description = "Other channels that are told what alert_emails are told (Slack, PagerDuty, …), as projects/…/notificationChannels/… of this project."
  type        = list(string)
  default     = []

  validation {
    condition     = alltrue([for channel in var.notification_channels : can(regex("^projects/[^/]+/notificationChannels/[^/]+$", channel))])
    error_message = "notification_channels would be projects/…/notificationChannels/…."
  }
}

variable "tell" {
  description = "Of which severities somebody is told when pedwatch raises an alert: over_limit is critical unless configured otherwise, bypass is info."
  type = object({
    critical = optional(bool, true)
    warning  = optional(bool, false)
    info     = optional(bool, false)
  })
  default = {}
}

variable "silence_hours" {
  description = "Hours without a single audit entry of a cluster after which somebody is told. A sink that lost its grant is as silent as a quiet night; a small cluster may be silent over a weekend."
  type        = number
  default     = 12

  validation {
    condition     = var.silence_hours >= 1 && var.silence_hours <= 168 && floor(var.silence_hours) == var.silence_hours
    error_message = "silence_hours would be a whole number from 1 to 168, a week."
  }
  validation {
    condition     = length(local.sidecars) > 0 || var.silence_hours <= 23
    error_message = "silence_hours would be from 1 to 23 without the sidecar of managed_prometheus: Cloud Monitoring sees no longer absence."
  }
}

variable "labels" {
  description = "Labels of everything that has labels."
  type        = map(string)
  default     = {}
}
