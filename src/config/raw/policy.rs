//! `[platform]`, `[actors]`, `[scope]`, `[rules]`: what judging goes by.

use serde::{Deserialize, Serialize};

use super::check::Faults;
use crate::policy::{AlertType, Policy, Routes, Scope, Severities, Severity};

#[derive(Debug, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct RawPlatform {
    min_replicas: i64,
    max_replicas: i64,
    allow_zero: bool,
}

impl Default for RawPlatform {
    fn default() -> Self {
        RawPlatform { min_replicas: 2, max_replicas: 8, allow_zero: true }
    }
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct RawActors {
    pipeline: Vec<String>,
    autoscaler: Vec<String>,
    controller: Vec<String>,
    proxies: Vec<String>,
}

fn owned(names: &[&str]) -> Vec<String> {
    names.iter().map(|&name| name.to_owned()).collect()
}

impl Default for RawActors {
    fn default() -> Self {
        RawActors {
            pipeline: Vec::new(),
            // GKE's horizontal autoscaling writes as the second.
            autoscaler: owned(&[
                "system:serviceaccount:kube-system:horizontal-pod-autoscaler",
                "system:vpa-recommender",
            ]),
            controller: owned(&[
                "system:serviceaccount:kube-system:*",
                "system:kube-controller-manager",
                "system:addon-manager",
                "system:node:*",
                "*@container-engine-robot.iam.gserviceaccount.com",
            ]),
            // The Connect gateway's agent calls for whoever uses the gateway.
            proxies: owned(&["system:serviceaccount:gke-connect:connect-agent-sa"]),
        }
    }
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct RawScope {
    exclude_clusters: Vec<String>,
    exclude_namespaces: Vec<String>,
    pub(super) exclude_deployments: Vec<String>,
}

impl Default for RawScope {
    fn default() -> Self {
        RawScope {
            exclude_clusters: Vec::new(),
            // What GKE runs for itself.
            exclude_namespaces: owned(&[
                "kube-system",
                "kube-public",
                "kube-node-lease",
                "gke-*",
                "gmp-system",
                "gmp-public",
                "gkebackup",
                "asm-system",
                "config-management-*",
                "resource-group-system",
            ]),
            exclude_deployments: Vec::new(),
        }
    }
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct RawRules {
    over_limit: RawRule,
    outside_platform_range: RawRule,
    unregistered: RawRule,
    bypass: RawRule,
    over_initial: RawRule,
    unknown_value: RawRule,
    unknown_removal: RawRule,
    drift: RawRule,
    missed_write: RawRule,
    sink_broken: RawRule,
    running_over: RawRule,
    unused_limit: RawRule,
    replaced: RawRule,
    contested: RawRule,
}

impl Default for RawRules {
    fn default() -> Self {
        let on = |severity| RawRule { enabled: Some(true), severity: Some(severity) };
        RawRules {
            over_limit: on(Severity::Critical),
            outside_platform_range: on(Severity::Warning),
            unregistered: on(Severity::Warning),
            bypass: on(Severity::Info),
            over_initial: on(Severity::Info),
            unknown_value: on(Severity::Warning),
            unknown_removal: on(Severity::Warning),
            drift: on(Severity::Warning),
            missed_write: on(Severity::Warning),
            sink_broken: on(Severity::Critical),
            running_over: on(Severity::Info),
            unused_limit: on(Severity::Info),
            replaced: on(Severity::Warning),
            contested: on(Severity::Info),
        }
    }
}

impl RawRules {
    fn severity_of(&self, alert_type: AlertType) -> Option<Severity> {
        let rule = match alert_type {
            AlertType::OverLimit => &self.over_limit,
            AlertType::OutsidePlatformRange => &self.outside_platform_range,
            AlertType::Unregistered => &self.unregistered,
            AlertType::Bypass => &self.bypass,
            AlertType::OverInitial => &self.over_initial,
            AlertType::UnknownValue => &self.unknown_value,
            AlertType::UnknownRemoval => &self.unknown_removal,
            AlertType::Drift => &self.drift,
            AlertType::MissedWrite => &self.missed_write,
            AlertType::SinkBroken => &self.sink_broken,
            AlertType::RunningOver => &self.running_over,
            AlertType::UnusedLimit => &self.unused_limit,
            AlertType::Replaced => &self.replaced,
            AlertType::Contested => &self.contested,
        };
        rule.severity.filter(|_| rule.enabled == Some(true))
    }
}

/// Optional, because a rule in the file may give one of its keys; laid over the defaults, both are there.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct RawRule {
    enabled: Option<bool>,
    #[serde(with = "severity", skip_serializing_if = "Option::is_none")]
    severity: Option<Severity>,
}

/// A severity by its name.
mod severity {
    use serde::de::{Deserialize, Deserializer, Error};
    use serde::ser::Serializer;

    use crate::names::Named;
    use crate::policy::Severity;

    pub(super) fn serialize<S: Serializer>(severity: &Option<Severity>, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(severity.map_or("", Named::as_str))
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Severity>, D::Error> {
        String::deserialize(deserializer)?.parse().map(Some).map_err(D::Error::custom)
    }
}

/// The rules that judging goes by.
pub(super) fn policy(
    platform: &RawPlatform,
    actors: &RawActors,
    scope: &RawScope,
    rules: &RawRules,
    faults: &mut Faults,
) -> Policy {
    let RawPlatform { min_replicas, max_replicas, allow_zero } = *platform;
    if min_replicas < 0 {
        faults.add("platform.min_replicas", min_replicas.to_string(), "expected 0 or more".to_owned());
    } else if max_replicas < min_replicas || max_replicas > i64::from(i32::MAX) {
        let wanted = format!("expected from {min_replicas} (platform.min_replicas) to {}", i32::MAX);
        faults.add("platform.max_replicas", max_replicas.to_string(), wanted);
    }
    Policy {
        platform: min_replicas..=max_replicas,
        allow_zero,
        severity: Severities::from_fn(|alert_type| rules.severity_of(alert_type)),
        routes: Routes::new(&actors.pipeline, &actors.autoscaler, &actors.controller, &actors.proxies),
        scope: Scope::new(&scope.exclude_clusters, &scope.exclude_namespaces, &scope.exclude_deployments),
    }
}
