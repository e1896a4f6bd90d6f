//! The PED: what a team applies for. A versioned YAML form, its validation, and the history of what was registered.
//!
//! The form's JSON Schema, for editors, is [`SCHEMA`]; a test holds it against the validation here.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde_json::{Value as Json, json};

pub mod history;
pub mod quantity;
mod yaml;

pub use yaml::parse;

/// The JSON Schema (2020-12) of a PED file.
pub const SCHEMA: &str = include_str!("ped/ped.schema.json");

/// Which Deployment something is about. Without a cluster it stands for the Deployment of that name in any cluster.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Subject {
    /// Kubernetes namespace.
    pub namespace: String,
    /// Name of the Deployment.
    pub deployment: String,
    /// Name of the cluster; `None` for any.
    pub cluster: Option<String>,
}

impl std::fmt::Display for Subject {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}/{}", self.namespace, self.deployment)?;
        self.cluster.as_ref().map_or(Ok(()), |cluster| write!(f, " in cluster {cluster}"))
    }
}

/// One valid application.
#[derive(Debug, Clone, PartialEq)]
pub struct Ped {
    /// What it is for.
    pub subject: Subject,
    /// Who is charged for it; `user_id` in the tables.
    pub owner: String,
    /// The least replicas the team wants.
    pub min_replicas: Option<i64>,
    /// The most replicas the team may use: the limit.
    pub max_replicas: i64,
    /// Container image.
    pub image: Option<String>,
    /// `resources.limits`, as Kubernetes quantities.
    pub limits: BTreeMap<String, String>,
    /// `resources.requests`, as Kubernetes quantities.
    pub requests: BTreeMap<String, String>,
    /// Environment variables.
    pub environment: BTreeMap<String, String>,
    /// Volumes by name; the rest is the team's own.
    pub volumes: BTreeMap<String, Json>,
}

impl Ped {
    /// What is recorded of it, as the document between which `change_patch` is taken.
    pub fn recorded(&self) -> Json {
        json!({
            "owner": self.owner,
            "minReplicas": self.min_replicas,
            "maxReplicas": self.max_replicas,
            "image": self.image,
            "limits": self.limits,
            "requests": self.requests,
            "environment": self.environment,
            "volumes": self.volumes,
        })
    }
}

/// Something wrong in a PED file.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Fault {
    /// The file.
    pub file: PathBuf,
    /// Line, from 1.
    pub line: usize,
    /// The key, dotted; empty for the document.
    pub key: String,
    /// What it is and what would be right.
    pub message: String,
}

impl std::fmt::Display for Fault {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}:{}: ", self.file.display(), self.line)?;
        if !self.key.is_empty() {
            write!(f, "{} ", self.key)?;
        }
        f.write_str(&self.message)
    }
}

/// A PED and the place of its document.
#[derive(Debug, Clone)]
pub struct Located {
    /// The application.
    pub ped: Ped,
    /// The file it stands in.
    pub file: PathBuf,
    /// The line it begins on, from 1.
    pub line: usize,
}

/// Reads many texts as one set: all applications, or all faults, duplicates among the files included.
///
/// `platform` is the range of replicas that the platform allows.
///
/// # Errors
/// Every fault, in the order of the files and their lines.
pub fn parse_all<'t>(
    texts: impl IntoIterator<Item = (&'t Path, &'t str)>,
    platform: &std::ops::RangeInclusive<i64>,
) -> Result<Vec<Located>, Vec<Fault>> {
    let mut located: Vec<Located> = Vec::new();
    let mut faults = Vec::new();
    let mut first: BTreeMap<Subject, (PathBuf, usize)> = BTreeMap::new();
    for (file, text) in texts {
        let (found, wrong) = parse(file, text, platform);
        faults.extend(wrong);
        for (subject, line) in found.iter().map(|found| (&found.ped.subject, found.line)) {
            match first.get(subject) {
                Some((other, other_line)) => faults.push(Fault {
                    file: file.to_owned(),
                    line,
                    key: "metadata".to_owned(),
                    message: format!(
                        "applies for {subject}, as {}:{other_line} does; one of them would go",
                        other.display()
                    ),
                }),
                None => {
                    first.insert(subject.clone(), (file.to_owned(), line));
                }
            }
        }
        located.extend(found);
    }
    if faults.is_empty() { Ok(located) } else { Err(faults) }
}
