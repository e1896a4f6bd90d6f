//! Who made the call, and what kind of principal that is.

use super::entry::AuthenticationInfo;
use crate::names::named;

/// The principal of a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Actor<'a> {
    /// The name as Logging gives it; `unknown` when it gives none.
    pub name: &'a str,
    /// Which field of `authenticationInfo` held it.
    pub field: &'static str,
    /// What the name's form says about the principal.
    pub kind: ActorKind,
    /// Whom it impersonates (`authoritySelector`).
    pub on_behalf_of: Option<&'a str>,
}

named! {
    /// What kind of principal an actor is. Never a guess: what no rule recognises is `Unknown`, not a person.
    pub enum ActorKind {
        /// A person's Google account.
        User = "user",
        /// A Google service account, `….gserviceaccount.com`.
        GcpServiceAccount = "gcp_service_account",
        /// `system:serviceaccount:<namespace>:<name>`, or its workload-identity form `….svc.id.goog[<namespace>/<name>]`.
        KubernetesServiceAccount = "kubernetes_service_account",
        /// A Kubernetes component: `system:…` or a kubelet.
        System = "system",
        /// A workforce or workload identity, `principal://…`.
        Federated = "federated",
        /// `system:anonymous`.
        Anonymous = "anonymous",
        /// None of the above.
        Unknown = "unknown",
    }
}

/// The controller that empties a namespace which is being deleted.
const NAMESPACE_CONTROLLER: &str = "system:serviceaccount:kube-system:namespace-controller";

impl Actor<'_> {
    /// Whether this is the controller that empties a deleted namespace.
    pub(super) fn empties_namespaces(&self) -> bool {
        self.name == NAMESPACE_CONTROLLER
    }
}

/// Takes the first of `principalEmail` and `principalSubject` that is there. `authoritySelector` names whom the caller
/// impersonates, which the API server has checked that it may.
pub(super) fn actor<'e>(info: Option<&'e AuthenticationInfo<'_>>) -> Actor<'e> {
    let on_behalf_of = info.and_then(|info| info.authority_selector.get());
    let (name, field) = info
        .and_then(|info| {
            let email = info.principal_email.get().map(|name| (name, "principalEmail"));
            email.or_else(|| info.principal_subject.get().map(|name| (name, "principalSubject")))
        })
        .unwrap_or(("unknown", "nothing"));
    Actor { name, field, kind: kind_of(name), on_behalf_of }
}

impl ActorKind {
    /// The kind of principal that a name is one of.
    pub fn of(name: &str) -> Self {
        kind_of(name)
    }
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
    } else if ends_with_domain(bare, ".gserviceaccount.com") {
        ActorKind::GcpServiceAccount
    } else if bare.split_once('@').is_some_and(|(local, domain)| !local.is_empty() && domain.contains('.')) {
        ActorKind::User
    } else {
        ActorKind::Unknown
    }
}

/// Domains compare without case.
fn ends_with_domain(name: &str, domain: &str) -> bool {
    let tail = name.len().checked_sub(domain.len()).and_then(|at| name.get(at..));
    tail.is_some_and(|tail| tail.eq_ignore_ascii_case(domain))
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
            ("deployer@acme-prod.iam.GServiceAccount.com", ActorKind::GcpServiceAccount),
            ("kubernetes-admin", ActorKind::Unknown),
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
