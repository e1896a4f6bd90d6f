//! Laws that hold for every order, duplication and cut of the entries; and the order itself, held against SQL's.

use std::collections::BTreeMap;
use std::sync::Arc;

use pedwatch::incident::Known;
use pedwatch::store::row::{Record, ReplicaEvent};
use pedwatch::store::sqlite::Sqlite;
use pedwatch::store::{Store, query};
use proptest::prelude::*;
use proptest::sample::Index;
use serde_json::Value as Json;

use super::*;
use crate::support::{block_on, pipeline};

/// What happened to an object, in the order in which it happened.
#[derive(Debug, Clone, Copy)]
enum Happened {
    /// Its number was set; the answer shows it, and the writer's clock may be some seconds off.
    Set(i64, i64),
    /// By `/scale`, whose answer shows no generation.
    Scaled(i64, i64),
    /// By a call whose bodies are missing: nothing but its time tells where it stands.
    SetUnseen,
    /// The answer shows the object and no version.
    SetUnversioned(i64),
    /// The number was not touched.
    Shown,
    /// A dry run that would have set it.
    DryRun(i64),
    /// It was deleted and made again.
    Reborn(i64),
}

/// How far a writer's clock is off, in seconds. Calls are cut off before an end would be refuted.
fn off() -> impl Strategy<Value = i64> {
    prop::sample::select(vec![-40, -7, 0, 7, 40])
}

fn happened() -> impl Strategy<Value = Happened> {
    prop_oneof![
        4 => (0..9_i64, off()).prop_map(|(number, off)| Happened::Set(number, off)),
        2 => (0..9_i64, off()).prop_map(|(number, off)| Happened::Scaled(number, off)),
        2 => Just(Happened::SetUnseen),
        2 => (0..9_i64).prop_map(Happened::SetUnversioned),
        1 => Just(Happened::Shown),
        1 => (0..9_i64).prop_map(Happened::DryRun),
        1 => (0..9_i64).prop_map(Happened::Reborn),
    ]
}

/// The entries of a history: each step takes five seconds, so that clocks and versions disagree; each life an hour.
fn entries(history: &[Happened]) -> Vec<Sample> {
    let mut entries = Vec::new();
    let (mut life, mut born, mut version, mut generation, mut number) = (0, start(), 99, 0, 2);
    let mut clock = start();
    let begun = std::iter::once(&Happened::Reborn(2)).chain(history);
    for (index, happened) in begun.enumerate() {
        clock += Duration::seconds(5);
        let (now, id) = (clock, format!("i{index}"));
        let at = |off: i64| pedwatch::id::time(now + Duration::seconds(off));
        let object = |off: i64, shown: i64, version: i64, generation: i64, life: i64, born: DateTime<Utc>| {
            Sample::patch(&id, &at(off), shown)
                .version(version, generation)
                .uid(&format!("uid-{life}"))
                .set("/protoPayload/response/metadata/creationTimestamp", born.to_rfc3339())
        };
        match *happened {
            Happened::Set(to, off) | Happened::Scaled(to, off) => {
                (version, generation, number) = (version + 1, generation + 1, to);
                let set = object(off, number, version, generation, life, born);
                entries.push(if matches!(happened, Happened::Scaled(..)) { set.scale() } else { set });
            }
            Happened::SetUnseen => {
                (version, generation) = (version + 1, generation + 1);
                let mut unseen = Sample::patch(&id, &at(0), number);
                let payload = unseen.entry["protoPayload"].as_object_mut().expect("a payload");
                payload.remove("request");
                payload.remove("response");
                entries.push(unseen);
            }
            Happened::SetUnversioned(to) => {
                (version, generation, number) = (version + 1, generation + 1, to);
                let mut set = object(0, number, version, generation, life, born);
                let metadata = set.entry["protoPayload"]["response"]["metadata"].as_object_mut().expect("metadata");
                metadata.retain(|key, _| key != "resourceVersion" && key != "generation");
                entries.push(set);
            }
            Happened::Shown => {
                let shown = object(0, number, version, generation, life, born);
                entries.push(
                    shown.set("/protoPayload/request", serde_json::json!({"@type": "k8s.io/Patch", "metadata": {}})),
                );
            }
            Happened::DryRun(to) => entries.push(object(0, to, version, generation + 1, life, born)),
            Happened::Reborn(to) => {
                if life > 0 {
                    entries.push(
                        object(0, number, version, generation, life, born)
                            .delete()
                            .set("/insertId", format!("d{index}")),
                    );
                    clock += Duration::hours(1);
                }
                let off = (clock - now).num_seconds();
                life += 1;
                (born, version, generation, number) = (clock, version + 2, 1, to);
                let created = object(off, number, version, generation, life, born);
                entries.push(created.set("/protoPayload/methodName", "io.k8s.apps.v1.deployments.create"));
            }
        }
    }
    entries
}

