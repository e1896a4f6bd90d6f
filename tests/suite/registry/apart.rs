//! A registry beside the store of the facts: what a kill between the two leaves, who mends it, and that nobody is judged by what
//! the store does not know yet.

use std::path::PathBuf;
use std::sync::Mutex;
use std::sync::atomic::AtomicBool;

use pedwatch::ped::limits::Limits;
use pedwatch::pipeline::register::mend;
use pedwatch::store::query;

use super::*;
use crate::cli::{command, run, stderr, stdout};
use crate::proxy::{Fault, Proxy};
use crate::pubsub::eventually;

/// A store that takes versions only sometimes: whoever brings them is killed before.
struct Losing {
    store: Arc<dyn Store>,
    loses: AtomicBool,
    /// Where somebody registers a limit before the next question is answered.
    overtaken_by: Mutex<Option<Arc<dyn Store>>>,
}

#[async_trait::async_trait]
impl Store for Losing {
    async fn append(&self, records: Arc<[Record]>) -> Result<Vec<Appended>, StoreError> {
        let is_version = |record: &Record| matches!(record, Record::Version(_));
        if self.loses.load(Ordering::Relaxed) && records.iter().any(is_version) {
            return Err(StoreError::Transient("killed".to_owned()));
        }
        self.store.append(records).await
    }

    fn appends_at_once(&self) -> usize {
        self.store.appends_at_once()
    }

    async fn check(&self) -> Result<(), StoreError> {
        self.store.check().await
    }

    async fn fetch(&self, query: &Query) -> Result<Rows, StoreError> {
        let overtaken_by = self.overtaken_by.lock().expect("whole").take();
        if let Some(other) = overtaken_by {
            limit(&*other, 4, None, "2026-09-01T00:00:00Z").await;
        }
        self.store.fetch(query).await
    }
}

/// What there is on one machine: a file, and a database of Firestore.
struct World {
    folder: tempfile::TempDir,
    database: DatabaseName,
}

impl World {
    fn new() -> Self {
        World { folder: tempfile::tempdir().expect("a folder"), database: fresh_database() }
    }

    fn file(&self) -> PathBuf {
        self.folder.path().join("facts.db")
    }

    fn facts(&self) -> Arc<dyn Store> {
        Arc::new(Sqlite::open(&self.file()).expect("a file"))
    }

    /// Where those who bring versions to the facts are killed while `loses` is true.
    async fn losing(&self) -> (Arc<Losing>, Arc<dyn Store>) {
        let losing =
            Arc::new(Losing { store: self.facts(), loses: AtomicBool::new(false), overtaken_by: Mutex::default() });
        let facts: Arc<dyn Store> = Arc::clone(&losing) as Arc<dyn Store>;
        (losing, Arc::new(beside(facts, &self.database, firestore()).await))
    }

    /// The binary, with this store and this registry.
    fn run(&self, args: &[&str]) -> String {
        let mut command = command();
        command.args(["--config", "fixtures/pedwatch.toml"]).args(args);
        command.arg(format!("--store=sqlite:{}", self.file().display()));
        command.env("PEDWATCH_REGISTRY", format!("firestore:{}", self.database));
        command.env("FIRESTORE_EMULATOR_HOST", firestore().to_string());
        let output = run(&mut command, b"");
        assert!(output.status.success(), "{args:?}: {}", stderr(&output));
        stdout(&output)
    }

    fn register(&self, name: &str, max: i64) -> String {
        let file = self.folder.path().join(format!("{name}.yaml"));
        std::fs::write(&file, ped("payments", name, None, max)).expect("written");
        let file = file.display().to_string();
        self.run(&["ped", "register", &file, "--updated-by=test", "--reason=test"])
    }
}

/// Registers a limit, and is killed between the registry and the facts.
async fn is_killed(losing: &Losing, store: &dyn Store, max: i64, now: &str) {
    losing.loses.store(true, Ordering::Relaxed);
    let registrations = registrations(&ped("payments", "orders-api", None, max), None, now, "ci");
    let error = pedwatch::store::register(store, registrations).await.expect_err("killed");
    assert!(matches!(error, StoreError::Transient(_)), "{error:?}");
    let said = error.to_string();
    assert!(said.contains("in force by the registry firestore:acme-registry-"), "{said}");
    assert!(said.contains("the next `ped register` or `daily`") && said.ends_with("killed"), "{said}");
    losing.loses.store(false, Ordering::Relaxed);
}

