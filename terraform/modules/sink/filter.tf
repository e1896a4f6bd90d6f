# What the sink exports: every write that can change what pedwatch watches, and nothing else. It is anchored on the
# method's name. Failed calls, dry runs and all principals stay in: code decides about them, so that a broken classifier
# never looks like a quiet cluster. A cluster's deletion is a branch of its own: nothing deletes what was in it one by one.
# A test runs this filter against every fixture.
locals {
  # v1, v1beta1, v2 and whatever comes.
  version_pattern = "v[0-9]+((alpha|beta)[0-9]+)?"
  write_pattern   = "(create|update|patch|delete|deletecollection)"

  method_pattern = join("", [
    "^(io\\.k8s\\.(",
    "(apps|extensions)\\.${local.version_pattern}\\.deployments\\.(${local.write_pattern}|scale\\.(update|patch))",
    "|autoscaling\\.${local.version_pattern}\\.horizontalpodautoscalers\\.${local.write_pattern}",
    ")|google\\.container\\.v[0-9a-z]+\\.ClusterManager\\.DeleteCluster",
    ")$",
  ])

  # Clusters of Google Distributed Cloud write another log, by another service.
  logs     = var.distributed_cloud ? "(cloudaudit|externalaudit)" : "cloudaudit"
  services = compact(["k8s\\.io", "container\\.googleapis\\.com", var.distributed_cloud ? "anthosgke\\.googleapis\\.com" : ""])

  clusters   = [for cluster in var.clusters : "^${cluster}$"]
  namespaces = [for namespace in var.namespaces : "/namespaces/${namespace}/"]

  filter = join("\n", compact([
    "logName=~\"/logs/${local.logs}\\.googleapis\\.com%2Factivity$\"",
    "resource.type=~\"^(k8s_cluster|gke_cluster)$\"",
    "protoPayload.serviceName=~\"^(${join("|", local.services)})$\"",
    "protoPayload.methodName=~\"${local.method_pattern}\"",
    length(var.clusters) == 0 ? "" : "resource.labels.cluster_name=~\"${join("|", local.clusters)}\"",
    length(var.namespaces) == 0 ? "" : "protoPayload.resourceName=~\"${join("|", local.namespaces)}|^projects/[^/]+/(zones|locations)/[^/]+/clusters/[^/]+$\"",
  ]))
}
