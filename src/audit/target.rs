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
        let group = reference.api_version.get().and_then(|version| version.rsplit_once('/')).map(|(group, _)| group);
        if !kind.eq_ignore_ascii_case("deployment") {
            return Target::Other;
        }
        match group {
            Some("apps") => Target::Deployment { name, found: Some(matches!(kind, "Deployment" | "deployment")) },
            // "no matches for kind": a Deployment is meant, and nothing is scaled until the reference is mended.
            None | Some("extensions") => Target::Deployment { name, found: Some(false) },
            Some(_) => Target::Other,
        }
    }
}
