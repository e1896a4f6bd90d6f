//! What runs in clusters: where their API servers are, what they list, and what `kubectl` printed of it.
//!
//! ```text
//! configuration ─▶ access ─▶ client ─▶ snapshot (pages) ─┐
//!                  GKE's API                             ├─▶ listing (pure): one row for each Deployment
//! kubectl get … -o json ────▶ file ──────────────────────┘
//! ```
//!
//! What speaks to a cluster is built with the feature `clusters` alone.

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use crate::names::named;
use crate::ped::Cluster;
use crate::policy::actors::Pattern;

#[cfg(feature = "clusters")]
mod access;
#[cfg(feature = "clusters")]
mod canary;
#[cfg(feature = "clusters")]
mod check;
#[cfg(feature = "clusters")]
mod client;
#[cfg(feature = "clusters")]
mod fault;
pub mod file;
mod listing;
mod object;
#[cfg(feature = "clusters")]
mod snapshot;
#[cfg(feature = "clusters")]
mod watch;

#[cfg(feature = "clusters")]
pub use access::{Google, connect};
#[cfg(feature = "clusters")]
pub use canary::send_canary;
#[cfg(feature = "clusters")]
pub use check::{Step, check};
#[cfg(feature = "clusters")]
pub use client::Client;
#[cfg(feature = "clusters")]
pub use fault::Fault;
pub use listing::{Deployment, Gathered, Hpa, Listing, Other};
#[cfg(feature = "clusters")]
pub use snapshot::list;
#[cfg(feature = "clusters")]
pub use watch::{Deployments, Replicas, Seen, Watched};

/// A cluster, as the configuration has it.
#[derive(Debug, Clone)]
pub struct ClusterConfig {
    /// What it is called here: the NAME of `[clusters.NAME]`.
    pub handle: String,
    /// Google Cloud project, as the audit log names it.
    pub project: String,
    /// Region or zone, as the audit log names it.
    pub location: String,
    /// Its name in there.
    pub name: String,
    /// How its API server is reached.
    pub access: Access,
    /// Which namespaces are looked at.
    pub namespaces: Namespaces,
}

impl ClusterConfig {
    /// Which cluster it is.
    pub fn cluster(&self) -> Cluster<'_> {
        Cluster { project: &self.project, location: &self.location, name: &self.name }
    }
}

/// How an API server is reached.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Access {
    /// By its DNS endpoint, which IAM guards.
    Dns,
    /// By its address.
    Endpoint {
        /// The one inside its network.
        private: bool,
    },
    /// Through the Connect gateway of its fleet.
    ConnectGateway {
        /// `projects/NUMBER/locations/LOCATION/memberships/NAME`; without it, GKE is asked.
        membership: Option<String>,
    },
    /// As the pod that pedwatch runs in.
    InCluster,
    /// As `kubectl` does.
    Kubeconfig {
        /// The file; without it, `KUBECONFIG` or `~/.kube/config`.
        file: Option<PathBuf>,
        /// Without it, the current one.
        context: Option<String>,
    },
}

named! {
    /// The names of the ways to a cluster.
    pub enum Way {
        /// [`Access::Dns`].
        Dns = "dns",
        /// [`Access::Endpoint`].
        Endpoint = "endpoint",
        /// [`Access::ConnectGateway`].
        ConnectGateway = "connect_gateway",
        /// [`Access::InCluster`].
        InCluster = "in_cluster",
        /// [`Access::Kubeconfig`].
        Kubeconfig = "kubeconfig",
    }
}

impl Access {
    /// Its name.
    pub fn way(&self) -> Way {
        match self {
            Access::Dns => Way::Dns,
            Access::Endpoint { .. } => Way::Endpoint,
            Access::ConnectGateway { .. } => Way::ConnectGateway,
            Access::InCluster => Way::InCluster,
            Access::Kubeconfig { .. } => Way::Kubeconfig,
        }
    }
}

/// Which namespaces are looked at: those that a pattern takes (all, where none takes any), but those that one leaves.
#[derive(Debug, Clone, Default)]
pub struct Namespaces {
    texts: Vec<String>,
    taken: Vec<Pattern>,
    left: Vec<Pattern>,
}

impl Namespaces {
    /// Takes patterns (`*` any text, `?` any character); one that begins with `!` leaves what it matches.
    pub fn new(texts: &[String]) -> Self {
        let left = texts.iter().filter_map(|text| text.strip_prefix('!')).map(Pattern::new);
        let taken = texts.iter().filter(|text| !text.starts_with('!')).map(|text| Pattern::new(text));
        Namespaces { texts: texts.to_vec(), taken: taken.collect(), left: left.collect() }
    }

    /// Whether a namespace is looked at.
    pub fn hold(&self, namespace: &str) -> bool {
        let any = |patterns: &[Pattern]| patterns.iter().any(|pattern| pattern.matches(namespace));
        (self.taken.is_empty() || any(&self.taken)) && !any(&self.left)
    }

    /// Whether all are.
    pub fn are_all(&self) -> bool {
        self.texts.is_empty()
    }
}

/// The patterns, as they are stored.
impl fmt::Display for Namespaces {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.texts.join(","))
    }
}

/// Where Google's servers are, if not where they always are.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct GkeConfig {
    /// Of the Kubernetes Engine API.
    pub endpoint: Option<String>,
    /// Of the Connect gateway.
    pub gateway_endpoint: Option<String>,
}

/// How snapshots are taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SnapshotConfig {
    /// How long one cluster may take with all its attempts.
    pub deadline: Duration,
    /// Whether pods are counted.
    pub pods: bool,
    /// Objects asked for at once.
    pub page_objects: u32,
    /// Clusters that are looked at side by side.
    pub clusters_at_once: usize,
}

/// How it is seen that entries of clusters come.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CanaryConfig {
    /// Where the Deployment of our own is, in each cluster.
    pub namespace: String,
    /// How long an entry is waited for.
    pub wait: Duration,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn namespaces_are_taken_and_left() {
        let of = |texts: &[&str]| Namespaces::new(&texts.iter().map(|&text| text.to_owned()).collect::<Vec<_>>());
        assert!(of(&[]).hold("payments") && of(&[]).are_all());
        let some = of(&["payments*", "!payments-dev"]);
        assert!(
            some.hold("payments") && some.hold("payments-eu") && !some.hold("payments-dev") && !some.hold("orders")
        );
        assert!(of(&["!kube-*"]).hold("payments") && !of(&["!kube-*"]).hold("kube-system"));
        assert_eq!(some.to_string(), "payments*,!payments-dev");
    }
}
