//! The law with snapshots: after any writes, some of them withheld from the log, a snapshot of what the API lists and the
//! comparison find exactly those.
//!
//! Of some Deployments all entries from one version on are left out. What the log then says of each is told by the server's
//! watch, not by pedwatch: the number and generation of its last change before that version.

use std::collections::{BTreeMap, BTreeSet};

use pedwatch::cluster::{Namespaces, file};
use pedwatch::job::compare::{Rules, compare_days};
use pedwatch::job::snapshot::{Judging, Taken, record};
use pedwatch::ped::Cluster;
use pedwatch::ped::limits::Limits;
use pedwatch::policy::AlertType;
use pedwatch::store::Registry;
use serde_json::{Value as Json, json};

use super::{Duration, Listed, Object, Recording, Sqlite, block_on, draws, handle, pipeline, time, timestamp};
use crate::support::config;

/// How often other writes are withheld.
const ROUNDS: u64 = 4;

/// What is withheld of a Deployment: all that shows a later version than this one, which is one of its changes'. `None`: all.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Cut<'r> {
    after: Option<&'r super::Change>,
}

/// What may be left of these does not tell what there was: dry runs without a label look like their writes, and calls without
/// an answer show neither life nor version.
const AMBIGUOUS: [&str; 2] = ["unlabelled", "lost-answer"];

/// Here clients write at random, dry runs without a label among them.
const AT_RANDOM: &str = "chance";

impl PartialEq for super::Change {
    fn eq(&self, other: &Self) -> bool {
        self.resource_version == other.resource_version
    }
}

impl std::fmt::Debug for super::Change {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} at version {}", self.replicas, self.resource_version)
    }
}

impl Recording {
    pub(super) fn finds_what_is_withheld(&self, seed: u64) {
        let mut wrong = Vec::new();
        let mut withheld = 0;
        for round in 0..ROUNDS {
            let cuts = self.cuts(seed.wrapping_add(round));
            withheld += cuts.len();
            let kept = self.kept(&cuts);
            let found = self.compared(&kept);
            wrong.extend(
                self.disagreements(&cuts, &kept, &found).into_iter().map(|text| format!("round {round}: {text}")),
            );
        }
        println!("{}: {withheld} Deployments with withheld writes", self.folder.display());
        let is_told = self.truth.listed.iter().any(|listed| listed.created.is_some());
        assert!(withheld > 0 || !is_told, "nothing to withhold");
        assert!(wrong.is_empty(), "{}: {} differences\n{}", self.folder.display(), wrong.len(), wrong.join("\n"));
    }

    /// The Deployments that are there at the end. Where the recording does not tell when they were made, only those of whose
    /// name there never was another one.
    fn lives(&self) -> impl Iterator<Item = (&Object, &Listed)> {
        let deployments = || self.truth.objects.iter().filter(|object| object.kind == "Deployment");
        let listed = self.truth.listed.iter().filter(|listed| listed.kind == "Deployment");
        listed.filter_map(move |listed| {
            let is_alone = || deployments().filter(|object| object.names() == listed.names()).count() == 1;
            let object = deployments().find(|object| object.uid == listed.uid)?;
            (listed.created.is_some() || is_alone()).then_some((object, listed))
        })
    }