/// The maxima that are in `deployment_config`.
async fn recorded(facts: &dyn Store) -> BTreeSet<Option<i64>> {
    facts.claims(None).await.expect("readable").iter().map(|claim| claim.max_replicas).collect()
}

fn write(replicas: i64, at: &str) -> Sample {
    Sample::patch("a", at, replicas).actor(PIPELINE).version(7, 2)
}

#[test]
fn a_lowering_that_the_facts_do_not_know_yet_alerts_at_once() {
    block_on(async {
        let world = World::new();
        let (losing, store) = world.losing().await;
        limit(&*store, 6, None, "2026-09-01T00:00:00Z").await;
        let consumer = consumer(&store).await;
        is_killed(&losing, &*store, 3, "2026-09-04T20:41:00Z").await;
        assert_eq!(recorded(&*losing).await, BTreeSet::from([Some(6)]));
        deliver(&consumer, &write(5, "2026-09-04T20:41:03Z"), time("2026-09-04T20:41:05Z")).await;
        let raised = rows(&*store, "alert_log", &["alert_type", "limit_max_replicas"]).await;
        assert_eq!(raised, [json!(["over_limit", 3])]);
        // And stands, once they do; nobody raises it twice.
        let now = time("2026-09-04T20:50:00Z");
        let (mended, again) = mend(&*store, &config().policy, now).await.expect("mended");
        assert_eq!((mended.len(), again.len()), (1, 0));
        assert_eq!(recorded(&*losing).await, BTreeSet::from([Some(3), Some(6)]));
        assert_eq!(standing(&*store).await, [json!(["over_limit", 3, "2026-09-04T20:41:03.000000Z", true])]);
        assert_eq!(mend(&*store, &config().policy, now).await.expect("nothing").0, [], "it is mended once");
    });
}

#[test]
fn a_raise_that_the_facts_do_not_know_yet_alerts_nobody() {
    block_on(async {
        let world = World::new();
        let (losing, store) = world.losing().await;
        limit(&*store, 3, None, "2026-09-01T00:00:00Z").await;
        let consumer = consumer(&store).await;
        is_killed(&losing, &*store, 6, "2026-09-04T20:41:00Z").await;
        deliver(&consumer, &write(5, "2026-09-04T20:41:03Z"), time("2026-09-04T20:41:05Z")).await;
        let over_limits = async || {
            let raised = rows(&*store, "alert_log", &["alert_type"]).await;
            raised.iter().filter(|row| **row == json!(["over_limit"])).count()
        };
        assert_eq!(over_limits().await, 0);
        // The question about the facts says that it is over; what judges again knows better.
        let namespaces = BTreeSet::from(["payments".to_owned()]);
        let unraised = query::unraised(&*store, &namespaces, None).await.expect("readable");
        assert!(unraised.iter().any(|found| found.limit_max_replicas == Some(3)), "{unraised:?}");
        consumer.refresh(time("2026-09-04T20:42:00Z")).await.expect("refreshed");
        assert_eq!(over_limits().await, 0);
        mend(&*store, &config().policy, time("2026-09-04T20:50:00Z")).await.expect("mended");
        consumer.refresh(time("2026-09-04T20:51:00Z")).await.expect("refreshed");
        assert_eq!(over_limits().await, 0);
    });
}

/// What the store found out of itself before the registry was asked is raised when it is sure.
#[test]
fn what_waited_for_the_facts_is_raised_when_they_know() {
    block_on(async {
        let world = World::new();
        let (losing, store) = world.losing().await;
        limit(&*store, 6, None, "2026-09-01T00:00:00Z").await;
        let consumer = consumer(&store).await;
        deliver(&consumer, &write(5, "2026-09-04T20:41:03Z"), time("2026-09-04T20:41:05Z")).await;
        is_killed(&losing, &*store, 3, "2026-09-04T20:45:00Z").await;
        consumer.refresh(time("2026-09-04T20:46:00Z")).await.expect("refreshed");
        assert_eq!(standing(&*store).await, [] as [Json; 0]);
        let (_, raised) = mend(&*store, &config().policy, time("2026-09-04T20:50:00Z")).await.expect("mended");
        assert_eq!(raised.len(), 1, "{raised:?}");
        assert_eq!(standing(&*store).await, [json!(["over_limit", 3, "2026-09-04T20:45:00.000000Z", true])]);
    });
}

