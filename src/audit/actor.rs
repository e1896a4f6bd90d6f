//! Who made the call, and what kind of principal that is.

use std::fmt;

use super::entry::AuthenticationInfo;

/// The principal of a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Actor<'a> {
    /// The name as Logging gives it; `unknown` when it gives none.
    pub name: &'a str,
    /// Which field of `authenticationInfo` held it.
    pub field: &'static str,
    /// What the name's form says about the principal.
    pub kind: ActorKind,
}

/// What kind of principal an actor is. Never a guess: what no rule recognises is `Unknown`, not a person.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ActorKind {
    /// A person's Google account.
    User,
    /// A Google service account, `….gserviceaccount.com`.
    GcpServiceAccount,
    /// `system:serviceaccount:<namespace>:<name>`, or its workload-identity form `….svc.id.goog[<namespace>/<name>]`.
    KubernetesServiceAccount,
    /// A Kubernetes component: `system:…` or a kubelet.
    System,
    /// A workforce or workload identity, `principal://…`.
    Federated,
    /// `system:anonymous`.
    Anonymous,
    /// None of the above.
    Unknown,
}

impl ActorKind {
    /// The name used in the tables.
    pub fn as_str(self) -> &'static str {
        match self {
            ActorKind::User => "user",
            ActorKind::GcpServiceAccount => "gcp_service_account",
            ActorKind::KubernetesServiceAccount => "kubernetes_service_account",
            ActorKind::System => "system",
            ActorKind::Federated => "federated",
            ActorKind::Anonymous => "anonymous",
            ActorKind::Unknown => "unknown",
        }
    }
}

impl fmt::Display for ActorKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Takes the first of `principalEmail`, `principalSubject` and `authoritySelector` that is there.
pub(super) fn actor<'e>(info: Option<&'e AuthenticationInfo<'_>>) -> Actor<'e> {
    info.and_then(|info| {
        [
            (info.principal_email.get(), "principalEmail"),
            (info.principal_subject.get(), "principalSubject"),
            (info.authority_selector.get(), "authoritySelector"),
        ]
        .into_iter()
        .find_map(|(name, field)| name.map(|name| Actor { name, field, kind: kind_of(name) }))
    })
    .unwrap_or(Actor { name: "unknown", field: "nothing", kind: ActorKind::Unknown })
}

fn kind_of(name: &str) -> ActorKind {
    // principalSubject may carry IAM's member prefixes.
    let bare = name.strip_prefix("serviceAccount:").or_else(|| name.strip_prefix("user:")).unwrap_or(name);
    if bare == "system:anonymous" {
        ActorKind::Anonymous
    } else if bare.starts_with("system:serviceaccount:") || bare.contains(".svc.id.goog[") {
        ActorKind::KubernetesServiceAccount
    } else if bare.starts_with("system:") || bare.starts_with("kubelet") && !bare.contains('@') {
        ActorKind::System
    } else if bare.starts_with("principal://") || bare.starts_with("principalSet://") {
        ActorKind::Federated
    } else if bare.ends_with(".gserviceaccount.com") {
        ActorKind::GcpServiceAccount
    } else if bare.split_once('@').is_some_and(|(local, domain)| !local.is_empty() && domain.contains('.')) {
        ActorKind::User
    } else {
        ActorKind::Unknown
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn principals_seen_in_captures_are_told_apart() {
        for (name, kind) in [
            ("alice@example.com", ActorKind::User),
            ("user:alice@example.com", ActorKind::User),
            ("deployer@acme-prod.iam.gserviceaccount.com", ActorKind::GcpServiceAccount),
            ("000000000000-compute@developer.gserviceaccount.com", ActorKind::GcpServiceAccount),
            ("000000000000@cloudbuild.gserviceaccount.com", ActorKind::GcpServiceAccount),
            ("acme-prod@appspot.gserviceaccount.com", ActorKind::GcpServiceAccount),
            ("serviceAccount:acme-prod.svc.id.goog[argocd/controller]", ActorKind::KubernetesServiceAccount),
            ("system:serviceaccount:kube-system:horizontal-pod-autoscaler", ActorKind::KubernetesServiceAccount),
            ("system:addon-manager", ActorKind::System),
            ("system:node:gke-prod-1-pool-1-abcd", ActorKind::System),
            ("kubelet-nodepool-bootstrap", ActorKind::System),
            ("system:anonymous", ActorKind::Anonymous),
            ("principal://iam.googleapis.com/locations/global/workforcePools/acme/subject/alice", ActorKind::Federated),
            ("somebody", ActorKind::Unknown),
            ("@", ActorKind::Unknown),
        ] {
            assert_eq!(kind_of(name), kind, "{name}");
        }
    }
}
