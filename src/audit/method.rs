//! What a call was: `methodName` tells the verb, the resource and the subresource, `resourceName` the rest.
//!
//! `methodName` is `io.k8s.<reversed group>.<version>.<plural>[.<subresource>].<verb>`; `resourceName` is
//! `<group>/<version>/namespaces/<namespace>/<plural>[/<name>[/<subresource>]]`. The group is taken from the latter,
//! because method names spell some groups backwards (`io.k8s.authorization.rbac.v1…`).

use super::Ignored;
use crate::names::{Named, named};

named! {
    /// The kinds of objects whose writes can change what a Deployment may use.
    pub enum ObjectKind {
        /// `apps/* Deployment` (or the `extensions/v1beta1` one of old clusters), its `/scale` included.
        Deployment = "Deployment",
        /// `autoscaling/* HorizontalPodAutoscaler`.
        HorizontalPodAutoscaler = "HorizontalPodAutoscaler",
        /// A whole cluster, whose deletion ends all that is in it.
        Cluster = "Cluster",
    }
}

named! {
    /// What was done to the object.
    pub enum Operation {
        /// POST of a whole object.
        Create = "create",
        /// PUT of a whole object.
        Update = "update",
        /// PATCH: strategic, merge, JSON or apply. An apply creates what is not there.
        Patch = "patch",
        /// A write to the `/scale` subresource, by PATCH or PUT.
        Scale = "scale",
        /// DELETE of one object.
        Delete = "delete",
        /// DELETE of all objects that a selector finds.
        DeleteCollection = "delete_collection",
    }
}

impl Operation {
    /// Whether it is a DELETE. The object may be there afterwards: finalizers hold it.
    pub fn removes(self) -> bool {
        matches!(self, Operation::Delete | Operation::DeleteCollection)
    }
}

/// A write to a watched resource, as its names tell it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Call<'a> {
    pub(crate) kind: ObjectKind,
    pub(crate) operation: Operation,
    /// A write to `/status`: it changes no watched field.
    pub(crate) is_status: bool,
    /// The body is a delta. Otherwise it is a whole object, in which a missing field means its default.
    pub(crate) is_patch: bool,
    /// `apps/v1`; empty where `resourceName` is missing.
    pub(crate) group_version: &'a str,
    pub(crate) namespace: Option<&'a str>,
    /// Missing with `generateName` and `deletecollection`.
    pub(crate) name: Option<&'a str>,
}

impl Call<'_> {
    /// The kind of the object that the call answers.
    pub(crate) fn kind_name(&self) -> &'static str {
        self.kind.as_str()
    }
}

/// Reads both names, or says why the call cannot change what is watched.
pub(crate) fn classify<'a>(method_name: &'a str, resource_name: &'a str) -> Result<Call<'a>, Ignored> {
    let mut from_the_right = method_name.rsplit('.');
    let verb = from_the_right.next().unwrap_or_default();
    let mut plural = from_the_right.next().unwrap_or_default();
    let mut subresource = None;
    if !matches!(plural, "deployments" | "horizontalpodautoscalers") {
        subresource = Some(plural);
        plural = from_the_right.next().unwrap_or_default();
    }
    let path = Path::of(resource_name);
    let group = path.group.unwrap_or_else(|| group_in(method_name));
    let kind = match (group, plural) {
        ("apps" | "extensions", "deployments") => ObjectKind::Deployment,
        ("autoscaling", "horizontalpodautoscalers") => ObjectKind::HorizontalPodAutoscaler,
        _ => return Err(Ignored::OtherResource),
    };
    let is_patch = verb == "patch";
    let operation = match (kind, subresource, verb) {
        (_, _, "get" | "list" | "watch") => return Err(Ignored::Read),
        (_, Some("status"), "update") => Operation::Update,
        (_, Some("status"), "patch") => Operation::Patch,
        (ObjectKind::Deployment, Some("scale"), "update" | "patch") => Operation::Scale,
        (_, Some(_), _) => return Err(Ignored::OtherResource),
        (_, None, "create") => Operation::Create,
        (_, None, "update") => Operation::Update,
        (_, None, "patch") => Operation::Patch,
        (_, None, "delete") => Operation::Delete,
        (_, None, "deletecollection") => Operation::DeleteCollection,
        _ => return Err(Ignored::OtherResource),
    };
    let is_status = subresource == Some("status");
    Ok(Call {
        kind,
        operation,
        is_status,
        is_patch,
        group_version: path.group_version,
        namespace: path.namespace,
        name: path.name,
    })
}