/// The newest state by SQL: the last in the order of those that say something of the number. `None`: gone.
fn newest_by_sql(samples: &[Sample]) -> Option<Option<i64>> {
    block_on(async {
        let store = Sqlite::in_memory().expect("memory");
        let pipeline = pipeline(&store).await;
        let policy = pipeline.policy();
        let mut rows = Vec::new();
        for sample in samples {
            let bytes = sample.bytes();
            let entry: Entry<'_> = serde_json::from_slice(&bytes).expect("an entry");
            let writes = match decode(&entry).expect("decodable") {
                Decoded::Writes(writes) => writes,
                Decoded::Observed(_, write) => vec![*write],
                Decoded::Ignored(_) | Decoded::Canary(_) => Vec::new(),
            };
            rows.extend(
                writes.iter().map(|write| Record::Event(Box::new(ReplicaEvent::new(write, policy, Utc::now())))),
            );
        }
        let rows: Arc<[Record]> = rows.into();
        store.append(rows).await.expect("appended");
        let mut found = query::dump(&store, "ordered_writes").await.expect("readable");
        let says = |row: &Json| row["is_end"] == 1 || row["outcome"] == "stored";
        found.retain(says);
        found.sort_by_key(|row| row["position"].as_i64());
        let last = found.last().expect("a state");
        (last["is_end"] != 1).then(|| last["replicas"].as_i64())
    })
}

/// The newest state by a document that has seen these entries in this order.
fn newest(samples: &[Sample]) -> Option<Option<i64>> {
    let mut known = Known::default();
    for sighting in samples.iter().filter_map(decoded) {
        known.see(&sighting);
    }
    match known.newest().map(|state| state.says) {
        Some(Says::Number(number)) => Some(Some(number)),
        Some(Says::Unknown) => Some(None),
        _ => None,
    }
}

/// What happened, and which of its entries arrive one after the other: each once at least.
type History = (Vec<Happened>, Vec<usize>);

fn arrivals(happened: Vec<Happened>) -> impl Strategy<Value = History> {
    let order: Vec<usize> = (0..entries(&happened).len()).collect();
    let copies = prop::collection::vec(any::<Index>(), 0..6);
    (Just(happened), Just(order).prop_shuffle(), copies).prop_map(|(happened, mut order, copies)| {
        for copy in copies {
            let entry = order[copy.index(order.len())];
            order.insert(copy.index(order.len() + 1), entry);
        }
        (happened, order)
    })
}

fn histories(longest: usize) -> impl Strategy<Value = History> {
    prop::collection::vec(happened(), 0..longest).prop_flat_map(arrivals)
}

fn arrived((happened, order): &History) -> Vec<Sample> {
    let entries = entries(happened);
    order.iter().map(|&index| entries[index].clone()).collect()
}

fn cases(usual: u32) -> ProptestConfig {
    let cases = std::env::var("PEDWATCH_TEST_INCIDENT_CASES").ok().map(|cases| cases.parse().expect("a number"));
    ProptestConfig { cases: cases.unwrap_or(usual), failure_persistence: None, ..ProptestConfig::default() }
}

