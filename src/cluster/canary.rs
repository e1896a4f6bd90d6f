//! A sign of life: a dry run on an object of our own, whose entry has to come back through the sink.

use std::sync::Arc;
use std::time::Duration;

use axum::http::Request;
use kube::api::{GetParams, Patch, PatchParams};
use serde::Deserialize;
use serde::de::IgnoredAny;
use serde_json::json;

use super::access::{Google, connect};
use super::client::Client;
use super::fault::{Fault, Kind};
use super::object::Metadata;
use super::{ClusterConfig, Way};
use crate::audit::CANARY;

/// How often it is tried anew where somebody else wrote the object in between.
const ATTEMPTS: usize = 3;

/// The object, of which nothing else matters.
#[derive(Deserialize)]
struct Own {
    metadata: Metadata,
}

/// Writes a label to the Deployment [`CANARY`] of a namespace, without storing it. The patch names the version that it is of,
/// by which its entry shows that nothing was stored, even where dry runs are not labelled.
///
/// # Errors
/// [`Fault`] when the cluster does not take it: then no entry will come, or one that says so.
pub async fn send_canary(
    google: &Arc<Google>,
    cluster: &ClusterConfig,
    within: Duration,
    namespace: &str,
    nonce: &str,
) -> Result<(), Fault> {
    let client = connect(google, cluster, within).await?;
    let mut sent = send_once(&client, namespace, nonce).await;
    for _ in 1..ATTEMPTS {
        match sent {
            Err(fault) if fault.is(Kind::Conflict) => sent = send_once(&client, namespace, nonce).await,
            _ => break,
        }
    }
    sent.map_err(|fault| advised(fault, cluster, namespace))
}

async fn send_once(client: &Client, namespace: &str, nonce: &str) -> Result<(), Fault> {
    let path = kube::core::Request::new(format!("/apis/apps/v1/namespaces/{namespace}/deployments"));
    let own: Own = client.ask(&path.get(CANARY, &GetParams::default()).map_err(Fault::last)?).await?;
    let version = own.metadata.resource_version;
    let patch = json!({"metadata": {"resourceVersion": version, "labels": {CANARY: nonce}}});
    let dry = PatchParams { dry_run: true, field_manager: Some("pedwatch".to_owned()), ..PatchParams::default() };
    let request: Request<Vec<u8>> = path.patch(CANARY, &dry, &Patch::Merge(patch)).map_err(Fault::last)?;
    client.ask::<IgnoredAny>(&request).await.map(drop)
}

fn advised(fault: Fault, cluster: &ClusterConfig, namespace: &str) -> Fault {
    let apply = "kubectl apply -f deploy/kubernetes/canary.yaml";
    if fault.is(Kind::NotFound) {
        return fault
            .advised_instead(format!("expected a Deployment {namespace}/{CANARY} (canary.namespace): {apply}"));
    }
    if !fault.is(Kind::Forbidden) {
        return fault;
    }
    let inside = format!("expected a grant on {namespace}/{CANARY}: {apply}, with our name in its RoleBinding");
    fault.advised_instead(match cluster.access.way() {
        Way::Dns | Way::Endpoint => format!("{inside}, and container.clusters.connect on the project"),
        Way::ConnectGateway => format!("{inside}, and roles/gkehub.gatewayEditor on the project"),
        Way::InCluster | Way::Kubeconfig => inside,
    })
}
