//! A stand-in for the listing API of a large cluster: pages of so many objects as are asked for, with tokens for the next,
//! all at one version, objects as large as real ones.

use std::collections::HashMap;
use std::fmt::Write;
use std::time::{Duration, Instant};

use axum::Router;
use axum::extract::Request;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use pedwatch::store::query;
use serde_json::json;

use super::Place;
use super::api::serve;
use crate::cli::{stderr, stdout};
use crate::support::block_on;

/// Pods of each Deployment, of its newer ReplicaSet.
const PODS_EACH: usize = 5;

/// How many Deployments the cluster has, if `PEDWATCH_TEST_DEPLOYMENTS` does not say: 20000 is what README names.
fn deployments() -> usize {
    std::env::var("PEDWATCH_TEST_DEPLOYMENTS").map_or(500, |count| count.parse().expect("a number"))
}

const MOST: Duration = Duration::from_secs(60);
const MOST_KIB: u64 = 200 << 10;

/// Environment, probes, labels: what makes an object as large as it is.
fn padding(bytes: usize) -> String {
    let mut text = String::from("[");
    while text.len() < bytes {
        write!(text, "{{\"name\":\"SETTING_{}\",\"value\":\"some text of a usual length\"}},", text.len())
            .expect("a text");
    }
    text + "{\"name\":\"LAST\"}]"
}

fn metadata(name: &str, owner: Option<(&str, &str)>) -> String {
    let owner = owner.map_or_else(String::new, |(kind, owner)| {
        format!(
            ",\"ownerReferences\":[{{\"apiVersion\":\"apps/v1\",\"kind\":\"{kind}\",\"name\":\"{owner}\",\
             \"uid\":\"00000000-0000-4000-8000-{owner:0>12}\",\"controller\":true,\"blockOwnerDeletion\":true}}]"
        )
    });
    format!(
        "\"metadata\":{{\"name\":\"{name}\",\"namespace\":\"team-{}\",\"uid\":\"00000000-0000-4000-8000-{name:0>12}\",\
         \"resourceVersion\":\"1234567\",\"generation\":2,\"creationTimestamp\":\"2026-09-02T08:00:00Z\"{owner},\
         \"managedFields\":[{{\"manager\":\"argocd\",\"operation\":\"Update\",\"apiVersion\":\"apps/v1\",\
         \"time\":\"2026-09-02T08:00:00Z\",\"fieldsType\":\"FieldsV1\",\"fieldsV1\":{{\"f:spec\":{{\"f:replicas\":{{}},\
         \"f:template\":{{\"f:spec\":{{\"f:containers\":{{}}}}}}}}}}}}]}}",
        name.len() % 7
    )
}

