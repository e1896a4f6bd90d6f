//! A running `serve` judges by what was registered a moment ago, and by nothing where it cannot ask.

use pedwatch::store::query;

use super::*;
use crate::cli::{command, run, stderr};
use crate::proxy::{Fault, Proxy};
use crate::subscriber::serve;

/// A folder with a store, and a registry in a database of Firestore.
struct World {
    folder: tempfile::TempDir,
    store: String,
    registry: String,
}

impl World {
    fn new() -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let store = format!("sqlite:{}", folder.path().join("facts.db").display());
        World { folder, store, registry: format!("firestore:{}", fresh_database()) }
    }

    /// Registers a limit, as a pipeline does.
    fn register(&self, max: i64) {
        let file = self.folder.path().join("orders-api.yaml");
        std::fs::write(&file, ped("payments", "orders-api", None, max)).expect("written");
        let mut command = command();
        command.args(["--config", "fixtures/pedwatch.toml", "ped", "register"]).arg(file);
        command.args(["--updated-by=test", "--reason=test", "--store", &self.store]);
        command.env("PEDWATCH_REGISTRY", &self.registry).env("FIRESTORE_EMULATOR_HOST", firestore().to_string());
        let output = run(&mut command, b"");
        assert!(output.status.success(), "{}", stderr(&output));
    }

    /// The variables of a subscriber that reads all limits as seldom as it may.
    fn env(&self, server: &str) -> Vec<(&'static str, String)> {
        vec![
            ("PEDWATCH_REGISTRY", self.registry.clone()),
            ("FIRESTORE_EMULATOR_HOST", server.to_owned()),
            ("PEDWATCH_CONSUMER__LIMITS_REFRESH_SECONDS", "300".to_owned()),
        ]
    }

    /// How many rows a table has; of alerts, those over the limit.
    async fn count(&self, table: &str) -> usize {
        let path = self.store.strip_prefix("sqlite:").expect("a file");
        let found: Vec<Json> =
            query::dump(&Sqlite::open(Path::new(path)).expect("a store"), table).await.expect("read");
        found.iter().filter(|row| table != "alert_log" || row["alert_type"] == "over_limit").count()
    }
}

/// A write of now, and the answer to it.
async fn push(url: &str, version: i64, replicas: i64) -> u16 {
    let at = Utc::now().to_rfc3339();
    let write = Sample::patch(&format!("w{version}"), &at, replicas).actor(PIPELINE).version(version, version);
    let answer = reqwest::Client::new().post(format!("{url}/pubsub/push")).body(write.bytes()).send().await;
    answer.expect("an answer").status().as_u16()
}

#[test]
fn what_was_registered_a_moment_ago_is_what_is_judged_by() {
    let world = World::new();
    world.register(6);
    block_on(async {
        let env = world.env(&firestore().to_string());
        let env: Vec<(&str, &str)> = env.iter().map(|(name, value)| (*name, value.as_str())).collect();
        let (subscriber, url) = serve(world.folder.path(), &world.store, &env);
        subscriber.says("ready for messages").await;
        assert_eq!((push(&url, 7, 5).await, world.count("alert_log").await), (204, 0), "within");
        world.register(3);
        assert_eq!(world.count("alert_log").await, 1, "of the 5 that stand, by who registers");
        assert_eq!((push(&url, 8, 4).await, world.count("alert_log").await), (204, 2), "lowered, and over");
        world.register(8);
        assert_eq!((push(&url, 9, 7).await, world.count("alert_log").await), (204, 2), "raised, and within");
        assert_eq!(subscriber.page("/readyz").await.0, 200);
        assert_eq!(world.count("replica_events").await, 3);
    });
}

#[test]
fn what_cannot_be_judged_comes_again() {
    let world = World::new();
    world.register(6);
    block_on(async {
        let faults = [Fault::InternalError, Fault::BadGateway, Fault::ResetMidBody, Fault::TooManyRequests].repeat(2);
        let proxy = Proxy::new(firestore(), "batchGet", &faults);
        let env = world.env(&proxy.address.to_string());
        let env: Vec<(&str, &str)> = env.iter().map(|(name, value)| (*name, value.as_str())).collect();
        let (subscriber, url) = serve(world.folder.path(), &world.store, &env);
        subscriber.says("ready for messages").await;
        world.register(3);
        let mut refused = 0;
        while push(&url, 7, 5).await != 204 {
            refused += 1;
            // Nothing is kept of what is not acknowledged.
            assert_eq!((world.count("replica_events").await, world.count("alert_log").await), (0, 0));
            assert!(refused <= faults.len(), "it goes on refusing: {}", subscriber.log());
        }
        // `/readyz` asks too, so that it may have run into one or the other.
        assert!(refused >= faults.len() - 2, "{refused}");
        assert_eq!((world.count("replica_events").await, world.count("alert_log").await), (1, 1), "judged by 3");
        let log = subscriber.log();
        assert!(log.contains("the registry firestore:acme-registry-"), "{log}");
        assert!(!log.contains('@') && !log.contains("protoPayload"), "{log}");
    });
}

/// A registry that is not there at the start is waited for as a table is, and told.
#[test]
fn a_registry_that_lacks_what_the_store_has_is_told_at_the_start() {
    let world = World::new();
    block_on(async {
        let path = world.store.strip_prefix("sqlite:").expect("a file");
        limit(&Sqlite::open(Path::new(path)).expect("a store"), 3, None, "2026-09-01T00:00:00Z").await;
        let mut env = world.env(&firestore().to_string());
        env.push(("PEDWATCH_CONSUMER__START_WAIT_SECONDS", "1".to_owned()));
        let env: Vec<(&str, &str)> = env.iter().map(|(name, value)| (*name, value.as_str())).collect();
        let (mut subscriber, _) = serve(world.folder.path(), &world.store, &env);
        assert!(!subscriber.ended(std::time::Duration::from_secs(60)).success());
        let log = subscriber.log();
        assert!(
            log.contains("is empty, and the store has versions of PEDs") && log.contains("pedwatch daily"),
            "{log}"
        );
    });
}