/// The group inside a method name, for an entry without `resourceName`. The two watched groups are single words, so
/// it does not matter which way round the name spells them.
fn group_in(method_name: &str) -> &str {
    method_name.strip_prefix("io.k8s.").and_then(|rest| rest.split('.').next()).unwrap_or_default()
}

#[derive(Default)]
struct Path<'a> {
    group: Option<&'a str>,
    group_version: &'a str,
    namespace: Option<&'a str>,
    name: Option<&'a str>,
}

impl<'a> Path<'a> {
    fn of(resource_name: &'a str) -> Self {
        let mut parts = resource_name.split('/').filter(|part| !part.is_empty());
        let group = parts.next();
        let second_slash = resource_name.match_indices('/').nth(1).map_or(resource_name.len(), |(at, _)| at);
        let group_version = resource_name.get(..second_slash).unwrap_or_default();
        let mut path = Path { group, group_version, ..Path::default() };
        if let (Some(_version), Some("namespaces")) = (parts.next(), parts.next()) {
            path.namespace = parts.next();
            let _plural = parts.next();
            path.name = parts.next();
        }
        path
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn call(method: &'static str, resource: &'static str) -> Result<(ObjectKind, Operation), Ignored> {
        classify(method, resource).map(|call| (call.kind, call.operation))
    }

    #[test]
    fn every_watched_write_is_recognised_whatever_its_version() {
        use ObjectKind::{Deployment, HorizontalPodAutoscaler as Hpa};
        let deployment = "apps/v1/namespaces/shop/deployments/cart";
        for (method, operation) in [
            ("io.k8s.apps.v1.deployments.create", Operation::Create),
            ("io.k8s.apps.v1beta2.deployments.update", Operation::Update),
            ("io.k8s.extensions.v1beta1.deployments.patch", Operation::Patch),
            ("io.k8s.apps.v1.deployments.scale.update", Operation::Scale),
            ("io.k8s.apps.v1.deployments.scale.patch", Operation::Scale),
            ("io.k8s.apps.v1.deployments.delete", Operation::Delete),
            ("io.k8s.apps.v1.deployments.deletecollection", Operation::DeleteCollection),
        ] {
            assert_eq!(call(method, deployment), Ok((Deployment, operation)), "{method}");
        }
        let hpa = "autoscaling/v2/namespaces/shop/horizontalpodautoscalers/cart";
        assert_eq!(call("io.k8s.autoscaling.v2.horizontalpodautoscalers.patch", hpa), Ok((Hpa, Operation::Patch)));
    }

    #[test]
    fn what_cannot_change_a_replica_count_says_why() {
        for (method, resource, reason) in [
            ("io.k8s.apps.v1.deployments.get", "apps/v1/namespaces/n/deployments/d", Ignored::Read),
            ("io.k8s.apps.v1.deployments.scale.get", "apps/v1/namespaces/n/deployments/d/scale", Ignored::Read),
            (
                "io.k8s.apps.v1.statefulsets.scale.patch",
                "apps/v1/namespaces/n/statefulsets/d/scale",
                Ignored::OtherResource,
            ),
            ("io.k8s.apps.v1.replicasets.update", "apps/v1/namespaces/n/replicasets/d", Ignored::OtherResource),
            ("io.example.v1.deployments.update", "example.io/v1/namespaces/n/deployments/d", Ignored::OtherResource),
            (
                "io.k8s.extensions.v1beta1.deployments.rollback.create",
                "extensions/v1beta1/namespaces/n/deployments/d/rollback",
                Ignored::OtherResource,
            ),
            ("io.k8s.core.v1.pods.delete", "core/v1/namespaces/deployments/pods/p", Ignored::OtherResource),
            ("", "", Ignored::OtherResource),
        ] {
            assert_eq!(classify(method, resource), Err(reason), "{method}");
        }
    }

    #[test]
    fn a_missing_resource_name_leaves_only_the_name_open() {
        let call = classify("io.k8s.apps.v1.deployments.create", "").expect("a watched call");
        assert_eq!((call.kind, call.namespace, call.name), (ObjectKind::Deployment, None, None));
    }
}
