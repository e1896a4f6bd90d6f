//! What is read of an object of Kubernetes, whoever wrote it down: the API server, or `kubectl`.

use std::collections::BTreeMap;

use serde::de::IgnoredAny;
use serde::{Deserialize, Deserializer};
use serde_json::Value as Json;

use crate::audit::target::{finds_deployment, group_of};

/// A number of things as Kubernetes has it: from 0 to what 32 bits hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) enum Number {
    /// It is not there.
    #[default]
    Absent,
    /// It is.
    Is(i64),
    /// It is there, and cannot be.
    Impossible,
}

impl<'de> Deserialize<'de> for Number {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Ok(match Json::deserialize(deserializer)? {
            Json::Null => Number::Absent,
            value => value.as_i64().filter(|&number| is_possible(number)).map_or(Number::Impossible, Number::Is),
        })
    }
}

fn is_possible(number: i64) -> bool {
    (0..=i64::from(i32::MAX)).contains(&number)
}

impl Number {
    /// The number; where it is absent, `default`.
    pub(super) fn or(self, default: i64) -> Option<i64> {
        match self {
            Number::Absent => Some(default),
            Number::Is(number) => Some(number),
            Number::Impossible => None,
        }
    }

    /// The number, where it is there and can be.
    pub(super) fn known(self) -> Option<i64> {
        if let Number::Is(number) = self { Some(number) } else { None }
    }
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(super) struct Metadata {
    pub(super) namespace: String,
    pub(super) name: String,
    pub(super) labels: BTreeMap<String, String>,
    pub(super) uid: Option<String>,
    pub(super) resource_version: Option<String>,
    /// Counts changes, so it may be larger than a number of things.
    pub(super) generation: Option<i64>,
    pub(super) creation_timestamp: Option<String>,
    pub(super) deletion_timestamp: Option<IgnoredAny>,
    pub(super) owner_references: Vec<Owner>,
    pub(super) managed_fields: Vec<ManagedFields>,
}

impl Metadata {
    /// The uid of the object of a kind that controls it.
    pub(super) fn controlled_by(&self, kind: &str) -> Option<&str> {
        let controls = |owner: &&Owner| owner.controller == Some(true) && owner.kind == kind;
        self.owner_references.iter().find(controls).map(|owner| owner.uid.as_str())
    }
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Owner {
    kind: String,
    uid: String,
    controller: Option<bool>,
}

/// Who wrote which fields last: <https://kubernetes.io/docs/reference/using-api/server-side-apply/#field-management>.
#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(super) struct ManagedFields {
    pub(super) manager: Option<String>,
    pub(super) time: Option<String>,
    fields_v1: Fields,
}

impl ManagedFields {
    /// Whether `spec.replicas` is among them.
    pub(super) fn have_replicas(&self) -> bool {
        self.fields_v1.spec.replicas.is_some()
    }
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Fields {
    #[serde(rename = "f:spec")]
    spec: SpecFields,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct SpecFields {
    #[serde(rename = "f:replicas")]
    replicas: Option<IgnoredAny>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct DeploymentForm {
    pub(super) metadata: Metadata,
    pub(super) spec: DeploymentSpec,
    pub(super) status: DeploymentStatus,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct DeploymentSpec {
    pub(super) replicas: Number,
    pub(super) paused: bool,
    pub(super) strategy: Strategy,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(super) struct Strategy {
    r#type: String,
    rolling_update: RollingUpdate,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct RollingUpdate {
    /// A number of pods, or a part of them such as `25%`.
    max_surge: Json,
}

impl Strategy {
    /// How many pods a rollout may have beyond those that are asked for: a part of them is rounded up.
    pub(super) fn surge(&self, replicas: i64) -> Option<i64> {
        match &self.rolling_update.max_surge {
            Json::String(text) => {
                let percent: i64 = text.strip_suffix('%')?.parse().ok().filter(|&percent| is_possible(percent))?;
                Some(replicas.saturating_mul(percent).saturating_add(99) / 100)
            }
            Json::Null => (self.r#type == "Recreate").then_some(0),
            number => number.as_i64().filter(|&number| is_possible(number)),
        }
    }
}

/// Numbers that are 0 are left out of it.
#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(super) struct DeploymentStatus {
    pub(super) observed_generation: Option<i64>,
    pub(super) replicas: Number,
    pub(super) available_replicas: Number,
    pub(super) updated_replicas: Number,
    pub(super) ready_replicas: Number,
}

/// What `autoscaling/v1` and `v2` have in common.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct HpaForm {
    pub(super) metadata: Metadata,
    pub(super) spec: HpaSpec,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(super) struct HpaSpec {
    pub(super) min_replicas: Number,
    pub(super) max_replicas: Number,
    pub(super) scale_target_ref: Target,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(super) struct Target {
    api_version: String,
    kind: String,
    name: String,
}

impl Target {
    /// The Deployment that it finds.
    pub(super) fn deployment(self) -> Option<String> {
        finds_deployment(group_of(&self.api_version), &self.kind).then_some(self.name)
    }
}

/// What may run in the place of a Deployment.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct WorkloadForm {
    pub(super) metadata: Metadata,
    pub(super) spec: WorkloadSpec,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(super) struct WorkloadSpec {
    replicas: Number,
    /// A Rollout may take its pods from a Deployment of another name, which it scales to zero.
    workload_ref: Target,
}

impl WorkloadForm {
    /// The name of the Deployment in whose place it is, and how many it asks for; one, where it does not say.
    pub(super) fn in_place_of(self) -> Option<(String, i64)> {
        let replicas = self.spec.replicas.or(1)?;
        Some((self.spec.workload_ref.deployment().unwrap_or(self.metadata.name), replicas))
    }
}

/// An object of which only who controls it is read.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct OwnedForm {
    pub(super) metadata: Metadata,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct PodForm {
    pub(super) metadata: Metadata,
    pub(super) status: PodStatus,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct PodStatus {
    phase: Option<String>,
}

impl PodForm {
    /// Whether it is neither terminal nor terminating.
    pub(super) fn runs(&self) -> bool {
        let is_terminal = matches!(self.status.phase.as_deref(), Some("Succeeded" | "Failed"));
        !is_terminal && self.metadata.deletion_timestamp.is_none()
    }
}
