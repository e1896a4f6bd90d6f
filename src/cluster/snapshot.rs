//! Everything of a cluster, listed in pages that are all of one version: two listings are never mixed.

use axum::http::Request;
use chrono::{DateTime, Utc};
use kube::api::ListParams;
use serde::Deserialize;
use serde::de::DeserializeOwned;

use super::client::Client;
use super::fault::{Fault, Kind};
use super::listing::{Gathered, Listing};
use super::{Namespaces, SnapshotConfig};
use crate::timeline::reality::Workload;

/// How often a listing that expires on the way is begun. A page is good for five minutes, so it takes a server that is
/// compacted all the time.
const BEGINNINGS: usize = 5;

/// A kind of objects.
pub(super) struct Objects {
    /// Where they are listed.
    pub(super) path: &'static str,
    /// What their list is called.
    pub(super) list: &'static str,
    /// Which of them, by their fields.
    fields: Option<&'static str>,
    /// Whether nothing else of them is wanted.
    only_metadata: bool,
}

pub(super) const DEPLOYMENTS: Objects =
    Objects { path: "/apis/apps/v1/deployments", list: "DeploymentList", fields: None, only_metadata: false };
/// Since Kubernetes 1.23.
pub(super) const HPAS: Objects = Objects {
    path: "/apis/autoscaling/v2/horizontalpodautoscalers",
    list: "HorizontalPodAutoscalerList",
    fields: None,
    only_metadata: false,
};
pub(super) const HPAS_V1: Objects = Objects { path: "/apis/autoscaling/v1/horizontalpodautoscalers", ..HPAS };
/// There are some of each Deployment, one for each version that it can go back to.
pub(super) const REPLICA_SETS: Objects =
    Objects { path: "/apis/apps/v1/replicasets", list: "PartialObjectMetadataList", fields: None, only_metadata: true };
/// What may run in the place of a Deployment.
pub(super) const OTHERS: [(Workload, Objects); 2] = [
    (
        Workload::StatefulSet,
        Objects { path: "/apis/apps/v1/statefulsets", list: "StatefulSetList", fields: None, only_metadata: false },
    ),
    // Where Argo Rollouts is installed.
    (
        Workload::Rollout,
        Objects {
            path: "/apis/argoproj.io/v1alpha1/rollouts",
            list: "RolloutList",
            fields: None,
            only_metadata: false,
        },
    ),
];
pub(super) const PODS: Objects = Objects {
    path: "/api/v1/pods",
    list: "PodList",
    fields: Some("status.phase!=Succeeded,status.phase!=Failed"),
    only_metadata: false,
};

/// Lists a cluster.
///
/// # Errors
/// [`Fault`] when something that was asked for is not to be had: there is no half of a snapshot.
pub async fn list(client: &Client, config: &SnapshotConfig, namespaces: &Namespaces) -> Result<Listing, Fault> {
    let size = config.page_objects;
    let Listed { at, version, mut gathered } = all(client, &DEPLOYMENTS, size, Gathered::add_deployment).await?;
    let hpas = match all(client, &HPAS, size, Gathered::add_hpa).await {
        Err(fault) if fault.is(Kind::NotFound) => all(client, &HPAS_V1, size, Gathered::add_hpa).await,
        listed => listed,
    };
    gathered = gathered.with(hpas?.gathered);
    for (kind, objects) in &OTHERS {
        let add = |gathered: &mut Gathered, form| gathered.add_other(*kind, form);
        match all(client, objects, size, add).await {
            Ok(listed) => gathered = gathered.with(listed.gathered),
            // Nobody runs them, or the grant is of an earlier release: what is not seen proves nothing.
            Err(fault) if fault.is(Kind::NotFound) || fault.is(Kind::Forbidden) => {}
            Err(fault) => return Err(fault),
        }
    }
    if config.pods {
        let pods = all(client, &PODS, size, |gathered: &mut Gathered, pod| gathered.add_pod(&pod)).await?;
        let replica_sets = all(client, &REPLICA_SETS, size, Gathered::add_replica_set).await?;
        gathered = gathered.with(pods.gathered).with(replica_sets.gathered);
        gathered.count_pods();
    }
    gathered.listing(at, Some(version), namespaces).map_err(Fault::last)
}

/// What a listing came to, of one version.
pub(super) struct Listed<G> {
    at: DateTime<Utc>,
    pub(super) version: String,
    pub(super) gathered: G,
}

/// All objects of a kind at one version. Where that has become too old to go on with, all of it begins again.
pub(super) async fn all<F: DeserializeOwned, G: Default>(
    client: &Client,
    kind: &Objects,
    size: u32,
    add: impl Fn(&mut G, F),
) -> Result<Listed<G>, Fault> {
    let mut last = None;
    for _ in 0..BEGINNINGS {
        match in_pages(client, kind, size, &add).await {
            Err(fault) if fault.is(Kind::Expired) => last = Some(fault),
            listed => return listed,
        }
    }
    let said = last.map(|fault| fault.said().to_owned()).unwrap_or_default();
    let why = format!("{} was too old to go on with, {BEGINNINGS} times: {said}", kind.list);
    Err(Fault::last(why)
        .advised("expected larger pages (snapshot.page_objects), or a server that keeps versions for longer"))
}

async fn in_pages<F: DeserializeOwned, G: Default>(
    client: &Client,
    kind: &Objects,
    size: u32,
    add: &impl Fn(&mut G, F),
) -> Result<Listed<G>, Fault> {
    let at = Utc::now();
    let mut gathered = G::default();
    let mut page: Page<F> = kind.page(client, size, None).await?;
    loop {
        page.items.unwrap_or_default().into_iter().for_each(|object| add(&mut gathered, object));
        let PageMetadata { resource_version: version, next } = page.metadata;
        if next.is_empty() {
            return Ok(Listed { at, version, gathered });
        }
        page = kind.page(client, size, Some(&next)).await?;
        if page.metadata.resource_version != version {
            let why = format!("a page is of version {}, the ones before of {version}", page.metadata.resource_version);
            return Err(Fault::new(Kind::Expired, why));
        }
    }
}

/// A page of a list.
#[derive(Deserialize)]
pub(super) struct Page<F> {
    kind: String,
    metadata: PageMetadata,
    /// Null where there are none.
    items: Option<Vec<F>>,
}

#[derive(Deserialize)]
struct PageMetadata {
    #[serde(rename = "resourceVersion")]
    resource_version: String,
    /// A token for the page behind this one.
    #[serde(rename = "continue", default)]
    next: String,
}

impl Objects {
    /// A page of so many objects.
    pub(super) async fn page<F: DeserializeOwned>(
        &self,
        client: &Client,
        size: u32,
        from: Option<&str>,
    ) -> Result<Page<F>, Fault> {
        let page: Page<F> = client.ask(&self.request(size, from)?).await?;
        match page.kind == self.list && !page.metadata.resource_version.is_empty() {
            true => Ok(page),
            // An empty object is no empty cluster.
            false => {
                Err(Fault::last(format_args!("{} answers with {:?}; expected a {}", self.path, page.kind, self.list)))
            }
        }
    }

    fn request(&self, size: u32, from: Option<&str>) -> Result<Request<Vec<u8>>, Fault> {
        let mut wanted = ListParams::default().limit(size);
        wanted.field_selector = self.fields.map(str::to_owned);
        wanted.continue_token = from.map(str::to_owned);
        let request = kube::core::Request::new(self.path);
        let request = if self.only_metadata { request.list_metadata(&wanted) } else { request.list(&wanted) };
        request.map_err(Fault::last)
    }
}