/// The page of one question.
async fn page(request: Request) -> Response {
    let url = reqwest::Url::parse(&format!("http://large{}", request.uri())).expect("a question");
    let asked: HashMap<String, String> = url.query_pairs().into_owned().collect();
    let wants_metadata = request
        .headers()
        .get("accept")
        .is_some_and(|accept| accept.to_str().is_ok_and(|accept| accept.contains("as=PartialObjectMetadataList")));
    let deployments = deployments();
    let (kind, count) = match (request.uri().path(), wants_metadata) {
        ("/apis/apps/v1/deployments", false) => ("DeploymentList", deployments),
        ("/apis/autoscaling/v2/horizontalpodautoscalers", false) => ("HorizontalPodAutoscalerList", deployments / 2),
        ("/apis/apps/v1/replicasets", true) => ("PartialObjectMetadataList", 2 * deployments),
        ("/api/v1/pods", false) => ("PodList", PODS_EACH * deployments),
        ("/apis/apps/v1/statefulsets", false) => ("StatefulSetList", 0),
        ("/apis/argoproj.io/v1alpha1/rollouts", false) => return StatusCode::NOT_FOUND.into_response(),
        _ => return StatusCode::BAD_REQUEST.into_response(),
    };
    let from: usize =
        asked.get("continue").map_or(0, |token| token.strip_prefix(kind).expect("ours").parse().expect("ours"));
    let to = count.min(from + asked.get("limit").and_then(|limit| limit.parse().ok()).unwrap_or(count));
    let env = padding(3_000);
    let object = |at: usize| match kind {
        "DeploymentList" => format!(
            "{{{},\"spec\":{{\"replicas\":5,\"template\":{{\"spec\":{{\"containers\":[{{\"env\":{env}}}]}}}}}},\
             \"status\":{{\"observedGeneration\":2,\"replicas\":5,\"updatedReplicas\":5,\"readyReplicas\":5,\"availableReplicas\":5}}}}",
            metadata(&format!("d{at}"), None)
        ),
        "PodList" => format!(
            "{{{},\"spec\":{{\"containers\":[{{\"env\":{env}}}]}},\"status\":{{\"phase\":\"Running\"}}}}",
            metadata(&format!("p{at}"), Some(("ReplicaSet", &format!("r{}", 2 * (at / PODS_EACH)))))
        ),
        "PartialObjectMetadataList" => {
            format!("{{{}}}", metadata(&format!("r{at}"), Some(("Deployment", &format!("d{}", at / 2)))))
        }
        _ => format!(
            "{{{},\"spec\":{{\"maxReplicas\":9,\"scaleTargetRef\":{{\"apiVersion\":\"apps/v1\",\"kind\":\"Deployment\",\
             \"name\":\"d{at}\"}}}}}}",
            metadata(&format!("d{at}"), None)
        ),
    };
    let items: Vec<String> = (from..to).map(object).collect();
    let next = if to < count {
        format!(",\"continue\":\"{kind}{to}\",\"remainingItemCount\":{}", count - to)
    } else {
        String::new()
    };
    format!(
        "{{\"kind\":\"{kind}\",\"metadata\":{{\"resourceVersion\":\"1234567\"{next}}},\"items\":[{}]}}",
        items.join(",")
    )
    .into_response()
}

/// The most memory that a process has had, in KiB, as long as it lives.
fn peak_kib(process: u32) -> Option<u64> {
    let status = std::fs::read_to_string(format!("/proc/{process}/status")).ok()?;
    status.lines().find_map(|line| line.strip_prefix("VmHWM:")?.trim().strip_suffix(" kB")?.parse().ok())
}

#[test]
fn a_large_cluster_fits_into_a_minute_and_little_memory() {
    let mut place = Place::new("pods = true");
    place.at("large", &format!("http://{}", serve(Router::new().fallback(page))), "anybody", "", "");
    let begun = Instant::now();
    let mut child = place
        .command(&["snapshot", "--format", "ndjson"])
        .stdout(std::process::Stdio::piped())
        .spawn()
        .expect("it starts");
    let mut most_kib = 0;
    while child.try_wait().expect("ours").is_none() {
        most_kib = most_kib.max(peak_kib(child.id()).unwrap_or(0));
        std::thread::sleep(Duration::from_millis(20));
    }
    let took = begun.elapsed();
    let output = child.wait_with_output().expect("ended");
    assert!(output.status.success(), "{}{}", stdout(&output), stderr(&output));
    let count = deployments();
    println!("{count} Deployments, {} pods: {:.1} s, {} MiB", PODS_EACH * count, took.as_secs_f64(), most_kib >> 10);
    let [snapshot] = place.rows("snapshots").try_into().expect("one");
    let expected = [json!("complete"), json!(count), json!(count / 2), json!(PODS_EACH * count)];
    assert_eq!(["state", "deployments", "hpas", "pods"].map(|column| snapshot[column].clone()), expected);
    let sql = "SELECT COUNT(*), SUM(running_pods), SUM(desired_replicas), COUNT(hpa_max_replicas) FROM ${dataset}.pod_metrics";
    let sums =
        block_on(pedwatch::store::Store::fetch(&place.opened(), &query::Query::new(sql, Vec::new()))).expect("summed");
    let pods = (PODS_EACH * count) as i64;
    let expected = [count as i64, pods, pods, (count / 2) as i64].map(query::Value::Integer);
    assert_eq!(sums.rows, [expected.to_vec()]);
    assert!(took < MOST && most_kib < MOST_KIB, "{took:?}, {most_kib} KiB");
}
