//! Reading a PED file: every fault with its place, none hidden behind another.

use std::collections::BTreeMap;
use std::ops::RangeInclusive;
use std::path::Path;

use saphyr::{MarkedYaml, Scalar, YamlData};
use serde_json::{Map, Value as Json};

use super::contacts::Contacts;
use super::documents::{self, Documents};
use super::{Clusters, Exception, FAULTS_MAX, Fault, Located, Ped, Place, Subject, Terms, quantity};

mod contacts;
mod exceptions;

const API_VERSION: &str = "pedwatch/v1";
const KIND: &str = "Ped";

/// Longest name of a Deployment (a DNS subdomain); a namespace has at most 63 characters.
pub(super) const NAME_MAX: usize = 253;

/// Longest name of a cluster: <https://cloud.google.com/kubernetes-engine/docs/reference/rest/v1/projects.locations.clusters>.
const CLUSTER_MAX: usize = 40;

/// The keys of `spec`.
const SPEC: [&str; 7] = ["minReplicas", "maxReplicas", "exceptions", "image", "resources", "environment", "volumes"];

/// How much is quoted of one value.
const QUOTED_CHARS: usize = 64;

/// How much is quoted of a file that is no PED, which may be anything: a key, a token.
const OTHER_QUOTED_CHARS: usize = 80;

/// Reads one file, which may hold several documents. A document with a fault gives no PED.
pub fn parse(file: &Path, text: &str, platform: &RangeInclusive<i64>) -> (Vec<Located>, Vec<Fault>) {
    let (mut located, mut faults) = (Vec::new(), Vec::new());
    let fault = |place, message| Fault { file: file.to_owned(), place, key: String::new(), message };
    let mut is_empty = true;
    for document in Documents::new(text) {
        is_empty = false;
        let document = match document {
            Ok(document) => document,
            Err(unreadable) => {
                faults.push(fault(unreadable.place, unreadable.message));
                break;
            }
        };
        let mut reader = Reader { file, platform, quoted_until: OTHER_QUOTED_CHARS, faults: Vec::new() };
        let ped = reader.ped(&document);
        match (ped, reader.faults.is_empty()) {
            (Some(ped), true) => located.push(Located { ped, file: file.to_owned(), place: name_of(&document) }),
            _ => faults.extend(reader.faults),
        }
        if faults.len() >= FAULTS_MAX {
            break;
        }
    }
    if is_empty {
        faults.push(fault(Place::BEGIN, "is empty; expected a document of kind Ped".to_owned()));
    }
    (located, faults)
}

type Node<'n> = MarkedYaml<'n>;

fn place_of(node: &Node<'_>) -> Place {
    documents::at(&node.span.start)
}

/// Where a PED says which Deployment it is for.
fn name_of(document: &Node<'_>) -> Place {
    let name = document.data.as_mapping_get("metadata").and_then(|metadata| metadata.data.as_mapping_get("deployment"));
    place_of(name.unwrap_or(document))
}

/// One document's faults, and the ways to read a value that add to them.
struct Reader<'r> {
    file: &'r Path,
    platform: &'r RangeInclusive<i64>,
    /// Characters of the file before this one may be quoted.
    quoted_until: usize,
    faults: Vec<Fault>,
}

/// A mapping under reading: its keys are taken out one by one, and what is left is unknown.
struct Section<'s, 'n> {
    key: String,
    place: Place,
    entries: BTreeMap<String, (Place, &'s Node<'n>)>,
}

impl<'s, 'n> Section<'s, 'n> {
    fn take(&mut self, name: &str) -> Option<&'s Node<'n>> {
        self.entries.remove(name).map(|(_, node)| node)
    }

    fn path(&self, name: &str) -> String {
        let name = start_of(name);
        if self.key.is_empty() { name } else { format!("{}.{name}", self.key) }
    }
}

