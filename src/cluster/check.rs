//! Whether a cluster can be looked into, step by step, so that the first thing that is missing is told.

use std::sync::Arc;

use axum::http::Request;
use serde::Deserialize;
use serde::de::IgnoredAny;

use super::access::{Google, connect};
use super::client::Client;
use super::fault::{Fault, Kind};
use super::snapshot::{DEPLOYMENTS, HPAS, HPAS_V1, OTHERS, Objects, PODS, REPLICA_SETS};
use super::{ClusterConfig, SnapshotConfig};
use crate::timeline::reality::Workload;

/// One thing that was tried.
#[derive(Debug)]
pub struct Step {
    /// What.
    pub what: &'static str,
    /// What came of it.
    pub outcome: Result<String, Fault>,
}

/// Tries what a snapshot needs. What stands behind a step that fails is not tried, unless it is a grant like it.
pub async fn check(google: &Arc<Google>, cluster: &ClusterConfig, config: &SnapshotConfig) -> Vec<Step> {
    let mut steps = Vec::new();
    let client = match connect(google, cluster, config.deadline).await {
        Ok(client) => client,
        Err(fault) => return vec![Step { what: "find it", outcome: Err(fault) }],
    };
    steps.push(Step { what: "find it", outcome: Ok(client.server.to_string()) });
    let reached = version(&client).await;
    let is_reached = reached.is_ok();
    steps.push(Step { what: "reach it", outcome: reached });
    if is_reached {
        steps.push(Step { what: "list Deployments", outcome: may_list(&client, &DEPLOYMENTS).await });
        let hpas = match may_list(&client, &HPAS).await {
            Err(fault) if fault.is(Kind::NotFound) => may_list(&client, &HPAS_V1).await,
            tried => tried,
        };
        steps.push(Step { what: "list HPAs", outcome: hpas });
        for (kind, objects) in &OTHERS {
            let what = match kind {
                Workload::StatefulSet => "list StatefulSets",
                Workload::Rollout => "list Rollouts",
            };
            let outcome = match may_list(&client, objects).await {
                Err(fault) if fault.is(Kind::NotFound) => Ok("not installed".to_owned()),
                tried => tried,
            };
            steps.push(Step { what, outcome });
        }
        if config.pods {
            steps.push(Step { what: "list pods", outcome: may_list(&client, &PODS).await });
            steps.push(Step { what: "list ReplicaSets", outcome: may_list(&client, &REPLICA_SETS).await });
        }
    }
    steps
}

async fn version(client: &Client) -> Result<String, Fault> {
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Version {
        git_version: String,
    }
    let mut request = Request::new(Vec::new());
    *request.uri_mut() = axum::http::Uri::from_static("/version");
    client.ask::<Version>(&request).await.map(|version| version.git_version)
}

async fn may_list(client: &Client, objects: &Objects) -> Result<String, Fault> {
    objects.page::<IgnoredAny>(client, 1, None).await.map(|_| "granted".to_owned())
}
