//! Histories as clusters write them: a small API server, which keeps Deployments and HPAs and logs what is done to them.

use chrono::{DateTime, Duration, SubsecRound, Utc};
use proptest::prelude::*;
use serde_json::{Value as Json, json};

/// When the first step is.
pub const BEGIN: DateTime<Utc> = DateTime::from_timestamp(1_788_220_800, 0).expect("2026-09-01");

pub const DEPLOYMENTS: [&str; 2] = ["orders-api", "carts-api"];

/// Two Deployments, and an HPA of each name.
const OBJECTS: usize = 4;

/// What is done next to an object. What is not there is created first.
#[derive(Debug, Clone, PartialEq)]
pub enum What {
    /// Another number, answered whole.
    Write(i64),
    /// The same by `/scale`, whose answer has no generation.
    Scale(i64),
    /// Another image or label: a version, and the same number.
    Touch,
    /// The same manifest again: nothing is stored.
    Again,
    /// A dry run whose label is missing.
    Dry(i64),
    /// A write whose bodies are missing.
    Bare(i64),
    /// A call that timed out, and was stored or not.
    TimedOut(i64, bool),
    /// A write that nobody logged.
    Unseen(i64),
    /// Of its status, as a file may hold it.
    Status,
    /// The minimum of an HPA.
    Minimum(i64),
    /// An HPA aims at another Deployment, or at what is none.
    Turn(usize),
    Delete,
    /// A delete that was a dry run.
    DryDelete,
    /// A delete that finalizers hold.
    HeldDelete,
    /// Of that, the end.
    Release,
    /// All Deployments, and then all HPAs, by the controller of namespaces.
    EmptyNamespace,
    DeleteCluster,
}

#[derive(Debug, Clone)]
pub struct Step {
    /// How long after the one before.
    pub after_millis: i64,
    pub object: usize,
    pub what: What,
    /// How far the entry's clock is off.
    pub skew_millis: i64,
    /// How long after its timestamp it arrives, each time.
    pub delays_seconds: Vec<i64>,
}

/// An entry, and when it arrives.
#[derive(Debug, Clone)]
pub struct Logged {
    pub time: DateTime<Utc>,
    pub arrives: Vec<DateTime<Utc>>,
    pub entry: Json,
}

fn what() -> impl Strategy<Value = What> {
    let number = 1..9_i64;
    prop_oneof![
        6 => number.clone().prop_map(What::Write),
        3 => number.clone().prop_map(What::Scale),
        2 => Just(What::Touch),
        2 => Just(What::Again),
        2 => number.clone().prop_map(What::Dry),
        2 => number.clone().prop_map(What::Bare),
        3 => (number.clone(), any::<bool>()).prop_map(|(number, stored)| What::TimedOut(number, stored)),
        1 => number.prop_map(What::Unseen),
        1 => Just(What::Status),
        1 => (1..4_i64).prop_map(What::Minimum),
        2 => (0..3_usize).prop_map(What::Turn),
        2 => Just(What::Delete),
        1 => Just(What::DryDelete),
        1 => Just(What::HeldDelete),
        1 => Just(What::Release),
        1 => prop_oneof![4 => Just(What::EmptyNamespace), 1 => Just(What::DeleteCluster)],
    ]
}

pub fn step() -> impl Strategy<Value = Step> {
    const HOUR: i64 = 3_600_000;
    let after = prop_oneof![
        2 => 0..2_000_i64,
        2 => 20_000..100_000_i64,
        4 => 100_000..HOUR,
        4 => HOUR..20 * HOUR,
        1 => 20 * HOUR..60 * HOUR,
    ];
    let object = prop_oneof![4 => Just(0_usize), 2 => Just(2_usize), 2 => 0..OBJECTS];
    let skew = prop_oneof![4 => Just(0_i64), 1 => -3_000..3_000_i64];
    let delay = prop_oneof![
        12 => 0..5_i64,
        2 => 60..10_000_i64,
        2 => 10_000..260_000_i64,
        1 => -70_000..0_i64,
    ];
    let delays = prop_oneof![6 => 1..2_usize, 1 => 2..3_usize];
    let delays = delays.prop_flat_map(move |count| prop::collection::vec(delay.clone(), count));
    (after, object, what(), skew, delays).prop_map(|(after_millis, object, what, skew_millis, delays_seconds)| Step {
        after_millis,
        object,
        what,
        skew_millis,
        delays_seconds,
    })
}

