//! What one cluster has, joined: each Deployment with its HPAs and its pods. Pure.

use std::collections::{BTreeMap, HashMap};

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

use super::Namespaces;
use super::object::{DeploymentForm, HpaForm, Number, OwnedForm, PodForm, WorkloadForm};
use crate::time;
use crate::timeline::reality::Workload;

/// Everything that was asked of one cluster.
#[derive(Debug, Clone, PartialEq)]
pub struct Listing {
    /// When the listing of Deployments began.
    pub at: DateTime<Utc>,
    /// The version at which all of them were listed.
    pub resource_version: Option<String>,
    /// By namespace and name.
    pub deployments: Vec<Deployment>,
    /// How many HPAs there are.
    pub hpas: u64,
    /// How many pods run; `None` where they were not listed.
    pub pods: Option<u64>,
    /// How many Deployments have a number that cannot be.
    pub impossible: u64,
    /// What runs that may be in the place of a Deployment.
    pub others: Vec<Other>,
}

/// A workload of another kind that asks for replicas.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Other {
    /// Kubernetes namespace.
    pub namespace: String,
    /// The Deployment in whose place it is, if there is or was one.
    pub deployment: String,
    /// What it is.
    pub kind: Workload,
    /// `spec.replicas`.
    pub replicas: i64,
}

/// One Deployment.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Deployment {
    /// Kubernetes namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// `metadata.labels`.
    pub labels: BTreeMap<String, String>,
    /// `metadata.uid`.
    pub uid: Option<String>,
    /// `metadata.resourceVersion`.
    pub resource_version: Option<String>,
    /// `metadata.generation`.
    pub generation: Option<i64>,
    /// `status.observedGeneration`.
    pub observed_generation: Option<i64>,
    /// `metadata.creationTimestamp`.
    pub created_at: Option<DateTime<Utc>>,
    /// `spec.paused`.
    pub paused: bool,
    /// `spec.replicas`, as the following numbers `None` where it cannot be.
    pub desired: Option<i64>,
    /// How many pods a rollout may have beyond those; `None` where it does not say.
    pub surge: Option<i64>,
    /// `status.replicas`.
    pub actual: Option<i64>,
    /// `status.availableReplicas`.
    pub available: Option<i64>,
    /// `status.updatedReplicas`.
    pub updated: Option<i64>,
    /// `status.readyReplicas`.
    pub ready: Option<i64>,
    /// Pods of its ReplicaSets that are neither terminal nor terminating; `None` where pods were not listed.
    pub running_pods: Option<i64>,
    /// The HPAs that find it, by name.
    pub hpas: Vec<Hpa>,
    /// Who set `spec.replicas` last, as they call themselves.
    pub replicas_manager: Option<String>,
    /// When that was.
    pub replicas_managed_at: Option<DateTime<Utc>>,
}

impl Deployment {
    /// The highest `spec.maxReplicas` of its HPAs; `None` where there is none.
    pub fn hpa_max(&self) -> Option<i64> {
        self.hpas.iter().filter_map(|hpa| hpa.max_replicas).max()
    }
}

/// An HPA that finds a Deployment.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Hpa {
    /// Its name, in the namespace of its Deployment.
    pub name: String,
    /// `metadata.uid`.
    pub uid: Option<String>,
    /// `metadata.resourceVersion`.
    pub resource_version: Option<String>,
    /// `metadata.creationTimestamp`.
    pub created_at: Option<DateTime<Utc>>,
    /// `spec.minReplicas`, as the following number `None` where it is not there or cannot be.
    pub min_replicas: Option<i64>,
    /// `spec.maxReplicas`.
    pub max_replicas: Option<i64>,
}

/// What was found so far, in any order.
#[derive(Debug, Default)]
pub struct Gathered {
    deployments: Vec<Deployment>,
    impossible: u64,
    hpas: u64,
    /// By namespace and Deployment.
    hpas_of: HashMap<(String, String), Vec<Hpa>>,
    /// The Deployment that each ReplicaSet is of, both by uid.
    replica_sets: HashMap<String, String>,
    /// Running pods of each ReplicaSet, by its uid.
    running: HashMap<String, i64>,
    pods: Option<u64>,
    others: Vec<Other>,
}

impl Gathered {
    pub(super) fn add_deployment(&mut self, form: DeploymentForm) {
        let (status, spec) = (&form.status, &form.spec);
        let numbers =
            [spec.replicas, status.replicas, status.available_replicas, status.updated_replicas, status.ready_replicas];
        self.impossible += u64::from(numbers.contains(&Number::Impossible));
        self.deployments.push(Deployment::from(form));
    }

    pub(super) fn add_hpa(&mut self, form: HpaForm) {
        self.hpas += 1;
        let HpaForm { metadata, spec } = form;
        let Some(deployment) = spec.scale_target_ref.deployment() else { return };
        self.hpas_of.entry((metadata.namespace, deployment)).or_default().push(Hpa {
            name: metadata.name,
            uid: metadata.uid,
            resource_version: metadata.resource_version,
            created_at: metadata.creation_timestamp.as_deref().and_then(time::read),
            min_replicas: spec.min_replicas.known(),
            max_replicas: spec.max_replicas.known(),
        });
    }

