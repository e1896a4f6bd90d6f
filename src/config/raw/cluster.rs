//! `[clusters.NAME]`, `[gke]`, `[snapshot]`: what runs, and where that is asked.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::check::Faults;
use super::policy::RawScope;
use crate::audit::CANARY;
use crate::cluster::{Access, CanaryConfig, ClusterConfig, GkeConfig, Namespaces, SnapshotConfig, Way};
use crate::config::Origin;

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum RawAccess {
    Dns,
    Endpoint,
    ConnectGateway,
    InCluster,
    Kubeconfig,
}

impl RawAccess {
    fn way(self) -> Way {
        match self {
            RawAccess::Dns => Way::Dns,
            RawAccess::Endpoint => Way::Endpoint,
            RawAccess::ConnectGateway => Way::ConnectGateway,
            RawAccess::InCluster => Way::InCluster,
            RawAccess::Kubeconfig => Way::Kubeconfig,
        }
    }
}

#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct RawCluster {
    project: String,
    location: String,
    name: String,
    access: RawAccess,
    private_endpoint: bool,
    membership: String,
    kubeconfig: String,
    context: String,
    namespaces: Vec<String>,
}

impl Default for RawCluster {
    fn default() -> Self {
        RawCluster {
            project: String::new(),
            location: String::new(),
            name: String::new(),
            access: RawAccess::Dns,
            private_endpoint: false,
            membership: String::new(),
            kubeconfig: String::new(),
            context: String::new(),
            namespaces: Vec::new(),
        }
    }
}

/// The clusters, of which no two are the same.
pub(super) fn clusters(raw: BTreeMap<String, RawCluster>, faults: &mut Faults) -> Vec<ClusterConfig> {
    let mut clusters: Vec<ClusterConfig> = Vec::new();
    for (handle, raw) in raw {
        let key = format!("clusters.{handle}");
        let cluster = raw.validate(handle, faults);
        let is_same = |other: &&ClusterConfig| {
            other.cluster() == cluster.cluster()
                || other.access == Access::InCluster && cluster.access == Access::InCluster
        };
        if let Some(other) = clusters.iter().find(is_same) {
            let wanted = format!("expected another cluster than clusters.{}", other.handle);
            faults.add(&key, cluster.cluster().to_string(), wanted);
        }
        clusters.push(cluster);
    }
    clusters
}

impl RawCluster {
    fn validate(self, handle: String, faults: &mut Faults) -> ClusterConfig {
        let key = |name: &str| format!("clusters.{handle}.{name}");
        faults.handle("clusters", &handle);
        for (name, value) in [("project", &self.project), ("location", &self.location), ("name", &self.name)] {
            let is_part = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '.' | ':');
            if value.is_empty() || !value.chars().all(is_part) {
                let wanted = "expected it as the audit log has it in resource.labels, such as";
                let example = match name {
                    "project" => "acme-prod",
                    "location" => "europe-west1",
                    _ => "prod-1",
                };
                faults.add(key(name), format!("{value:?}"), format!("{wanted} {example:?}"));
            }
        }
        if let Some(text) = self.namespaces.iter().find(|text| text.trim_start_matches('!').is_empty()) {
            let wanted = "expected patterns such as \"payments*\" or \"!payments-dev\"";
            faults.add(key("namespaces"), format!("{text:?}"), wanted.to_owned());
        }
        let access = self.access(&handle, faults);
        let RawCluster { project, location, name, namespaces, .. } = self;
        ClusterConfig { handle, project, location, name, access, namespaces: Namespaces::new(&namespaces) }
    }

    fn access(&self, handle: &str, faults: &mut Faults) -> Access {
        let way = self.access.way();
        let texts = [
            ("membership", Way::ConnectGateway, &self.membership),
            ("kubeconfig", Way::Kubeconfig, &self.kubeconfig),
            ("context", Way::Kubeconfig, &self.context),
        ];
        let texts = texts.map(|(name, of, text)| (name, of, (!text.is_empty()).then(|| format!("{text:?}"))));
        let private = [("private_endpoint", Way::Endpoint, self.private_endpoint.then(|| "true".to_owned()))];
        for (name, of, value) in texts.into_iter().chain(private) {
            if let Some(value) = value.filter(|_| of != way) {
                let wanted = format!("expected it only with access = \"{of}\"");
                faults.add(format!("clusters.{handle}.{name}"), value, wanted);
            }
        }
        let given = |text: &String| Some(text.clone()).filter(|text| !text.is_empty());
        match way {
            Way::Dns => Access::Dns,
            Way::Endpoint => Access::Endpoint { private: self.private_endpoint },
            Way::ConnectGateway => {
                if !self.membership.is_empty() && !is_membership(&self.membership) {
                    let wanted = "expected projects/NUMBER/locations/LOCATION/memberships/NAME".to_owned();
                    faults.add(format!("clusters.{handle}.membership"), format!("{:?}", self.membership), wanted);
                }
                Access::ConnectGateway { membership: given(&self.membership) }
            }
            Way::InCluster => Access::InCluster,
            Way::Kubeconfig => {
                Access::Kubeconfig { file: given(&self.kubeconfig).map(Into::into), context: given(&self.context) }
            }
        }
    }
}