/// What the API server keeps.
#[derive(Debug, Clone)]
struct Kept {
    uid: String,
    version: i64,
    generation: i64,
    born: DateTime<Utc>,
    number: i64,
    min: i64,
    target: usize,
    is_held: bool,
}

/// A namespace of a cluster of its own.
pub struct Namespace {
    pub name: String,
    now: DateTime<Utc>,
    version: i64,
    lives: i64,
    objects: [Option<Kept>; OBJECTS],
    logged: Vec<Logged>,
}

/// Everything that is logged of these steps.
pub fn logged(namespace: &str, steps: &[Step]) -> Vec<Logged> {
    let mut of_it = Namespace {
        name: namespace.to_owned(),
        now: BEGIN + Duration::hours(6),
        version: 95,
        lives: 0,
        objects: [const { None }; OBJECTS],
        logged: Vec::new(),
    };
    steps.iter().for_each(|step| of_it.take(step));
    of_it.logged
}

const STORED: i64 = 0;
const TIMED_OUT: i64 = 4;

impl Namespace {
    fn take(&mut self, step: &Step) {
        self.now += Duration::milliseconds(step.after_millis);
        let at = step.object;
        match (&step.what, self.objects[at].clone()) {
            (What::EmptyNamespace, _) => self.empty(step),
            (What::DeleteCluster, _) => self.delete_cluster(step),
            (What::Write(number) | What::Scale(number) | What::Bare(number), None) => {
                self.create(step, *number, STORED)
            }
            (What::TimedOut(number, stored), None) => {
                self.create(step, *number, if *stored { TIMED_OUT } else { -TIMED_OUT });
            }
            (What::Turn(_) | What::Touch | What::Minimum(_), None) => self.create(step, 2, STORED),
            (What::Unseen(number), None) => self.bear(at, *number),
            (_, None) => {}
            (what, Some(before)) => self.write(step, what, before),
        }
    }

    fn bear(&mut self, at: usize, number: i64) {
        self.lives += 1;
        self.version += 3;
        self.objects[at] = Some(Kept {
            uid: format!("uid-{}-{at}-{}", self.name, self.lives),
            version: self.version,
            generation: 1,
            born: self.now.trunc_subsecs(0),
            number,
            min: 1,
            target: at % 2,
            is_held: false,
        });
    }

    /// Negative where it was not stored.
    fn create(&mut self, step: &Step, number: i64, code: i64) {
        let before = self.objects[step.object].take();
        self.bear(step.object, number);
        let created = self.objects[step.object].clone().expect("born");
        let manifest = self.manifest(step.object, &Kept { version: 0, ..created.clone() });
        let answer = if code == STORED { self.manifest(step.object, &created) } else { Json::Null };
        if code < 0 {
            self.objects[step.object] = before;
        }
        self.log(step, "create", "", code.abs(), manifest, answer);
    }