proptest! {
    #![proptest_config(cases(64))]

    /// `position` of `ordered_writes` is the one order; what a document takes for the newest is its last.
    #[test]
    fn the_newest_state_is_the_last_by_sql_in_every_order_of_arrival(history in histories(12)) {
        prop_assert_eq!(newest(&arrived(&history)), newest_by_sql(&entries(&history.0)));
    }
}

/// Who wrote the number shows no generation, and its clock is ahead; another answer of that version shows one. Found by
/// [`what_was_told_last_agrees_with_the_newest_known_state`].
#[test]
fn a_dry_run_is_told_by_whichever_answer_shows_the_generation() {
    let happened = vec![Happened::Scaled(2, 40), Happened::DryRun(1), Happened::Shown];
    let history = (happened, vec![0, 1, 3, 2]);
    assert_eq!(newest_by_sql(&entries(&history.0)), Some(Some(2)));
    assert_eq!(newest(&arrived(&history)), Some(Some(2)));
}

/// Whether each rule was told to be open, by what was told last; fails where "opened" follows "opened".
#[derive(Default)]
struct Told(BTreeMap<AlertType, bool>);

impl Told {
    fn hear(&mut self, steps: &[Step]) {
        use pedwatch::incident::Kind;
        for step in steps.iter().filter(|step| step.silenced_by.is_none()) {
            let is_open = self.0.entry(step.rule).or_default();
            match step.kind {
                Kind::Opened => assert!(!std::mem::replace(is_open, true), "opened twice: {}", said(step)),
                Kind::Recovered => assert!(std::mem::replace(is_open, false), "recovered twice: {}", said(step)),
                Kind::Worsened | Kind::Repeated => assert!(*is_open, "not open: {}", said(step)),
                Kind::Once | Kind::Digest => {}
            }
        }
    }

    fn open(&self) -> Vec<AlertType> {
        self.0.iter().filter(|(_, open)| **open).map(|(rule, _)| *rule).collect()
    }
}

/// What holds of the newest state by SQL, against a limit.
fn expected(newest: Option<Option<i64>>, max: Option<i64>, policy: &Policy) -> Vec<AlertType> {
    let mut expected = Vec::new();
    match (newest, max) {
        (Some(None), _) => expected.push(AlertType::UnknownValue),
        (Some(Some(number)), Some(max)) if number > max => expected.push(AlertType::OverLimit),
        (Some(Some(number)), max) => {
            expected.extend(policy.outside_range(number).then_some(AlertType::OutsidePlatformRange));
            expected.extend(max.is_none().then_some(AlertType::Unregistered));
        }
        (None, _) => {}
    }
    expected
}

/// Between two arrivals: some seconds, perhaps another limit, and a look at what is due.
#[derive(Debug, Clone, Copy)]
struct Between {
    seconds: i64,
    limit: Option<Option<i64>>,
    silence: Option<bool>,
}

fn between() -> impl Strategy<Value = Between> {
    let limit = prop_oneof![6 => Just(None), 1 => Just(Some(None)), 2 => (1..8_i64).prop_map(|max| Some(Some(max)))];
    let silence = prop_oneof![6 => Just(None), 1 => any::<bool>().prop_map(Some)];
    (0..900_i64, limit, silence).prop_map(|(seconds, limit, silence)| Between { seconds, limit, silence })
}

/// Feeds entries as they arrive, then lets everything come due. What was told last, and how often.
fn told_of(arrived: &[Sample], between: &[Between], behind: Duration) -> (Told, Course) {
    let mut course = Course::new();
    course.settings.hold = Duration::minutes(1);
    course.now = start() + behind;
    let mut told = Told::default();
    for (sample, between) in arrived.iter().zip(between.iter().cycle()) {
        course.now += Duration::seconds(between.seconds);
        match between.silence {
            Some(true) => course.silence(&[AlertType::OverLimit, AlertType::UnknownValue]),
            Some(false) => course.silences.clear(),
            None => {}
        }
        if let Some(max) = between.limit {
            course.limit = max.map(|max| limit("v", max, course.now));
        }
        told.hear(&course.steps(&Input::Limits));
        if let Some(sighting) = decoded(sample) {
            told.hear(&course.steps(&Input::Own(sighting)));
        }
        told.hear(&course.steps(&Input::Timer));
    }
    course.silences.clear();
    told.hear(&course.steps(&Input::Sweep));
    for _ in 0..3 {
        course.now += course.settings.flap + course.settings.hold;
        told.hear(&course.steps(&Input::Timer));
    }
    (told, course)
}