#[test]
fn the_next_who_registers_or_retires_mends_what_a_kill_left_out() {
    for retires in [false, true] {
        let world = World::new();
        world.register("invoices-api", 4);
        let (losing, store) = block_on(world.losing());
        block_on(is_killed(&losing, &*store, 6, "2026-09-04T20:41:00Z"));
        assert_eq!(block_on(recorded(&*losing)), BTreeSet::from([Some(4)]));
        let said = match retires {
            false => world.register("search-api", 5),
            true => world.run(&["ped", "remove", "payments/invoices-api", "--updated-by=test", "--reason=test"]),
        };
        assert!(said.contains("1 versions were registered and not yet in the store; they are now"), "{said}");
        let expected = if retires { [None, Some(4), Some(6)] } else { [Some(4), Some(5), Some(6)] };
        assert_eq!(block_on(recorded(&*losing)), BTreeSet::from(expected));
        let listed = world.run(&["ped", "list", "--format=ndjson"]);
        assert!(listed.contains("orders-api"), "{listed}");
    }
}

/// The process itself is killed, while BigQuery does not answer it.
#[test]
fn whoever_is_killed_in_between_has_registered_and_the_next_one_mends_it() {
    block_on(async {
        let world = World::new();
        let Dataset { name, server, store: facts } = Dataset::new().await;
        let register = |name_of: &str, max: i64, bigquery: SocketAddr| {
            let file = world.folder.path().join(format!("{name_of}.yaml"));
            std::fs::write(&file, ped("payments", name_of, None, max)).expect("written");
            let mut command = command();
            command.args(["--config", "fixtures/pedwatch.toml", "ped", "register"]).arg(file);
            command.args(["--updated-by=test", "--reason=test"]).arg(format!("--store=bigquery:{name}"));
            command.env("PEDWATCH_REGISTRY", format!("firestore:{}", world.database));
            command.env("FIRESTORE_EMULATOR_HOST", firestore().to_string());
            command.env("BIGQUERY_EMULATOR_HOST", bigquery.to_string());
            command
        };
        let proxy = Proxy::new(server, "insertAll", &[Fault::Hang; 9]);
        let mut killed = register("orders-api", 3, proxy.address).spawn().expect("started");
        eventually("it is about to bring the version to the facts", async || proxy.calls("insertAll") > 0).await;
        killed.kill().expect("SIGKILL");
        killed.wait().expect("gone");
        let facts: Arc<dyn Store> = Arc::new(facts);
        let store: Arc<dyn Store> = Arc::new(beside(Arc::clone(&facts), &world.database, firestore()).await);
        assert_eq!(versions(&*store).await.iter().map(|(_, max)| *max).collect::<Vec<_>>(), [3]);
        assert_eq!(recorded(&*facts).await, BTreeSet::new());
        let output = run(&mut register("search-api", 5, server), b"");
        assert!(output.status.success(), "{}", stderr(&output));
        assert!(stdout(&output).starts_with("1 versions were registered and not yet in the store"), "{output:?}");
        assert_eq!(recorded(&*facts).await, BTreeSet::from([Some(3), Some(5)]));
    });
}

/// More than a page of Deployments, many of them of one commit and so of one stamp.
#[test]
fn all_limits_are_read_by_pages_and_then_what_has_changed() {
    block_on(async {
        let world = World::new();
        let (_, store) = world.losing().await;
        let count = 650;
        let all = registrations(&many(count, 3), None, "2026-09-01T00:00:00Z", "ci");
        pedwatch::store::register(&*store, all).await.expect("registered");
        let distinct = async || {
            let claims = store.claims(None).await.expect("readable");
            claims.iter().map(|claim| claim.id.clone()).collect::<BTreeSet<String>>().len()
        };
        assert_eq!(distinct().await, count);
        limit(&*store, 6, None, "2026-09-02T00:00:00Z").await;
        assert_eq!(distinct().await, count + 1);
        let versions: BTreeSet<String> =
            store.versions(None).await.expect("readable").into_iter().map(|version| version.id).collect();
        assert_eq!(versions.len(), count + 1);
    });
}

