//! Whom it does not concern: what is recorded, and neither alerted about nor billed.

use super::actors::Pattern;
use crate::audit::Write;

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
        let any = |patterns: &[Pattern], name: &str| patterns.iter().any(|pattern| pattern.matches(name));
        let deployment =
            || write.deployment_name.or(write.object_name).map(|name| format!("{}/{name}", write.namespace));
        let cluster = || match (write.project_id, write.location) {
            (Some(project), Some(location)) => {
                format!("projects/{project}/locations/{location}/clusters/{}", write.cluster_name)
            }
            _ => write.cluster_name.to_owned(),
        };
        let left_out = any(&self.namespaces, write.namespace)
            || any(&self.clusters, write.cluster_name)
            || !self.clusters.is_empty() && any(&self.clusters, &cluster())
            || !self.deployments.is_empty() && deployment().is_some_and(|name| any(&self.deployments, &name));
        !left_out
    }
}
