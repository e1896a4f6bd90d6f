//! Audit entries of a given size, shaped like what GKE logs for a Deployment: a patch, and the whole object as stored.

use serde_json::{Value as Json, json};

/// Who deploys nine in ten of them, as the configuration has to know: else each of them would raise an alert.
pub(crate) const PIPELINE: (&str, &str) = ("PEDWATCH_ACTORS__PIPELINE", "deployer@acme-prod.iam.gserviceaccount.com");

/// How many Deployments the entries are about.
pub(crate) const DEPLOYMENTS: u64 = 500;

/// The namespace and the name that an entry of this number is about.
pub(crate) fn deployment(number: u64) -> (String, String) {
    let deployment = number % DEPLOYMENTS;
    (format!("team-{}", deployment % 40), format!("api-{deployment:03}"))
}

/// A PED for each of them: with the platform's most, so that most writes are within their limits, as in reality.
#[allow(dead_code, reason = "only one of the benches replays")]
pub(crate) fn peds() -> String {
    peds_of(DEPLOYMENTS)
}

/// So many, the first of which are theirs.
#[allow(dead_code, reason = "only one of the benches registers more")]
pub(crate) fn peds_of(count: u64) -> String {
    let ped = |number| {
        let (namespace, mut name) = deployment(number);
        if number >= DEPLOYMENTS {
            name.push_str(&format!("-{number}"));
        }
        format!(
            "---\napiVersion: pedwatch/v1\nkind: Ped\nmetadata: {{namespace: {namespace}, deployment: {name}, owner: {namespace}}}\n\
             spec: {{maxReplicas: 8}}\n"
        )
    };
    (0..count).map(ped).collect()
}

/// One entry (without the end of line) of about `size_bytes`, by number: another Deployment, time and id each.
pub(crate) fn entry(number: u64, size_bytes: usize) -> Vec<u8> {
    let bare = entry_with(number, 0).to_string();
    let one_more = entry_with(number, 1).to_string().len() - bare.len();
    let variables = size_bytes.saturating_sub(bare.len()) / one_more;
    entry_with(number, variables).to_string().into_bytes()
}

/// As [`entry`], and each over its limit by somebody who goes past the pipeline.
#[allow(dead_code, reason = "only one of the benches alarms")]
pub(crate) fn alarming(number: u64, size_bytes: usize) -> Vec<u8> {
    // Of the entries, every tenth is a person's that succeeds.
    let text = String::from_utf8(entry(10 * number, size_bytes)).expect("text");
    let replicas = format!("\"replicas\":{}", 2 + 10 * number % 7);
    text.replace(&replicas, &format!("\"replicas\":{}", 20 + number % 7)).into_bytes()
}

fn entry_with(number: u64, variables: usize) -> Json {
    let (namespace, name) = deployment(number);
    let resource = format!("apps/v1/namespaces/{namespace}/deployments/{name}");
    let replicas = 2 + number % 7;
    let environment: Vec<Json> = (0..variables)
        .map(
            |index| json!({"name": format!("FEATURE_{index:04}"), "value": format!("https://svc-{index}.example.com")}),
        )
        .collect();
    // Every modern object carries who manages which field: most of its nodes, about 25 bytes each, as in captures.
    let managed: serde_json::Map<String, Json> = (0..variables)
        .map(|index| (format!("k:{{\"name\":\"FEATURE_{index:04}\"}}"), json!({".": {}, "f:name": {}, "f:value": {}})))
        .collect();
    let managed = json!([{"manager": "deployer", "operation": "Update", "apiVersion": "apps/v1", "fieldsType": "FieldsV1",
        "fieldsV1": {"f:spec": {"f:replicas": {}, "f:template": {"f:spec": {"f:containers": {"k:{\"name\":\"api\"}": {"f:env": managed}}}}}}}]);
    json!({
        "insertId": format!("{number:016x}"),
        "labels": {"authorization.k8s.io/decision": "allow", "authorization.k8s.io/reason": "access granted by IAM permissions."},
        "logName": "projects/acme-prod/logs/cloudaudit.googleapis.com%2Factivity",
        "operation": {"first": true, "id": format!("{number:016x}"), "last": true, "producer": "k8s.io"},
        "protoPayload": {
            "@type": "type.googleapis.com/google.cloud.audit.AuditLog",
            "authenticationInfo": {"principalEmail": if number.is_multiple_of(10) { "alice@example.com" } else { PIPELINE.1 }},
            "authorizationInfo": [{"granted": true, "permission": "io.k8s.apps.v1.deployments.patch", "resource": resource}],
            "methodName": "io.k8s.apps.v1.deployments.patch",
            "requestMetadata": {"callerIp": "203.0.113.10", "callerSuppliedUserAgent": "kubectl/v1.36.4 (linux/amd64) kubernetes/bb826b1"},
            "resourceName": resource,
            "serviceName": "k8s.io",
            // Failed calls outnumber people's by far: half of these are conflicts.
            "status": {"code": if number.is_multiple_of(2) { 0 } else { 10 }},
            "request": {"@type": "k8s.io/Patch", "spec": {"replicas": replicas}},
            "response": {
                "@type": "apps.k8s.io/v1.Deployment", "apiVersion": "apps/v1", "kind": "Deployment",
                "metadata": {"name": name, "namespace": namespace, "uid": format!("{:032x}", number % DEPLOYMENTS),
                    "resourceVersion": (1000 + number).to_string(), "generation": number / DEPLOYMENTS + 1,
                    "creationTimestamp": "2026-08-20T07:12:44Z",
                    "annotations": {"deployment.kubernetes.io/revision": "3"}, "managedFields": managed},
                "spec": {"replicas": replicas, "selector": {"matchLabels": {"app": name}},
                    "template": {"metadata": {"labels": {"app": name}}, "spec": {"containers": [{"name": "api", "env": environment,
                        "image": "europe-docker.pkg.dev/acme-prod/apis/orders:1.4.2"}], "restartPolicy": "Always"}}},
                "status": {"observedGeneration": 3, "replicas": replicas, "readyReplicas": replicas},
            },
        },
        "receiveTimestamp": "2026-09-04T20:41:05.889214931Z",
        "resource": {"labels": {"cluster_name": "prod-1", "location": "europe-west1", "project_id": "acme-prod"}, "type": "k8s_cluster"},
        "timestamp": format!("2026-09-{:02}T{:02}:{:02}:{:02}.{:06}Z", 1 + number / 86_400 % 30, number / 3600 % 24, number / 60 % 60, number % 60, number % 1_000_000),
    })
}