/// Whether a text names a membership by its project's number, as the gateway wants it.
fn is_membership(text: &str) -> bool {
    let parts: Vec<&str> = text.split('/').collect();
    let ["projects", number, "locations", location, "memberships", name] = parts.as_slice() else { return false };
    let is_number = !number.is_empty() && number.chars().all(|c| c.is_ascii_digit());
    is_number && !location.is_empty() && !name.is_empty()
}

#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct RawGke {
    endpoint: String,
    gateway_endpoint: String,
}

impl RawGke {
    pub(super) fn validate(self, faults: &mut Faults) -> GkeConfig {
        GkeConfig {
            endpoint: faults.url("gke.endpoint", self.endpoint),
            gateway_endpoint: faults.url("gke.gateway_endpoint", self.gateway_endpoint),
        }
    }
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct RawSnapshot {
    deadline_seconds: i64,
    pods: bool,
    page_objects: i64,
    clusters_at_once: i64,
}

impl Default for RawSnapshot {
    fn default() -> Self {
        RawSnapshot { deadline_seconds: 300, pods: false, page_objects: 500, clusters_at_once: 8 }
    }
}

impl RawSnapshot {
    pub(super) fn validate(&self, faults: &mut Faults) -> SnapshotConfig {
        // A page is valid for some minutes, and a job of Cloud Run by default for ten.
        let deadline = faults.within("snapshot.deadline_seconds", self.deadline_seconds, 1..=3_600);
        let at_once = faults.within("snapshot.clusters_at_once", self.clusters_at_once, 1..=64);
        SnapshotConfig {
            deadline: Duration::from_secs(deadline.into()),
            pods: self.pods,
            // A Deployment may have a megabyte, most have ten kilobytes.
            page_objects: faults.within("snapshot.page_objects", self.page_objects, 1..=5_000),
            clusters_at_once: at_once as usize,
        }
    }
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct RawCanary {
    namespace: String,
    wait_seconds: i64,
}

impl Default for RawCanary {
    fn default() -> Self {
        // Entries were seen 13 s late, and a consumer may have to start.
        RawCanary { namespace: CANARY.to_owned(), wait_seconds: 120 }
    }
}

impl RawCanary {
    pub(super) fn validate(&self, faults: &mut Faults) -> CanaryConfig {
        let is_part = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
        if self.namespace.is_empty() || !self.namespace.chars().all(is_part) {
            let wanted =
                "expected the namespace of a Deployment pedwatch-canary, such as \"pedwatch-canary\"".to_owned();
            faults.add("canary.namespace", format!("{:?}", self.namespace), wanted);
        }
        let wait = faults.within("canary.wait_seconds", self.wait_seconds, 1..=3_600);
        CanaryConfig { namespace: self.namespace.clone(), wait: Duration::from_secs(wait.into()) }
    }

    /// A scope without the object of our own, which no PED allows; where it is not said that there is one, nobody's.
    pub(super) fn left_out(&self, mut scope: RawScope, said: Option<&Origin>) -> RawScope {
        if said.is_some_and(|origin| *origin != Origin::Default) {
            scope.exclude_deployments.push(format!("{}/{CANARY}", self.namespace));
        }
        scope
    }
}
