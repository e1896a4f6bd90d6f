//! The document: what is known of a Deployment and what was told about it.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

use super::hpa::HpaStanding;
use super::known::{Known, Standing};
use super::once::Once;
use crate::audit::ObjectKind;
use crate::id;
use crate::names::{self, Named};
use crate::policy::{AlertType, Severity};

/// Which Deployment it is, of all clusters.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Default, Serialize, Deserialize)]
pub struct Deployment {
    /// Google Cloud project of the cluster; may be empty.
    pub project: String,
    /// Region or zone of the cluster; may be empty.
    pub location: String,
    /// Name of the cluster.
    pub cluster: String,
    /// Kubernetes namespace.
    pub namespace: String,
    /// Name of the Deployment.
    pub name: String,
}

impl Deployment {
    /// The key of its document.
    pub fn key(&self) -> String {
        id::id(&self.parts())
    }

    /// The key of the document of an HPA that is named so.
    pub fn hpa_key(&self) -> String {
        id_of("hpa", &self.parts())
    }

    /// The Deployment of another name beside it.
    pub fn beside(&self, name: &str) -> Deployment {
        Deployment { name: name.to_owned(), ..self.clone() }
    }

    /// What it is in: its cluster, and its namespace.
    pub fn places(&self) -> [String; 2] {
        let [project, location, cluster, namespace, _] = self.parts();
        [id_of("cluster", &[project, location, cluster]), id_of("namespace", &[project, location, cluster, namespace])]
    }

    /// Where its document is found: by its namespace's name always, by its places while something of it is open.
    pub fn found_in(&self, is_open: bool) -> Vec<String> {
        let open = self.places().into_iter().chain([Deployment::open_anywhere()]);
        [Deployment::named_namespace(&self.namespace)].into_iter().chain(open.filter(|_| is_open)).collect()
    }

    /// The place of all that are in a namespace of this name, of whichever cluster: limits are registered by it.
    pub fn named_namespace(namespace: &str) -> String {
        id_of("named", &[namespace])
    }

    /// The place of all of which something is open.
    pub fn open_anywhere() -> String {
        id_of("open", &[])
    }

    /// The key of the document that says when all objects of a kind in its namespace ended, or its whole cluster.
    pub fn end_key(&self, kind: ObjectKind) -> String {
        let [cluster, namespace] = self.places();
        let place = if kind == ObjectKind::Cluster { cluster } else { namespace };
        id_of("end", &[kind.as_str(), &place])
    }

    fn parts(&self) -> [&str; 5] {
        [&self.project, &self.location, &self.cluster, &self.namespace, &self.name]
    }

    /// An id for something about it under a rule.
    pub(super) fn id_under(&self, rule: AlertType, more: &[&str]) -> String {
        let rule = rule.to_string();
        let parts: Vec<&str> = [rule.as_str()].into_iter().chain(self.parts()).chain(more.iter().copied()).collect();
        id::id(&parts)
    }
}

fn id_of(what: &str, parts: &[&str]) -> String {
    let parts: Vec<&str> = [what].into_iter().chain(parts.iter().copied()).collect();
    id::id(&parts)
}

/// All that a step needs to know of one Deployment, and keeps.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Document {
    /// Which one.
    pub deployment: Deployment,
    /// Its own object.
    pub(super) own: Known,
    /// What the HPAs that aim at it ask for, by their names.
    pub(super) hpas: BTreeMap<String, HpaStanding>,
    /// The incidents that are not over, one a rule at most.
    pub(super) incidents: Vec<Incident>,
    /// When rules without an end were told last.
    pub(super) once: Vec<Once>,
    /// How many incidents it has had: no two have one id.
    pub(super) begun: u32,
    /// Whether only old entries came since it was looked at last: nothing is told until something fresh comes, or the sweep.
    pub(super) is_behind: bool,
}

impl Document {
    /// One of which nothing is known.
    pub fn new(deployment: Deployment) -> Self {
        Document {
            deployment,
            own: Known::default(),
            hpas: BTreeMap::new(),
            incidents: Vec::new(),
            once: Vec::new(),
            begun: 0,
            is_behind: false,
        }
    }

    /// The incidents that are not over.
    pub fn incidents(&self) -> &[Incident] {
        &self.incidents
    }

    /// Whether only old entries came since it was looked at last.
    pub fn is_behind(&self) -> bool {
        self.is_behind
    }

    /// Whether a silence holds something of it back.
    pub fn is_held_back(&self) -> bool {
        self.incidents.iter().any(Incident::is_held_back)
    }

    /// What is known of its own object.
    pub fn own(&self) -> &Known {
        &self.own
    }

    /// Gives an incident to somebody. Whether there is one.
    pub fn assign(&mut self, id: &str, to: &str) -> bool {
        let incident = self.incidents.iter_mut().find(|incident| incident.incident_id == id);
        incident.is_some_and(|incident| {
            incident.assigned = Some(to.to_owned());
            true
        })
    }

    /// Acknowledges an incident: it is not repeated any more. Whether there is one.
    pub fn acknowledge(&mut self, id: &str, by: &str, at: DateTime<Utc>) -> bool {
        let incident = self.incidents.iter_mut().find(|incident| incident.incident_id == id);
        incident.is_some_and(|incident| {
            incident.acknowledged.get_or_insert_with(|| Acknowledged { by: by.to_owned(), at });
            true
        })
    }
}

/// A condition that holds, or held until a moment ago.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Incident {
    /// Its identity.
    pub incident_id: String,
    /// Which rule.
    #[serde(with = "names::text")]
    pub rule: AlertType,
    /// As configured.
    #[serde(with = "names::text")]
    pub severity: Severity,
    /// Since when the condition holds.
    pub began_at: DateTime<Utc>,
    /// The same after the last time that it did not hold.
    pub(super) holds_since: DateTime<Utc>,
    /// What is asked for, where that is known.
    pub value: Option<i64>,
    /// The limit that it is held against.
    pub limit: Option<i64>,
    /// How far it is over.
    pub(super) excess: i64,
    /// The highest value since it began.
    pub highest: Option<i64>,
    /// Who set the number, and from what.
    pub standing: Option<Standing>,
    /// When it stopped holding.
    pub over_at: Option<DateTime<Utc>>,
    /// The most that was told of it; `None` before it is told at all.
    pub told: Option<Told>,
    /// The step that a silence holds back.
    pub(super) held_back: Option<String>,
    /// Who took it on.
    pub acknowledged: Option<Acknowledged>,
    /// Who is to see to it.
    #[serde(default)]
    pub assigned: Option<String>,
    /// How many steps it has had.
    pub(super) seq: u32,
}

impl Incident {
    /// Whether a silence holds something of it back.
    pub fn is_held_back(&self) -> bool {
        self.held_back.is_some()
    }
}

/// What was told of an incident.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Told {
    /// The furthest over.
    pub excess: i64,
    /// The highest severity.
    #[serde(with = "names::text")]
    pub severity: Severity,
    /// When something was told last.
    pub at: DateTime<Utc>,
}

/// Who took an incident on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Acknowledged {
    /// A person.
    pub by: String,
    /// When.
    pub at: DateTime<Utc>,
}