    /// Some of the Deployments, each cut somewhere.
    fn cuts(&self, seed: u64) -> BTreeMap<&str, Cut<'_>> {
        let mut drawn = draws(seed);
        let mut cuts = BTreeMap::new();
        for (object, _) in self.lives() {
            let (whether, place) = (drawn(), drawn());
            let is_told = object.namespace != AT_RANDOM && !AMBIGUOUS.contains(&object.name.as_str());
            if whether % 3 == 0 && is_told {
                let kept = place as usize % (object.changes.len() + 1);
                cuts.insert(
                    object.uid.as_str(),
                    Cut { after: kept.checked_sub(1).and_then(|at| object.changes.get(at)) },
                );
            }
        }
        cuts
    }

    /// The entries that are left, and how many of each Deployment show no generation.
    fn kept(&self, cuts: &BTreeMap<&str, Cut<'_>>) -> Vec<Vec<u8>> {
        let path = |listed: &Listed| format!("namespaces/{}/deployments/{}", listed.namespace, listed.name);
        let cut = self.lives().filter(|(object, _)| cuts.contains_key(object.uid.as_str()));
        let names: BTreeMap<String, &Listed> = cut.map(|(_, listed)| (path(listed), listed)).collect();
        let is_kept = |entry: &&Vec<u8>| {
            let json: Json = serde_json::from_slice(entry).expect("JSON");
            let payload = &json["protoPayload"];
            let Some(listed) = about(&names, payload) else { return true };
            let cut = cuts.get(listed.uid.as_str()).expect("cut");
            let shown = &payload["response"]["metadata"];
            let version = shown["resourceVersion"].as_str();
            match shown["uid"].as_str() {
                Some(uid) if uid != listed.uid => true,
                // What shows no life may be of an earlier one, and what shows no version may be any.
                None => listed.created.as_ref().is_some_and(|created| time(&timestamp(entry)) < time(created)),
                Some(_) => version
                    .zip(cut.after)
                    .is_some_and(|(version, last)| order(version) <= order(&last.resource_version)),
            }
        };
        self.entries.iter().filter(is_kept).cloned().collect()
    }

    /// What the comparison finds of each Deployment, by uid.
    fn compared(&self, entries: &[Vec<u8>]) -> BTreeMap<String, BTreeSet<(AlertType, String)>> {
        let first: Json = serde_json::from_slice(self.entries.first().expect("entries")).expect("JSON");
        let labels = &first["resource"]["labels"];
        let label = |name: &str| labels[name].as_str().unwrap_or_default().to_owned();
        let (project, location, name) = (label("project_id"), label("location"), label("cluster_name"));
        let cluster = Cluster { project: &project, location: &location, name: &name };
        let last = self.entries.iter().map(|entry| timestamp(entry)).max().expect("entries");
        let at = time(&last) + Duration::minutes(5);
        let uids: BTreeMap<(String, String), String> =
            self.lives().map(|(object, _)| (object.names(), object.uid.clone())).collect();
        block_on(async {
            let store = Sqlite::in_memory().expect("memory");
            handle(&store, &pipeline(&store).await, entries, at).await;
            let mut config = config();
            config.policy.scope = pedwatch::policy::Scope::default();
            let limits = Limits::new(store.claims(None).await.expect("readable"));
            let contents = file::read(self.listing().as_bytes()).expect("a list");
            let listing = contents.gathered.listing(at, None, &Namespaces::default()).expect("a listing");
            let taken = Taken {
                cluster,
                source: "file",
                planned_at: at,
                started_at: at,
                namespaces: &Namespaces::default(),
                outcome: Ok((listing, contents.digest)),
            };
            record(&store, Judging { limits: &limits, scope: &config.policy.scope }, taken).await.expect("stored");
            config.thresholds.broken_sink_writes = usize::MAX;
            let rules = Rules { policy: &config.policy, thresholds: config.thresholds };
            let compared = compare_days(&store, rules, None, None, at + Duration::hours(1)).await.expect("compared");
            let mut found: BTreeMap<String, BTreeSet<(AlertType, String)>> = BTreeMap::new();
            for alert in compared.into_iter().flat_map(|one| one.alerts) {
                // No PEDs here.
                if alert.alert_type != AlertType::Unregistered {
                    let names = (alert.namespace, alert.deployment_name.expect("a name"));
                    let uid = uids.get(&names).cloned().unwrap_or_else(|| format!("{}/{}", names.0, names.1));
                    found.entry(uid).or_default().insert((alert.alert_type, alert.message));
                }
            }
            found
        })
    }

    /// As `kubectl` prints it.
    fn listing(&self) -> String {
        let deployment = |listed: &Listed| {
            json!({"kind": "Deployment", "spec": {"replicas": listed.replicas}, "metadata": {
                "namespace": listed.namespace, "name": listed.name, "uid": listed.uid, "generation": listed.generation,
                "resourceVersion": listed.resource_version, "creationTimestamp": listed.created}})
        };
        let deployments = self.truth.listed.iter().filter(|listed| listed.kind == "Deployment");
        json!({"kind": "List", "items": deployments.map(deployment).collect::<Vec<_>>()}).to_string()
    }

    /// Where what was found is not what was withheld.
    fn disagreements(
        &self,
        cuts: &BTreeMap<&str, Cut<'_>>,
        kept: &[Vec<u8>],
        found: &BTreeMap<String, BTreeSet<(AlertType, String)>>,
    ) -> Vec<String> {
        let (none, shown) = (BTreeSet::new(), shown(kept));
        let begins = kept.iter().map(|entry| timestamp(entry)).min().expect("entries");
        let mut wrong = Vec::new();
        for (object, listed) in self.lives() {
            let found = found.get(&object.uid).unwrap_or(&none);
            let kinds: Vec<AlertType> = found.iter().map(|(kind, _)| *kind).collect();
            let shown = shown.get(&object.uid).copied();
            let cut = cuts.get(object.uid.as_str());
            // A dry run that no label tells, and behind which there is silence, cannot be told.
            let is_dry = |last: &super::Change| shown.is_some_and(|generation| Some(generation) > last.generation);
            if cut.and_then(|cut| cut.after).is_some_and(is_dry) {
                continue;
            }
            let expected = cut.map(|cut| expected(*cut, listed, shown.is_some(), &begins));
            let agrees = match expected {
                None => kinds.is_empty(),
                Some(expected) => kinds == expected.into_iter().collect::<Vec<_>>(),
            };
            if !agrees {
                wrong.push(format!(
                    "{}/{} ({}): withheld {:?}, listed with {} and generation {:?}: expected {expected:?}, found {found:?}",
                    object.namespace, object.name, object.uid, cuts.get(object.uid.as_str()), listed.replicas, listed.generation
                ));
            }
        }
        let known: BTreeSet<&str> = self.lives().map(|(object, _)| object.uid.as_str()).collect();
        let others = found.iter().filter(|(uid, _)| !known.contains(uid.as_str()));
        wrong.extend(others.map(|(names, found)| format!("{names}: nothing was withheld, found {found:?}")));
        wrong
    }
}