/// And brings along what the store alone has: from before the registry, or by somebody who did not know of it.
#[test]
fn daily_mends_what_a_kill_left_out_and_adopts_what_the_registry_lacks() {
    let world = World::new();
    let (losing, store) = block_on(world.losing());
    block_on(async {
        limit(&*losing, 3, None, "2026-09-01T00:00:00Z").await;
        let error = store.check().await.expect_err("the registry is empty");
        assert!(matches!(error, StoreError::Missing(_)), "{error:?}");
        assert!(error.to_string().contains("is empty, and the store has versions of PEDs; expected"), "{error}");
        // Nor does anybody begin anew what the store knows.
        let second = registrations(&ped("payments", "orders-api", None, 5), None, "2026-09-02T00:00:00Z", "ci");
        let error = pedwatch::store::register(&*store, second).await.expect_err("it is not copied yet");
        assert!(error.to_string().contains("knows nothing of payments/orders-api, and the store has"), "{error}");
    });
    let said = world.run(&["daily"]);
    assert!(said.contains("1 versions were in the store and not in the registry; they are now"), "{said}");
    block_on(async {
        store.check().await.expect("both have it");
        assert_eq!(versions(&*store).await, [("09-01".to_owned(), 3)]);
        is_killed(&losing, &*store, 6, "2026-09-04T20:41:00Z").await;
    });
    let said = world.run(&["daily", "--format=json"]);
    assert!(said.starts_with('{'), "{said}");
    assert_eq!(block_on(recorded(&*losing)), BTreeSet::from([Some(3), Some(6)]));
    let said = world.run(&["daily"]);
    assert!(!said.contains("versions were"), "nothing is left: {said}");
}

/// Who looks into the registry first and into the store then finds the version of somebody who came between in the store alone.
#[test]
fn nobody_is_refused_because_somebody_else_registers_meanwhile() {
    for asks in [false, true] {
        block_on(async {
            let world = World::new();
            let (slow, store) = world.losing().await;
            let other: Arc<dyn Store> = Arc::new(beside(world.facts(), &world.database, firestore()).await);
            *slow.overtaken_by.lock().expect("whole") = Some(other);
            match asks {
                true => store.check().await.expect("it has what the store has"),
                false => assert!(limit(&*store, 6, None, "2026-09-02T00:00:00Z").await),
            }
            let expected = [("09-01", 4), ("09-02", 6)].map(|(from, max)| (from.to_owned(), max));
            assert_eq!(versions(&*store).await, expected[..if asks { 1 } else { 2 }]);
        });
    }
}

/// Somebody with another store beside the registry brings what was left out into that one, and not into this.
#[test]
fn what_another_store_was_brought_daily_brings_into_this_one() {
    let world = World::new();
    let (losing, store) = block_on(world.losing());
    block_on(async {
        limit(&*store, 3, None, "2026-09-01T00:00:00Z").await;
        is_killed(&losing, &*store, 6, "2026-09-04T20:41:00Z").await;
        let other: Arc<dyn Store> = Arc::new(Sqlite::in_memory().expect("memory"));
        let other = beside(other, &world.database, firestore()).await;
        let (mended, _) = mend(&other, &config().policy, time("2026-09-04T20:42:00Z")).await.expect("mended");
        assert_eq!(mended.len(), 1);
    });
    assert_eq!(block_on(recorded(&*losing)), BTreeSet::from([Some(3)]));
    let said = world.run(&["daily"]);
    assert!(said.contains("1 versions were registered and not yet in the store"), "{said}");
    assert_eq!(block_on(recorded(&*losing)), BTreeSet::from([Some(3), Some(6)]));
}

/// Clocks of those who register may be apart. Who comes last stands last.
#[test]
fn who_registers_last_stands_last_though_the_clock_be_behind() {
    block_on(async {
        let world = World::new();
        let (_, store) = world.losing().await;
        let in_force = async |at: &str| {
            let claims = store.claims(None).await.expect("readable");
            let subject = claims[0].subject.clone();
            Limits::new(claims).of_scope(&subject, time(at)).map(|limit| limit.max_replicas)
        };
        limit(&*store, 3, None, "2026-09-04T20:41:00Z").await;
        limit(&*store, 6, None, "2026-09-04T20:39:00Z").await;
        assert_eq!(in_force("2026-09-04T20:41:00Z").await, Some(3));
        assert_eq!(in_force("2026-09-04T20:41:01Z").await, Some(6));
        assert!(!limit(&*store, 6, None, "2026-09-04T20:40:00Z").await, "it holds already");
        // A time that somebody named is not moved, and what is further ahead was meant so.
        limit(&*store, 4, Some("2026-09-04T20:40:00Z"), "2026-09-04T20:40:30Z").await;
        assert_eq!(in_force("2026-09-04T20:40:00Z").await, Some(4));
        assert_eq!(in_force("2026-09-04T20:42:00Z").await, Some(6));
        limit(&*store, 8, None, "2026-09-04T20:00:00Z").await;
        assert_eq!(in_force("2026-09-04T20:00:00Z").await, Some(8));
        assert_eq!(in_force("2026-09-04T20:42:00Z").await, Some(6));
    });
}
