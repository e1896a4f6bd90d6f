# What the sink exports: every write that can change what pedwatch watches, and nothing else. It is anchored on the
# method's name, for v1, v1beta1, v2 and whatever version comes. Failed calls, dry runs and all principals stay in: code
# decides about them, so that a broken classifier never looks like a quiet cluster. A cluster's deletion is a branch of its
# own: nothing deletes what was in it one by one.
#
# `pedwatch filter` and `pedwatch backfill` fill filter.txt in the same way. A test runs the filter against every fixture,
# and holds both against each other.
locals {
  # Clusters of Google Distributed Cloud write another log, by another service.
  filled = templatefile("${path.module}/filter.txt", {
    logs       = var.distributed_cloud ? "(cloudaudit|externalaudit)" : "cloudaudit"
    services   = join("|", concat(["k8s\\.io", "container\\.googleapis\\.com"], var.distributed_cloud ? ["anthosgke\\.googleapis\\.com"] : []))
    clusters   = join("|", var.clusters)
    namespaces = join("|", var.namespaces)
  })

  # A line that names none of what it is about narrows nothing.
  filter = join("\n", [for line in split("\n", trimspace(local.filled)) : line if !strcontains(line, "()")])
}