/// The highest generation that entries show of each life; of one without any, -1.
fn shown(entries: &[Vec<u8>]) -> BTreeMap<String, i64> {
    let mut shown = BTreeMap::new();
    for entry in entries {
        let json: Json = serde_json::from_slice(entry).expect("JSON");
        let metadata = &json["protoPayload"]["response"]["metadata"];
        if let Some(uid) = metadata["uid"].as_str() {
            let known = shown.entry(uid.to_owned()).or_insert(-1);
            *known = metadata["generation"].as_i64().unwrap_or(-1).max(*known);
        }
    }
    shown
}

/// What the withheld writes come to, where entries show the life or none does, and the log begins at an instant.
fn expected(cut: Cut<'_>, listed: &Listed, is_shown: bool, begins: &str) -> Option<AlertType> {
    let Some(last) = cut.after.filter(|_| is_shown) else {
        // What is older than what is left of the log, or may be as far as the recording tells, is a baseline.
        let is_younger = listed.created.as_ref().is_some_and(|created| time(created) >= time(begins));
        return is_younger.then_some(AlertType::MissedWrite);
    };
    let unseen = listed.generation.zip(last.generation).is_some_and(|(now, then)| now > then);
    match last.replicas == listed.replicas {
        false => Some(AlertType::Drift),
        true => unseen.then_some(AlertType::MissedWrite),
    }
}

/// The Deployment that an entry is about, of those that are cut.
fn about<'c>(names: &BTreeMap<String, &'c Listed>, payload: &Json) -> Option<&'c Listed> {
    let resource = payload["resourceName"].as_str()?;
    let path = resource.split_once('/')?.1.split_once('/')?.1;
    let path = path.strip_suffix("/scale").or(path.strip_suffix("/status")).unwrap_or(path);
    let made = || {
        let metadata = &payload["response"]["metadata"];
        let name = metadata["name"].as_str()?;
        names.get(&format!("{path}/{name}")).copied()
    };
    names.get(path).copied().or_else(made)
}

/// Versions are decimals of any length.
fn order(version: &str) -> (usize, &str) {
    (version.len(), version)
}

impl Object {
    fn names(&self) -> (String, String) {
        (self.namespace.clone(), self.name.clone())
    }
}

impl Listed {
    fn names(&self) -> (String, String) {
        (self.namespace.clone(), self.name.clone())
    }
}