    /// What is done to an object that is there.
    fn write(&mut self, step: &Step, what: &What, before: Kept) {
        let at = step.object;
        let (is_hpa, mut next) = (at >= DEPLOYMENTS.len(), before.clone());
        next.version = self.version + 3;
        next.generation += i64::from(!is_hpa);
        let number = |number: i64| if is_hpa { json!({"maxReplicas": number}) } else { json!({"replicas": number}) };
        let patch = |spec: Json| json!({"@type": "k8s.io/Patch", "spec": spec});
        let (request, code, is_logged, is_stored, is_bare) = match *what {
            What::Write(to) | What::Unseen(to) | What::Bare(to) => {
                next.number = to;
                (patch(number(to)), STORED, !matches!(what, What::Unseen(_)), true, matches!(what, What::Bare(_)))
            }
            What::Scale(to) if !is_hpa => {
                next.number = to;
                let answer = self.scale(at, &next);
                self.keep(at, next);
                let request = json!({"spec": {"replicas": to}});
                return self.log(step, "patch", "scale", STORED, request, answer);
            }
            What::TimedOut(to, stored) => {
                next.number = to;
                (patch(number(to)), TIMED_OUT, true, stored, true)
            }
            What::Dry(to) => {
                next = Kept { number: to, version: before.version, ..next };
                (patch(number(to)), STORED, true, false, false)
            }
            What::Again => {
                next = before;
                (patch(json!({"paused": false})), STORED, true, false, false)
            }
            What::Minimum(to) if is_hpa => {
                next.min = to;
                (patch(json!({"minReplicas": to})), STORED, true, true, false)
            }
            What::Turn(to) if is_hpa => {
                next.target = to;
                (patch(json!({"scaleTargetRef": target(to)})), STORED, true, true, false)
            }
            What::Status => {
                next.generation = before.generation;
                let answer = self.manifest(at, &next);
                self.keep(at, next);
                return self.log(step, "update", "status", STORED, answer.clone(), answer);
            }
            What::Delete | What::DryDelete => {
                if *what == What::Delete {
                    self.version += 3;
                    self.objects[at] = None;
                }
                let answer = json!({"@type": "core.k8s.io/v1.Status", "kind": "Status", "status": "Success",
                    "details": {"name": name(at), "group": group(at), "kind": plural(at), "uid": before.uid}});
                return self.log(step, "delete", "", STORED, json!({"@type": OPTIONS}), answer);
            }
            What::HeldDelete => {
                next.is_held = true;
                let answer = self.manifest(at, &next);
                self.keep(at, next);
                return self.log(step, "delete", "", STORED, json!({"@type": OPTIONS}), answer);
            }
            What::Release if before.is_held => {
                let mut answer = self.manifest(at, &next);
                answer["metadata"]["finalizers"].take();
                self.version += 3;
                self.objects[at] = None;
                return self.log(step, "patch", "", STORED, patch(json!({})), answer);
            }
            _ => (patch(json!({"template": {}})), STORED, true, true, false),
        };
        let answer = if is_bare { Json::Null } else { self.manifest(at, &next) };
        let request = if matches!(what, What::Bare(_)) { Json::Null } else { request };
        if is_stored {
            self.keep(at, next);
        }
        if is_logged {
            self.log(step, "patch", "", code, request, answer);
        }
    }

    fn keep(&mut self, at: usize, kept: Kept) {
        self.version = kept.version;
        self.objects[at] = Some(kept);
    }

    /// As the controller of namespaces does it: without an answer.
    fn empty(&mut self, step: &Step) {
        for objects in [0..2, 2..4] {
            let at = objects.start;
            self.objects[objects].fill(None);
            let mut entry = self.entry(step, at, "deletecollection", "", STORED, json!({"@type": OPTIONS}), Json::Null);
            entry["protoPayload"]["authenticationInfo"]["principalEmail"] =
                "system:serviceaccount:kube-system:namespace-controller".into();
            entry["protoPayload"]["resourceName"] = self.path(at).into();
            self.append(step, entry);
            self.now += Duration::milliseconds(10);
        }
    }

    fn delete_cluster(&mut self, step: &Step) {
        self.objects.fill(None);
        let (id, place) = (format!("{}-{}", self.name, self.logged.len()), self.place());
        for (part, payload) in [
            (
                "first",
                json!({"authenticationInfo": {"principalEmail": "erik@example.com"}, "response": {"status": "RUNNING"}}),
            ),
            ("last", json!({"status": {}})),
        ] {
            let mut payload = payload;
            payload["serviceName"] = "container.googleapis.com".into();
            payload["methodName"] = "google.container.v1.ClusterManager.DeleteCluster".into();
            payload["resourceName"] = place["cluster"].clone();
            let entry = json!({
                "logName": LOG, "insertId": format!("{id}-{part}"), "timestamp": pedwatch::id::time(self.now),
                "resource": {"type": "gke_cluster", "labels": place["labels"]},
                "operation": {"id": id, "producer": "container.googleapis.com", part: true},
                "protoPayload": payload,
            });
            self.append(step, entry);
            self.now += Duration::minutes(5);
        }
    }

    fn place(&self) -> Json {
        let cluster = format!("cluster-of-{}", self.name);
        json!({
            "labels": {"project_id": "acme-prod", "location": "europe-west1", "cluster_name": cluster},
            "cluster": format!("projects/acme-prod/locations/europe-west1/clusters/{cluster}"),
        })
    }

    fn path(&self, at: usize) -> String {
        let (group, plural) = (group(at), plural(at));
        let version = if at < DEPLOYMENTS.len() { "v1" } else { "v2" };
        format!("{group}/{version}/namespaces/{}/{plural}", self.name)
    }

