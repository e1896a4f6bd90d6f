//! Incidents: the two tables of what ends them and what is told, and the laws that hold for every order of arrival.

use chrono::{DateTime, Duration, Utc};
use pedwatch::audit::{Decoded, Entry, decode};
use pedwatch::incident::{
    Context, Deployment, Document, Ended, Hpa, Input, Place, Says, Settings, Sighting, Silence, State, Step,
};
use pedwatch::ped::limits::Limit;
use pedwatch::policy::{AlertType, Policy, Route, Severity};

use crate::support::{Sample, config, time};

mod laws;
mod tables;

/// The first instant of the tests' day.
fn start() -> DateTime<Utc> {
    time("2026-09-04T00:00:00Z")
}

fn minute(minute: i64) -> DateTime<Utc> {
    start() + Duration::minutes(minute)
}

/// What the tests' Deployment goes through: entries, limits and time, and what is told of them.
struct Course {
    document: Document,
    policy: Policy,
    settings: Settings,
    limit: Option<Limit>,
    silences: Vec<Silence>,
    ended: Ended,
    now: DateTime<Utc>,
}

impl Course {
    /// With a limit of 5 since long ago, at minute 0.
    fn new() -> Self {
        let deployment = Deployment {
            project: "acme-prod".to_owned(),
            location: "europe-west1".to_owned(),
            cluster: "prod-1".to_owned(),
            namespace: "payments".to_owned(),
            name: "orders-api".to_owned(),
        };
        let settings = Settings {
            hold: Duration::zero(),
            flap: Duration::minutes(10),
            suppress: Duration::days(1),
            repeat_every: Some(Duration::days(1)),
            max_age: Duration::days(1),
        };
        Course {
            document: Document::new(deployment),
            policy: config().policy,
            settings,
            limit: Some(limit("v1", 5, minute(-100_000))),
            silences: Vec::new(),
            ended: Ended::default(),
            now: start(),
        }
    }

    fn steps(&mut self, input: &Input) -> Vec<Step> {
        let Course { policy, settings, limit, silences, ended, now, .. } = self;
        let context = Context { now: *now, limit: limit.as_ref(), policy, settings, silences, ended: *ended };
        self.document.step(input, &context)
    }

    fn told(&mut self, input: &Input) -> Vec<String> {
        self.steps(input).iter().map(said).collect()
    }

    /// An entry that arrives when it is written.
    fn own(&mut self, sighting: Sighting) -> Vec<String> {
        self.now = self.now.max(sighting.state.place.time);
        self.late(sighting)
    }

    /// An entry that arrives now, whenever it was written.
    fn late(&mut self, sighting: Sighting) -> Vec<String> {
        self.told(&Input::Own(sighting))
    }

    /// So many minutes after the start, something may be due.
    fn at(&mut self, minutes: i64) -> Vec<String> {
        self.now = minute(minutes);
        self.told(&Input::Timer)
    }

    /// Another limit from a minute on, registered at that minute.
    fn limit(&mut self, max: Option<i64>, from: i64) -> Vec<String> {
        self.now = self.now.max(minute(from));
        self.limit = max.map(|max| limit(&format!("v-{from}"), max, minute(from)));
        self.told(&Input::Limits)
    }

    fn silence(&mut self, rules: &[AlertType]) {
        let rules = rules.iter().map(|rule| (*rule, self.policy.severity.get(*rule).expect("on"))).collect();
        self.silences = vec![Silence { silence_id: "s1".to_owned(), rules }];
    }
}

fn limit(id: &str, max: i64, from: DateTime<Utc>) -> Limit {
    Limit { limit_id: id.to_owned(), from, max_replicas: max, initial_max_replicas: max }
}

/// A step in a few words: what is told, of which rule, how many against which limit, and why if it is not the usual.
fn said(step: &Step) -> String {
    let number = |number: Option<i64>| number.map_or("?".to_owned(), |number| number.to_string());
    let silenced = if step.silenced_by.is_some() { " (held back)" } else { "" };
    let against = step.limit.map_or_else(String::new, |limit| format!("/{limit}"));
    format!("{} {} {}{against} {}{silenced}", step.kind, step.rule, number(step.value), step.reason)
}

/// The Deployment asks for so many replicas; version and time go together.
fn asks(at_minute: i64, replicas: i64) -> Sighting {
    sighting(at_minute, Says::Number(replicas))
}

fn sighting(at_minute: i64, says: Says) -> Sighting {
    let place = Place {
        version: (says != Says::Gone).then(|| (1000 + at_minute).to_string()),
        generation: None,
        time: minute(at_minute),
        insert_id: format!("i{at_minute}"),
        event_id: format!("e{at_minute}"),
    };
    let state = State {
        place,
        says,
        target: None,
        counts: true,
        touched: true,
        creates: false,
        write_id: format!("w{at_minute}"),
        actor: "deploy@acme-prod.iam.gserviceaccount.com".to_owned(),
        on_behalf_of: None,
        route: Route::Pipeline,
    };
    let shows = !matches!(says, Says::Gone | Says::MayBeGone);
    Sighting { uid: Some("uid-1".to_owned()), born_at: None, shows, state }
}

/// What an entry shows, as the decoder reads it.
fn decoded(sample: &Sample) -> Option<Sighting> {
    let bytes = sample.bytes();
    let entry: Entry<'_> = serde_json::from_slice(&bytes).expect("an entry");
    let write = match decode(&entry).expect("decodable") {
        Decoded::Writes(mut writes) => writes.remove(0),
        Decoded::Observed(_, write) => *write,
        Decoded::Ignored(_) | Decoded::Canary(_) => return None,
    };
    Sighting::of(&write, write.insert_id, write.insert_id, Route::Pipeline)
}