impl Reader<'_> {
    fn fault(&mut self, place: Place, key: impl Into<String>, message: impl Into<String>) {
        self.faults.push(Fault { file: self.file.to_owned(), place, key: key.into(), message: message.into() });
    }

    /// `None` only with a fault.
    fn ped(&mut self, document: &Node<'_>) -> Option<Ped> {
        let mut top = self.section("", document)?;
        let is = |name: &str, value: &str| {
            top.entries.get(name).and_then(|(_, node)| scalar_text(node)).as_deref() == Some(value)
        };
        let is_ped = is("apiVersion", API_VERSION) || is("kind", KIND);
        if is_ped {
            self.quoted_until = usize::MAX;
        }
        self.constant(&mut top, "apiVersion", API_VERSION);
        self.constant(&mut top, "kind", KIND);
        let metadata = self.required(&mut top, "metadata", "a mapping with namespace, deployment and owner");
        let spec = self.required(&mut top, "spec", "a mapping with maxReplicas");
        if !is_ped {
            return None;
        }
        self.nothing_else(top, &["apiVersion", "kind", "metadata", "spec"]);
        let identity = metadata.and_then(|node| self.metadata(node));
        let spec = spec.and_then(|node| self.spec(node));
        let ((subject, owner, notify), (terms, exceptions)) = (identity?, spec?);
        Some(Ped { subject, terms: Terms { owner, notify, ..terms }, exceptions })
    }

    /// What it is for, who is charged, and where the team hears of it.
    fn metadata(&mut self, node: &Node<'_>) -> Option<(Subject, String, Contacts)> {
        let mut section = self.section("metadata", node)?;
        let namespace = self.name(&mut section, "namespace", 63);
        let deployment = self.name(&mut section, "deployment", NAME_MAX);
        let clusters = self.clusters(&mut section);
        let owner = self.required(&mut section, "owner", "the user or team that is charged");
        let owner = owner.and_then(|node| self.text("metadata.owner", node, "the user or team that is charged"));
        let notify = self.contacts(&mut section);
        self.nothing_else(section, &["namespace", "deployment", "cluster", "owner", "notify"]);
        let subject = Subject { namespace: namespace?, deployment: deployment?, clusters: clusters? };
        Some((subject, owner?, notify))
    }

    /// `metadata.cluster`: none for any, a name, or the path of one cluster. `None` only with a fault.
    fn clusters(&mut self, section: &mut Section<'_, '_>) -> Option<Clusters> {
        let Some(node) = section.take("cluster") else { return Some(Clusters::Any) };
        let read = scalar_text(node).and_then(|text| {
            let clusters = Clusters::path(&text).unwrap_or(Clusters::Named(text));
            is_cluster(&clusters).then_some(clusters)
        });
        if read.is_none() {
            let wanted = "expected a cluster's name, at most 40 lower-case letters, digits, '-' and '.', or \
                          projects/PROJECT/locations/LOCATION/clusters/NAME";
            self.fault(place_of(node), "metadata.cluster", format!("is {}; {wanted}", self.shown(node)));
        }
        read
    }

    /// The [`Terms`], whose owner and contacts are still to come, and the exceptions.
    fn spec(&mut self, node: &Node<'_>) -> Option<(Terms, Vec<Exception>)> {
        let mut section = self.section("spec", node)?;
        let min = section.take("minReplicas").map(|node| (node, self.replicas("spec.minReplicas", node)));
        let max = self.required(&mut section, "maxReplicas", "the most replicas wanted");
        let max = max.map(|node| (node, self.replicas("spec.maxReplicas", node)));
        if let (Some((node, Some(min))), Some((_, Some(max)))) = (min, max)
            && min > max
        {
            self.fault(
                place_of(node),
                "spec.minReplicas",
                format!("is {min}, above spec.maxReplicas ({max}); expected at most that"),
            );
        }
        let min = min.and_then(|(_, min)| min);
        let exceptions = section.take("exceptions").map(|node| self.exceptions(node, min)).unwrap_or_default();
        let image = section.take("image").and_then(|node| self.text("spec.image", node, "an image reference"));
        let (limits, requests) = section.take("resources").map(|node| self.resources(node)).unwrap_or_default();
        let environment = section.take("environment").map(|node| self.environment(node)).unwrap_or_default();
        let volumes = section.take("volumes").map(|node| self.volumes(node)).unwrap_or_default();
        self.nothing_else(section, &SPEC);
        let (owner, notify) = (String::new(), Contacts::default());
        let max_replicas = Some(max?.1?);
        let min_replicas = min;
        let terms = Terms { owner, min_replicas, max_replicas, image, limits, requests, environment, volumes, notify };
        Some((terms, exceptions))
    }

    fn resources(&mut self, node: &Node<'_>) -> (BTreeMap<String, String>, BTreeMap<String, String>) {
        let Some(mut section) = self.section("spec.resources", node) else { return Default::default() };
        let limits =
            section.take("limits").map(|node| self.quantities("spec.resources.limits", node)).unwrap_or_default();
        let requests_node = section.take("requests");
        let requests = requests_node.map(|node| self.quantities("spec.resources.requests", node)).unwrap_or_default();
        for (name, request) in &requests {
            let value = |text: &str| quantity::parse(text);
            if let (Some(asked), Some((text, limit))) =
                (value(request), limits.get(name).and_then(|text| value(text).map(|limit| (text, limit))))
                && asked > limit
            {
                let place = requests_node.map_or(section.place, place_of);
                self.fault(
                    place,
                    format!("spec.resources.requests.{}", start_of(name)),
                    format!("is {}, above its limit of {}; expected at most that", start_of(request), start_of(text)),
                );
            }
        }
        self.nothing_else(section, &["limits", "requests"]);
        (limits, requests)
    }

    fn quantities(&mut self, key: &str, node: &Node<'_>) -> BTreeMap<String, String> {
        let Some(section) = self.section(key, node) else { return BTreeMap::new() };
        let mut quantities = BTreeMap::new();
        for (name, (_, node)) in section.entries {
            let key = format!("{key}.{}", start_of(&name));
            let Some(text) = scalar_text(node) else {
                self.fault(place_of(node), key, "is not a quantity; expected one such as 500m, 2 or 4Gi");
                continue;
            };
            if quantity::parse(&text).is_none() {
                self.fault(
                    place_of(node),
                    key,
                    format!("is {}; expected a quantity such as 500m, 2 or 4Gi", self.shown(node)),
                );
            }
            quantities.insert(name, text);
        }
        quantities
    }

    fn environment(&mut self, node: &Node<'_>) -> BTreeMap<String, String> {
        let Some(section) = self.section("spec.environment", node) else { return BTreeMap::new() };
        let mut environment = BTreeMap::new();
        for (name, (_, node)) in section.entries {
            match scalar_text(node) {
                Some(text) => {
                    environment.insert(name, text);
                }
                None => self.fault(
                    place_of(node),
                    format!("spec.environment.{}", start_of(&name)),
                    "is not a plain value; expected a string",
                ),
            }
        }
        environment
    }

    fn volumes(&mut self, node: &Node<'_>) -> BTreeMap<String, Json> {
        let Some(section) = self.section("spec.volumes", node) else { return BTreeMap::new() };
        let mut volumes = BTreeMap::new();
        for (name, (_, node)) in section.entries {
            match json_of(node) {
                Some(volume @ Json::Object(_)) => {
                    volumes.insert(name, volume);
                }
                _ => self.fault(
                    place_of(node),
                    format!("spec.volumes.{}", start_of(&name)),
                    "is not a volume; expected a mapping, such as {path: /tmp}",
                ),
            }
        }
        volumes
    }

    fn replicas(&mut self, key: &str, node: &Node<'_>) -> Option<i64> {
        let (least, most) = (self.platform.start(), self.platform.end());
        let wanted = format!("expected a whole number from {least} to {most}");
        match &node.data {
            YamlData::Value(Scalar::Integer(replicas)) if self.platform.contains(replicas) => Some(*replicas),
            _ => {
                self.fault(place_of(node), key, format!("is {}; {wanted}", self.shown(node)));
                None
            }
        }
    }

    fn constant(&mut self, section: &mut Section<'_, '_>, name: &str, value: &str) {
        if let Some(node) = self.required(section, name, value)
            && scalar_text(node).as_deref() != Some(value)
        {
            self.fault(place_of(node), section.path(name), format!("is {}; expected {value}", self.shown(node)));
        }
    }

    /// A DNS label or subdomain, as Kubernetes wants its names.
    fn name(&mut self, section: &mut Section<'_, '_>, name: &str, longest: usize) -> Option<String> {
        let wanted = format!("expected a Kubernetes name: lower-case letters, digits, '-' and '.', at most {longest}");
        let node = self.required(section, name, "a Kubernetes name")?;
        match scalar_text(node).filter(|text| is_name(text, longest)) {
            Some(text) => Some(text),
            None => {
                self.fault(place_of(node), section.path(name), format!("is {}; {wanted}", self.shown(node)));
                None
            }
        }
    }

    fn text(&mut self, key: &str, node: &Node<'_>, wanted: &str) -> Option<String> {
        let text = scalar_text(node).filter(|text| !text.trim().is_empty());
        if text.is_none() {
            self.fault(place_of(node), key, format!("is {}; expected {wanted}", self.shown(node)));
        }
        text
    }

    /// A node for an error message, shortened.
    fn shown(&self, node: &Node<'_>) -> String {
        let room = self.quoted_until.saturating_sub(node.span.start.index()).min(QUOTED_CHARS);
        match &node.data {
            YamlData::Mapping(_) => "a mapping".to_owned(),
            YamlData::Sequence(_) => "a list".to_owned(),
            YamlData::Value(Scalar::Null) => "empty".to_owned(),
            _ if room == 0 => "another value".to_owned(),
            YamlData::Value(Scalar::String(text)) => format!("{:?}", text.chars().take(room).collect::<String>()),
            _ => scalar_text(node).map_or_else(|| "unreadable".to_owned(), |text| text.chars().take(room).collect()),
        }
    }

    fn required<'s, 'n>(&mut self, section: &mut Section<'s, 'n>, name: &str, wanted: &str) -> Option<&'s Node<'n>> {
        let node = section.take(name);
        if node.is_none() {
            self.fault(section.place, section.path(name), format!("is missing; expected {wanted}"));
        }
        node
    }

    fn section<'s, 'n>(&mut self, key: &str, node: &'s Node<'n>) -> Option<Section<'s, 'n>> {
        let YamlData::Mapping(mapping) = &node.data else {
            self.fault(place_of(node), key, format!("is {}; expected a mapping", self.shown(node)));
            return None;
        };
        let mut entries = BTreeMap::new();
        for (name, value) in mapping {
            match scalar_text(name) {
                Some(text) => {
                    entries.insert(text, (place_of(name), value));
                }
                None => self.fault(place_of(name), key, "has a key that is not a plain value"),
            }
        }
        Some(Section { key: key.to_owned(), place: place_of(node), entries })
    }

    fn nothing_else(&mut self, section: Section<'_, '_>, known: &[&str]) {
        for (name, (place, _)) in &section.entries {
            self.fault(*place, section.path(name), format!("is no key of a Ped; expected one of {}", known.join(", ")));
        }
    }
}