    fn manifest(&self, at: usize, kept: &Kept) -> Json {
        let mut metadata = json!({"name": name(at), "namespace": self.name});
        if kept.version > 0 {
            metadata["uid"] = kept.uid.clone().into();
            metadata["resourceVersion"] = kept.version.to_string().into();
            metadata["creationTimestamp"] = kept.born.to_rfc3339_opts(chrono::SecondsFormat::Secs, true).into();
        }
        if kept.is_held {
            metadata["deletionTimestamp"] = self.now.to_rfc3339_opts(chrono::SecondsFormat::Secs, true).into();
            metadata["finalizers"] = json!(["example.com/hold"]);
        }
        if at >= DEPLOYMENTS.len() {
            return json!({"@type": "autoscaling.k8s.io/v2.HorizontalPodAutoscaler", "kind": "HorizontalPodAutoscaler",
                "apiVersion": "autoscaling/v2", "metadata": metadata,
                "spec": {"scaleTargetRef": target(kept.target), "minReplicas": kept.min, "maxReplicas": kept.number}});
        }
        if kept.version > 0 {
            metadata["generation"] = kept.generation.into();
        }
        json!({"@type": "apps.k8s.io/v1.Deployment", "kind": "Deployment", "apiVersion": "apps/v1",
            "metadata": metadata, "spec": {"replicas": kept.number}})
    }

    fn scale(&self, at: usize, kept: &Kept) -> Json {
        let mut scale = self.manifest(at, kept);
        scale["@type"] = "autoscaling.k8s.io/v1.Scale".into();
        scale["kind"] = "Scale".into();
        scale["apiVersion"] = "autoscaling/v1".into();
        scale["metadata"].as_object_mut().expect("metadata").remove("generation");
        scale
    }

    fn log(&mut self, step: &Step, verb: &str, sub: &str, code: i64, request: Json, answer: Json) {
        let entry = self.entry(step, step.object, verb, sub, code, request, answer);
        self.append(step, entry);
    }

    #[allow(clippy::too_many_arguments, reason = "the parts of an entry")]
    fn entry(&self, step: &Step, at: usize, verb: &str, sub: &str, code: i64, request: Json, answer: Json) -> Json {
        let (dot, slash) = if sub.is_empty() { ("", "") } else { (".", "/") };
        let (group, version) = if at < DEPLOYMENTS.len() { ("apps", "v1") } else { ("autoscaling", "v2") };
        let time = self.now + Duration::milliseconds(step.skew_millis);
        let actor = ["alice@example.com", "bob@example.com"][self.logged.len() % 2];
        let mut entry = json!({
            "logName": LOG,
            "insertId": format!("{}-{:03}", self.name, self.logged.len()),
            "timestamp": pedwatch::id::time(time),
            "resource": {"type": "k8s_cluster", "labels": self.place()["labels"]},
            "protoPayload": {
                "serviceName": "k8s.io",
                "methodName": format!("io.k8s.{group}.{version}.{}{dot}{sub}.{verb}", plural(at)),
                "resourceName": format!("{}/{}{slash}{sub}", self.path(at), name(at)),
                "status": if code == STORED { json!({}) } else { json!({"code": code}) },
                "authenticationInfo": {"principalEmail": actor},
            },
        });
        for (part, body) in [("request", request), ("response", answer)] {
            if !body.is_null() {
                entry["protoPayload"][part] = body;
            }
        }
        entry
    }

    fn append(&mut self, step: &Step, entry: Json) {
        let time = crate::support::time(entry["timestamp"].as_str().expect("a time"));
        let arrives = step.delays_seconds.iter().map(|delay| time + Duration::seconds(*delay)).collect();
        self.logged.push(Logged { time, arrives, entry });
    }
}

const LOG: &str = "projects/acme-prod/logs/cloudaudit.googleapis.com%2Factivity";
const OPTIONS: &str = "meta.k8s.io/__internal.DeleteOptions";

fn name(at: usize) -> &'static str {
    DEPLOYMENTS[at % DEPLOYMENTS.len()]
}

fn group(at: usize) -> &'static str {
    if at < DEPLOYMENTS.len() { "apps" } else { "autoscaling" }
}

fn plural(at: usize) -> &'static str {
    if at < DEPLOYMENTS.len() { "deployments" } else { "horizontalpodautoscalers" }
}

fn target(to: usize) -> Json {
    match DEPLOYMENTS.get(to) {
        Some(name) => json!({"kind": "Deployment", "name": name, "apiVersion": "apps/v1"}),
        None => json!({"kind": "StatefulSet", "name": "vault", "apiVersion": "apps/v1"}),
    }
}