/// Of a rule that is hidden or stays by its nature, only what must be: an unknown number leaves open what was.
fn agrees(told: &Told, expected: &[AlertType]) -> bool {
    let is_unknown = expected.contains(&AlertType::UnknownValue);
    let is_over = expected.contains(&AlertType::OverLimit);
    let may_stay = |rule: &AlertType| match rule {
        AlertType::OverLimit | AlertType::Unregistered => is_unknown,
        // What was outside before its own limit was passed, is outside still.
        AlertType::OutsidePlatformRange => is_unknown || is_over,
        _ => false,
    };
    let open = told.open();
    expected.iter().all(|rule| open.contains(rule)) && open.iter().all(|rule| expected.contains(rule) || may_stay(rule))
}

proptest! {
    #![proptest_config(cases(32))]

    /// Whatever came in whichever order, however often, and whenever it was looked at: what was told last is what holds.
    #[test]
    fn what_was_told_last_agrees_with_the_newest_known_state(
        history in histories(10),
        between in prop::collection::vec(between(), 1..6),
        behind in prop_oneof![Just(Duration::minutes(1)), Just(Duration::days(9))],
    ) {
        let (told, course) = told_of(&arrived(&history), &between, behind);
        let max = course.limit.as_ref().map(|limit| limit.max_replicas);
        let expected = expected(newest_by_sql(&entries(&history.0)), max, &course.policy);
        prop_assert!(agrees(&told, &expected), "told {:?}, expected {expected:?}", told.open());
    }
}

/// Who wrote the number shows no generation, and its clock is ahead: a dry run before it by the clock takes nothing from it,
/// once another answer shows the generation. Found by [`what_arrives_again_is_told_to_nobody`].
#[test]
fn a_dry_run_that_is_refuted_takes_no_credit_from_who_wrote_the_number() {
    let happened = vec![Happened::Scaled(4, 40), Happened::DryRun(7), Happened::Shown, Happened::SetUnseen];
    let entries = entries(&happened);
    assert_eq!(newest_by_sql(&entries), Some(Some(4)));
    for order in [[0, 2, 1, 4, 3], [0, 1, 2, 3, 4], [4, 3, 2, 1, 0], [3, 2, 1, 4, 0]] {
        assert_eq!(newest(&arrived(&(happened.clone(), order.to_vec()))), Some(Some(4)), "{order:?}");
    }
}

proptest! {
    #![proptest_config(cases(256))]

    /// Every prefix of what arrives was told once: again, all of it, in any order, says nothing.
    #[test]
    fn what_arrives_again_is_told_to_nobody(
        history in histories(10),
        between in prop::collection::vec(between(), 1..6),
    ) {
        let (_, mut course) = told_of(&arrived(&history), &between, Duration::minutes(1));
        let arrived = arrived(&history);
        for sighting in arrived.iter().chain(&arrived).filter_map(decoded) {
            let again = course.told(&Input::Own(sighting));
            prop_assert_eq!(again, Vec::<String>::new());
        }
    }

    /// What is older than `max_age_seconds` is told only by the sweep or a fresh entry, and then as "since …".
    #[test]
    fn nothing_old_is_told_as_news(history in histories(10)) {
        let mut course = Course::new();
        course.now = start() + Duration::days(9);
        for sighting in arrived(&history).iter().filter_map(decoded) {
            prop_assert_eq!(course.told(&Input::Own(sighting)), Vec::<String>::new());
            prop_assert_eq!(course.told(&Input::Timer), Vec::<String>::new());
        }
        for step in course.told(&Input::Sweep) {
            prop_assert!(step.starts_with("opened") && step.ends_with("held_since"), "{}", step);
        }
    }
}
