//! Admission policies that hold limits: for clusters in which what is past a limit is refused, not only told. Pure.
//!
//! All of them ask the same of Deployments, of `/scale` and of the maxima of HPAs: what is asked for is within the limit, or
//! no more than before. So nobody is kept from changing something else of a Deployment that is over, or from lowering it.
//! Who has no limit is let through, as is what cannot be decided.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use super::Deployment;
use super::limits::Limits;
use crate::names::named;
use crate::ped::Cluster;
use chrono::{DateTime, Utc};

named! {
    /// Who holds a policy.
    pub enum Engine {
        /// Kubernetes itself, from 1.30: <https://kubernetes.io/docs/reference/access-authn-authz/validating-admission-policy/>.
        Vap = "vap",
        /// Kyverno, from 1.17: <https://kyverno.io/docs/policy-types/validating-policy/>.
        Kyverno = "kyverno",
        /// OPA Gatekeeper, from 3.20: <https://open-policy-agent.github.io/gatekeeper/website/docs/howto/>.
        Gatekeeper = "gatekeeper",
    }
}

named! {
    /// What becomes of what is past a limit.
    pub enum Action {
        /// It is refused.
        Deny = "deny",
        /// Whoever asked is warned.
        Warn = "warn",
        /// It is noted where the engine keeps its notes.
        Audit = "audit",
    }
}

/// What an object of Kubernetes may hold, with room for the rest of it: etcd takes 1.5 MiB, a ConfigMap 1 MiB.
const LIMITS_MAX_BYTES: usize = 1_000_000;

/// The limits of a cluster at a time, by namespace and name.
pub fn limits_of(limits: &Limits, cluster: Cluster<'_>, now: DateTime<Utc>) -> BTreeMap<Deployment, i64> {
    let known = limits.in_force(cluster, now);
    let limit = |(namespace, deployment): (&str, &str)| {
        let limit = limits.at(cluster, namespace, deployment, now)?;
        Some(((namespace.to_owned(), deployment.to_owned()), limit.max_replicas))
    };
    known.filter_map(limit).collect()
}

/// The manifests of a policy, as YAML. `namespace` is where a ConfigMap holds the limits, for those engines that read one.
///
/// # Errors
/// Where one object cannot hold so many limits.
pub fn manifests(
    engine: Engine,
    action: Action,
    namespace: &str,
    limits: &BTreeMap<Deployment, i64>,
) -> Result<String, String> {
    let mut lines = String::new();
    for ((namespace, deployment), limit) in limits {
        // Neither name may hold an underscore. A number alone is none that a ConfigMap takes.
        let quote = if engine == Engine::Gatekeeper { "" } else { "\"" };
        // Writing to a text cannot fail.
        let _ = writeln!(lines, "\"{namespace}_{deployment}\": {quote}{limit}{quote}");
    }
    if lines.len() > LIMITS_MAX_BYTES {
        let (bytes, count) = (lines.len(), limits.len());
        return Err(format!(
            "{count} limits are {bytes} bytes; expected {LIMITS_MAX_BYTES} at most, for one object of Kubernetes holds them"
        ));
    }
    let action = match (engine, action) {
        (Engine::Gatekeeper, Action::Deny) => "deny",
        (Engine::Gatekeeper, Action::Warn) => "warn",
        (Engine::Gatekeeper, Action::Audit) => "dryrun",
        (_, Action::Deny) => "Deny",
        (_, Action::Warn) => "Warn",
        (_, Action::Audit) => "Audit",
    };
    let parts = [
        ("{limits}", lines.as_str()),
        ("{rego}", include_str!("policy/limits.rego")),
        ("{resources}", include_str!("policy/resources.yaml")),
        ("{variables}", include_str!("policy/cel.yaml")),
        ("{validation}", include_str!("policy/validation.yaml")),
        ("{namespace}", namespace),
        ("{action}", action),
    ];
    let template = match engine {
        Engine::Vap => concat!(include_str!("policy/limits.yaml"), include_str!("policy/vap.yaml")),
        Engine::Kyverno => concat!(include_str!("policy/limits.yaml"), include_str!("policy/kyverno.yaml")),
        Engine::Gatekeeper => include_str!("policy/gatekeeper.yaml"),
    };
    Ok(template.lines().map(|line| filled(line, &parts)).collect())
}

/// A line of a template: where a part stands alone in it, each line of that is indented as it is.
fn filled(line: &str, parts: &[(&str, &str)]) -> String {
    let name = line.trim_start();
    let indent = line.split_at(line.len() - name.len()).0;
    if let Some((_, part)) = parts.iter().find(|(known, _)| *known == name) {
        let indented = |line: &str| if line.is_empty() { "\n".to_owned() } else { format!("{indent}{line}\n") };
        return part.lines().map(indented).collect();
    }
    let line = parts.iter().fold(
        line.to_owned(),
        |line, (name, part)| {
            if line.contains(name) { line.replace(name, part) } else { line }
        },
    );
    line + "\n"
}
