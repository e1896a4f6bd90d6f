package pedwatch

violation[{"msg": msg}] {
  limit := input.parameters.limits[sprintf("%s_%s", [input.review.namespace, deployment])]
  asked > limit
  asked > before
  msg := sprintf("%s/%s asks for %d replicas; its PED allows %d", [input.review.namespace, deployment, asked, limit])
}

subject := input.review.object

is_hpa {
  subject.kind == "HorizontalPodAutoscaler"
}

of_deployment {
  subject.kind == "Deployment"
}

of_deployment {
  subject.kind == "Scale"
  input.review.resource.resource == "deployments"
}

deployment := subject.metadata.name {
  of_deployment
}

deployment := subject.spec.scaleTargetRef.name {
  is_hpa
  finds_deployment(subject.spec.scaleTargetRef)
}

finds_deployment(target) {
  startswith(target.apiVersion, "apps/")
  {"Deployment", "deployment"}[target.kind]
}

asked := subject.spec.maxReplicas {
  is_hpa
}

asked := object.get(subject.spec, "replicas", 0) {
  of_deployment
}

default before = 0

before := input.review.oldObject.spec.maxReplicas {
  is_hpa
  old := input.review.oldObject.spec.scaleTargetRef
  old.name == subject.spec.scaleTargetRef.name
  finds_deployment(old)
}

before := input.review.oldObject.spec.replicas {
  of_deployment
}
