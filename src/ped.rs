//! The PED: what a team applies for. A versioned YAML form and its validation, what is registered of it, and the limit
//! that was in force when.
//!
//! The form's JSON Schema, for editors, is [`SCHEMA`]; a test holds it against the validation here.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use serde_json::Value as Json;

mod clusters;
pub mod contacts;
pub mod diff;
mod documents;
mod exceptions;
pub mod limits;
pub mod policy;
pub mod proposal;
pub mod quantity;
pub mod retirement;
pub mod standing;
pub mod version;
mod yaml;

pub use clusters::{Cluster, Clusters};
use contacts::Contacts;
pub use yaml::parse;

/// The JSON Schema (2020-12) of a PED file.
pub const SCHEMA: &str = include_str!("ped/ped.schema.json");

/// Namespace and name of a Deployment, in whichever cluster.
pub type Deployment = (String, String);

/// Which Deployment something is about, in which clusters.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Subject {
    /// Kubernetes namespace.
    pub namespace: String,
    /// Name of the Deployment.
    pub deployment: String,
    /// The clusters.
    pub clusters: Clusters,
}

impl Subject {
    /// The Deployment, in whichever cluster.
    pub fn deployment(&self) -> Deployment {
        (self.namespace.clone(), self.deployment.clone())
    }
}

impl std::fmt::Display for Subject {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}/{}", self.namespace, self.deployment)?;
        match &self.clusters {
            Clusters::Any => Ok(()),
            clusters => write!(f, " in cluster {clusters}"),
        }
    }
}

/// One valid application.
#[derive(Debug, Clone, PartialEq)]
pub struct Ped {
    /// What it is for.
    pub subject: Subject,
    /// What is applied for.
    pub terms: Terms,
    /// The times for which another maximum is applied for, in their order; no two overlap.
    pub exceptions: Vec<Exception>,
}

/// A maximum for some time, which stands above that of the versions then: a sales week, a migration.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Exception {
    /// When it begins, to the microsecond.
    pub from: DateTime<Utc>,
    /// When it ends, to the microsecond; later than `from`.
    pub until: DateTime<Utc>,
    /// The most replicas meanwhile.
    pub max_replicas: i64,
    /// Why.
    pub reason: String,
}

/// What is applied for, and recorded of it. Its JSON is the document between which `change_patch` is taken.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Terms {
    /// Who is charged for it; `user_id` in the tables.
    pub owner: String,
    /// The least replicas the team wants.
    pub min_replicas: Option<i64>,
    /// The most replicas the team may use: the limit. `None` where the Deployment is retired.
    pub max_replicas: Option<i64>,
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
    /// Where the team hears of it. Versions that say nothing have the ids that they always had.
    #[serde(default, skip_serializing_if = "Contacts::is_empty")]
    pub notify: Contacts,
}

impl Terms {
    /// As a document.
    pub fn json(&self) -> Json {
        // Texts and numbers under keys that are texts: this cannot fail.
        serde_json::to_value(self).unwrap_or_default()
    }
}

/// A place in a file, as editors and compilers name it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Place {
    /// Line, from 1.
    pub line: usize,
    /// Column in characters, from 1.
    pub column: usize,
}

impl Place {
    /// Where a file begins.
    pub const BEGIN: Place = Place { line: 1, column: 1 };

    /// Where a text goes on.
    pub fn behind(text: &str) -> Self {
        let last = text.rsplit('\n').next().unwrap_or_default();
        Place { line: text.split('\n').count(), column: 1 + last.chars().count() }
    }
}

impl std::fmt::Display for Place {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}:{}", self.line, self.column)
    }
}

/// Something wrong in a PED file.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Fault {
    /// The file.
    pub file: PathBuf,
    /// Where in it.
    pub place: Place,
    /// The key, dotted; empty for the document.
    pub key: String,
    /// What it is and what would be right.
    pub message: String,
}

impl std::fmt::Display for Fault {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}:{}: {}", self.file.display(), self.place, self.text())
    }
}

impl Fault {
    /// What is wrong, without where.
    pub fn text(&self) -> String {
        if self.key.is_empty() { self.message.clone() } else { format!("{} {}", self.key, self.message) }
    }
}

/// A PED and its place.
#[derive(Debug, Clone)]
pub struct Located {
    /// The application.
    pub ped: Ped,
    /// The file it stands in.
    pub file: PathBuf,
    /// Where it names its Deployment.
    pub place: Place,
}

/// Most faults that are told at once: more than anybody mends before they validate again.
const FAULTS_MAX: usize = 1_000;

/// Reads many texts as one set: all applications, or all faults, duplicates among the files included.
///
/// `platform` is the range of replicas that the platform allows.
///
/// # Errors
/// Every fault, in the order of the files and the places in them; of more than a thousand the first.
pub fn parse_all<'t>(
    texts: impl IntoIterator<Item = (&'t Path, &'t str)>,
    platform: &std::ops::RangeInclusive<i64>,
) -> Result<Vec<Located>, Vec<Fault>> {
    let mut located: Vec<Located> = Vec::new();
    let mut faults = Vec::new();
    let mut first: BTreeMap<Subject, (PathBuf, Place)> = BTreeMap::new();
    for (file, text) in texts {
        let (found, wrong) = parse(file, text, platform);
        faults.extend(wrong);
        if faults.len() >= FAULTS_MAX {
            faults.sort();
            let message =
                format!("and what follows was not looked at; expected the {FAULTS_MAX} faults before mended first");
            faults.truncate(FAULTS_MAX);
            faults.push(Fault { file: file.to_owned(), place: Place::BEGIN, key: String::new(), message });
            return Err(faults);
        }
        for (subject, place) in found.iter().map(|found| (&found.ped.subject, found.place)) {
            match first.get(subject) {
                Some((other, other_place)) => faults.push(Fault {
                    file: file.to_owned(),
                    place,
                    key: "metadata".to_owned(),
                    message: format!(
                        "applies for {subject}, as {}:{other_place} does; expected one of them",
                        other.display()
                    ),
                }),
                None => {
                    first.insert(subject.clone(), (file.to_owned(), place));
                }
            }
        }
        located.extend(found);
    }
    faults.sort();
    if faults.is_empty() { Ok(located) } else { Err(faults) }
}
