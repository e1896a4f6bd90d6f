//! What a delete leaves behind: finalizers hold an object, and the call's propagation policy adds or takes two of them.
//!
//! Source of truth: [garbage collection](https://kubernetes.io/docs/concepts/architecture/garbage-collection/) and the
//! store's `deletionFinalizersForGarbageCollection`.

use super::body::{Body, Metadata};
use super::method::Operation;
use super::write::ObjectState;

/// Holds an object until its dependents are gone.
const FOREGROUND: &str = "foregroundDeletion";

/// Holds an object until its dependents are told that they have no owner.
const ORPHAN: &str = "orphan";

/// Whether a finalizer is one that a propagation policy adds and takes.
pub(super) fn is_of_a_policy(finalizer: &str) -> bool {
    matches!(finalizer, FOREGROUND | ORPHAN)
}

/// What a delete does about the object's dependents.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Propagation {
    Background,
    Foreground,
    Orphan,
    /// Nothing is said: what stands in the object stays.
    AsItIs,
}

impl Propagation {
    fn of(options: &Body<'_>, group_version: &str) -> Self {
        match (options.propagation_policy.get(), options.orphan_dependents.get()) {
            (Some("Background"), _) | (None, Some("false")) => Propagation::Background,
            (Some("Foreground"), _) => Propagation::Foreground,
            (Some("Orphan"), _) | (None, Some("true")) => Propagation::Orphan,
            // What old versions of the API do by default.
            _ if matches!(group_version, "extensions/v1beta1" | "apps/v1beta1" | "apps/v1beta2") => Propagation::Orphan,
            _ => Propagation::AsItIs,
        }
    }

    /// Whether anything holds the object once the call is made.
    fn holds(self, metadata: &Metadata<'_>) -> bool {
        match self {
            Propagation::Foreground | Propagation::Orphan => true,
            Propagation::Background => metadata.finalizers.0.other,
            Propagation::AsItIs => metadata.finalizers.0.any,
        }
    }
}

/// A member of a `deletecollection`'s list, which shows the object as it was before the call.
pub(super) fn listed(item: &Metadata<'_>, options: &Body<'_>, group_version: &str) -> ObjectState {
    match Propagation::of(options, group_version).holds(item) {
        true => ObjectState::Terminating,
        false => ObjectState::Gone,
    }
}

/// The object as the answer to a call shows it; `None` when the answer shows no object.
pub(super) fn answered(operation: Operation, response: &Body<'_>) -> Option<ObjectState> {
    if response.is_status() {
        let gone = operation == Operation::Delete && response.outcome.get() == Some("Success");
        return gone.then_some(ObjectState::Gone);
    }
    let metadata = response.metadata()?;
    let held = metadata.finalizers.0.any;
    Some(match (metadata.deletion_timestamp.get().is_some() || operation == Operation::Delete, held) {
        (false, _) => ObjectState::Live,
        (true, true) => ObjectState::Terminating,
        (true, false) => ObjectState::Gone,
    })
}
