//! What an HPA aims at, and whether its controller finds it.
//!
//! The controller looks the reference's kind and group up in discovery, which knows `Deployment` and, for kubectl's
//! sake, `deployment`, in the group `apps` alone: client-go's `restmapper/discovery.go`.

use super::body::{Body, TargetRef};

/// What an HPA aims at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Target<'e> {
    /// A Deployment; whether it is found, where the reference is whole enough to tell.
    Deployment { name: &'e str, found: Option<bool> },
    /// Something else: none of ours.
    Other,
    /// No body says it.
    Unsaid,
}

impl<'e> Target<'e> {
    /// From the response, else from the request.
    pub(super) fn of(response: &'e Body<'_>, request: &'e Body<'_>) -> Self {
        let reference = |body: &'e Body<'_>| body.spec.as_ref()?.scale_target_ref.0.as_ref();
        reference(response).or_else(|| reference(request)).map_or(Target::Unsaid, Target::read)
    }

    fn read(reference: &'e TargetRef<'_>) -> Self {
        let Some(name) = reference.name.get() else { return Target::Unsaid };
        // A patch may name the target alone; what it leaves out stays as it is.
        let Some(kind) = reference.kind.get() else { return Target::Deployment { name, found: None } };
        let group = reference.api_version.get().and_then(group_of);
        if !kind.eq_ignore_ascii_case("deployment") {
            return Target::Other;
        }
        match group {
            // "no matches for kind" where it is not found: a Deployment is meant, and nothing is scaled until that is mended.
            Some("apps" | "extensions") | None => {
                Target::Deployment { name, found: Some(finds_deployment(group, kind)) }
            }
            Some(_) => Target::Other,
        }
    }
}

/// The group of an `apiVersion`; the core group has none.
pub(crate) fn group_of(api_version: &str) -> Option<&str> {
    api_version.rsplit_once('/').map(|(group, _)| group)
}

/// Whether the controller of an HPA finds a Deployment by a kind in a group.
pub(crate) fn finds_deployment(group: Option<&str>, kind: &str) -> bool {
    group == Some("apps") && matches!(kind, "Deployment" | "deployment")
}
