//! Whom it does not concern: what is recorded, and neither alerted about nor billed.

use super::actors::Pattern;
use crate::audit::Write;
use crate::ped::Cluster;

/// Patterns of what is left out: `*` any text, `?` any character.
#[derive(Debug, Clone, Default)]
pub struct Scope {
    clusters: Vec<Pattern>,
    namespaces: Vec<Pattern>,
    deployments: Vec<Pattern>,
}

impl Scope {
    /// Takes patterns of clusters (`NAME` or `projects/P/locations/L/clusters/C`), namespaces, and Deployments
    /// (`NAMESPACE/NAME`).
    pub fn new(clusters: &[String], namespaces: &[String], deployments: &[String]) -> Self {
        let patterns = |texts: &[String]| texts.iter().map(|text| Pattern::new(text)).collect();
        Scope { clusters: patterns(clusters), namespaces: patterns(namespaces), deployments: patterns(deployments) }
    }

    /// Whether a write concerns anybody.
    pub fn holds(&self, write: &Write<'_>) -> bool {
        let cluster = Cluster {
            project: write.project_id.unwrap_or_default(),
            location: write.location.unwrap_or_default(),
            name: write.cluster_name,
        };
        self.holds_object(cluster, write.namespace, write.deployment_name.or(write.object_name))
    }

    /// Whether an object concerns anybody: a Deployment, or what has no Deployment.
    pub fn holds_object(&self, cluster: Cluster<'_>, namespace: &str, name: Option<&str>) -> bool {
        let any = |patterns: &[Pattern], name: &str| patterns.iter().any(|pattern| pattern.matches(name));
        let left_out = any(&self.namespaces, namespace)
            || any(&self.clusters, cluster.name)
            || !self.clusters.is_empty() && any(&self.clusters, &cluster.to_string())
            || !self.deployments.is_empty()
                && name.is_some_and(|name| any(&self.deployments, &format!("{namespace}/{name}")));
        !left_out
    }
}