    /// One that asks for none is in nobody's place.
    pub(super) fn add_other(&mut self, kind: Workload, form: WorkloadForm) {
        let namespace = form.metadata.namespace.clone();
        if let Some((deployment, replicas)) = form.in_place_of().filter(|(_, replicas)| *replicas > 0) {
            self.others.push(Other { namespace, deployment, kind, replicas });
        }
    }

    pub(super) fn add_replica_set(&mut self, form: OwnedForm) {
        if let (Some(deployment), Some(uid)) = (form.metadata.controlled_by("Deployment"), &form.metadata.uid) {
            self.replica_sets.insert(uid.clone(), deployment.to_owned());
        }
    }

    pub(super) fn add_pod(&mut self, form: &PodForm) {
        let pods = self.pods.get_or_insert_default();
        if !form.runs() {
            return;
        }
        *pods += 1;
        if let Some(replica_set) = form.metadata.controlled_by("ReplicaSet") {
            match self.running.get_mut(replica_set) {
                Some(running) => *running += 1,
                None => drop(self.running.insert(replica_set.to_owned(), 1)),
            }
        }
    }

    /// Whether no Deployment was found in any namespace.
    pub fn has_no_deployment(&self) -> bool {
        self.deployments.is_empty()
    }

    /// All of it, of the namespaces that are looked at.
    ///
    /// # Errors
    /// When a Deployment is there twice: then these are several listings, and nothing tells which one counts.
    pub fn listing(
        mut self,
        at: DateTime<Utc>,
        resource_version: Option<String>,
        namespaces: &Namespaces,
    ) -> Result<Listing, String> {
        let mut running: HashMap<&str, i64> = HashMap::new();
        for (replica_set, pods) in &self.running {
            if let Some(deployment) = self.replica_sets.get(replica_set) {
                *running.entry(deployment).or_default() += pods;
            }
        }
        let mut deployments = self.deployments;
        deployments.retain(|deployment| namespaces.hold(&deployment.namespace));
        deployments.sort_by(|one, other| (&one.namespace, &one.name).cmp(&(&other.namespace, &other.name)));
        for deployment in &mut deployments {
            let of_it = || running.get(deployment.uid.as_deref()?).copied();
            deployment.running_pods = self.pods.map(|_| of_it().unwrap_or(0));
            let name = (deployment.namespace.clone(), deployment.name.clone());
            deployment.hpas = self.hpas_of.remove(&name).unwrap_or_default();
            deployment.hpas.sort();
        }
        let is_same = |pair: &&[Deployment]| match pair {
            [one, other] => (&one.namespace, &one.name) == (&other.namespace, &other.name),
            _ => false,
        };
        if let Some([twice, ..]) = deployments.windows(2).find(is_same) {
            return Err(format!("{}/{} is there twice; expected one listing", twice.namespace, twice.name));
        }
        let Gathered { hpas, pods, impossible, mut others, .. } = self;
        others.retain(|other| namespaces.hold(&other.namespace));
        Ok(Listing { at, resource_version, deployments, hpas, pods, impossible, others })
    }
}

/// An API server lists one kind after the other.
#[cfg(feature = "clusters")]
impl Gathered {
    /// That pods are counted, though there may be none.
    pub(super) fn count_pods(&mut self) {
        self.pods.get_or_insert_default();
    }

    /// Adds what another listing of the same cluster found.
    #[must_use]
    pub(super) fn with(mut self, other: Gathered) -> Self {
        self.deployments.extend(other.deployments);
        self.impossible += other.impossible;
        self.hpas += other.hpas;
        self.hpas_of.extend(other.hpas_of);
        self.replica_sets.extend(other.replica_sets);
        self.running.extend(other.running);
        self.pods = self.pods.or(other.pods);
        self.others.extend(other.others);
        self
    }
}

impl From<DeploymentForm> for Deployment {
    fn from(form: DeploymentForm) -> Self {
        let DeploymentForm { metadata, spec, status } = form;
        let written = metadata.managed_fields.iter().filter(|fields| fields.have_replicas());
        // Times of one form compare as texts; a field has several managers where they agree on it.
        let last = written.max_by(|one, other| one.time.cmp(&other.time));
        Deployment {
            created_at: metadata.creation_timestamp.as_deref().and_then(time::read),
            replicas_manager: last.and_then(|fields| fields.manager.clone()),
            replicas_managed_at: last.and_then(|fields| time::read(fields.time.as_deref()?)),
            namespace: metadata.namespace,
            name: metadata.name,
            labels: metadata.labels,
            uid: metadata.uid,
            resource_version: metadata.resource_version,
            generation: metadata.generation,
            observed_generation: status.observed_generation,
            paused: spec.paused,
            // The API server fills it in, so it is never absent.
            desired: spec.replicas.known(),
            surge: spec.replicas.known().and_then(|replicas| spec.strategy.surge(replicas)),
            actual: status.replicas.or(0),
            available: status.available_replicas.or(0),
            updated: status.updated_replicas.or(0),
            ready: status.ready_replicas.or(0),
            running_pods: None,
            hpas: Vec::new(),
        }
    }
}