pub(super) fn is_name(text: &str, longest: usize) -> bool {
    let letter = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
    text.len() <= longest
        && text.starts_with(letter)
        && text.ends_with(letter)
        && text.chars().all(|c| letter(c) || c == '-' || c == '.')
}

fn is_cluster(clusters: &Clusters) -> bool {
    match clusters {
        Clusters::Any => true,
        Clusters::Named(name) => is_name(name, CLUSTER_MAX),
        Clusters::One { project, location, name } => {
            // Projects under a domain are called `example.com:acme-prod`.
            let (domain, id) = project.split_once(':').unwrap_or(("example.com", project));
            let is_plain = |text: &str| is_name(text, 63);
            is_plain(domain) && is_plain(id) && is_plain(location) && is_name(name, CLUSTER_MAX)
        }
    }
}

/// The text of a scalar as it means, so that `cpu: 2` is "2".
fn scalar_text(node: &Node<'_>) -> Option<String> {
    match &node.data {
        YamlData::Value(Scalar::String(text)) => Some(text.to_string()),
        YamlData::Value(Scalar::Integer(number)) => Some(number.to_string()),
        YamlData::Value(Scalar::FloatingPoint(number)) => Some(number.to_string()),
        YamlData::Value(Scalar::Boolean(value)) => Some(value.to_string()),
        YamlData::Representation(text, _, _) => Some(text.to_string()),
        _ => None,
    }
}

/// How a text begins, for an error message.
fn start_of(text: &str) -> String {
    text.chars().take(QUOTED_CHARS).collect()
}

fn json_of(node: &Node<'_>) -> Option<Json> {
    Some(match &node.data {
        YamlData::Value(Scalar::Null) => Json::Null,
        YamlData::Value(Scalar::Boolean(value)) => Json::from(*value),
        YamlData::Value(Scalar::Integer(number)) => Json::from(*number),
        YamlData::Value(Scalar::FloatingPoint(number)) => Json::from(number.into_inner()),
        YamlData::Value(Scalar::String(text)) => Json::from(text.as_ref()),
        YamlData::Sequence(items) => Json::Array(items.iter().map(json_of).collect::<Option<_>>()?),
        YamlData::Mapping(mapping) => Json::Object(
            mapping
                .iter()
                .map(|(key, value)| Some((scalar_text(key)?, json_of(value)?)))
                .collect::<Option<Map<_, _>>>()?,
        ),
        _ => return None,
    })
}
