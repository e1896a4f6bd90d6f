//! PED files: every fault is told, and the JSON Schema for editors agrees with the validation.

use std::path::{Path, PathBuf};

use pedwatch::ped::limits::Limits;
use pedwatch::ped::version::history;
use pedwatch::ped::{Cluster, SCHEMA, parse_all};
use pedwatch::store::Store;
use serde_json::{Value as Json, json};

use crate::support::{on_every_store, ped, register, register_at, root, rows, time};

const PLATFORM: std::ops::RangeInclusive<i64> = 2..=8;

/// Rules that a JSON Schema cannot state: they compare two values, or depend on the configuration.
const BEYOND_SCHEMA: [&str; 9] = [
    "above_range.yaml",
    "below_range.yaml",
    "duplicate_key.yaml",
    "exception_below_minimum.yaml",
    "exception_ends_before_it_begins.yaml",
    "exception_out_of_range.yaml",
    "exceptions_overlap.yaml",
    "min_above_max.yaml",
    "request_above_limit.yaml",
];

fn yaml_files(folder: &str) -> Vec<PathBuf> {
    let mut files: Vec<PathBuf> = std::fs::read_dir(root().join("fixtures").join(folder))
        .expect("a folder")
        .map(|entry| entry.expect("readable").path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "yaml"))
        .collect();
    files.sort();
    files
}

fn faults(texts: &[(&str, &str)]) -> Vec<String> {
    let texts = texts.iter().map(|(file, text)| (Path::new(file), *text));
    parse_all(texts, &PLATFORM)
        .map(|_| Vec::new())
        .unwrap_or_else(|faults| faults.iter().map(ToString::to_string).collect())
}

#[test]
fn every_invalid_file_is_refused_with_its_place() {
    let mut report = String::new();
    for path in yaml_files("ped_invalid") {
        let text = std::fs::read_to_string(&path).expect("readable");
        let name = path.file_name().expect("a name").to_string_lossy().into_owned();
        let found = faults(&[(&name, &text)]);
        assert!(!found.is_empty(), "{name} is valid");
        report.extend(found.iter().map(|fault| format!("{fault}\n")));
    }
    insta::assert_snapshot!(report);
}

#[test]
fn all_faults_of_one_file_are_told_at_once() {
    let text = "apiVersion: pedwatch/v2\nkind: Ped\nmetadata:\n  namespace: Payments\n  deployment: orders-api\nspec:\n  \
                minReplicas: 1\n  maxReplicas: 12\n  resources:\n    limits: {cpu: two}\n  replica: 3\n";
    let found = faults(&[("orders.yaml", text)]);
    for (place, part) in [
        ("1:13", "apiVersion is \"pedwatch/v2\"; expected pedwatch/v1"),
        ("4:14", "metadata.namespace is \"Payments\""),
        ("4:3", "metadata.owner is missing"),
        ("7:16", "spec.minReplicas is 1; expected a whole number from 2 to 8"),
        ("8:16", "spec.maxReplicas is 12; expected a whole number from 2 to 8"),
        ("10:19", "spec.resources.limits.cpu is \"two\"; expected a quantity"),
        ("11:3", "spec.replica is no key of a Ped"),
    ] {
        let expected = format!("orders.yaml:{place}: {part}");
        assert!(found.iter().any(|fault| fault.starts_with(&expected)), "{expected:?} is not among {found:#?}");
    }
    assert_eq!(found.len(), 7, "{found:#?}");
}

#[test]
fn two_files_may_not_apply_for_the_same_deployment() {
    let (any, own) = (ped("payments", "orders-api", None, 3), ped("payments", "orders-api", Some("prod-2"), 3));
    assert_eq!(faults(&[("a.yaml", &any), ("b.yaml", &own)]), [""; 0]);
    let found = faults(&[("a.yaml", &any), ("b.yaml", &any)]);
    assert_eq!(found.len(), 1);
    assert!(
        found[0].starts_with("b.yaml:5:15: metadata applies for payments/orders-api, as a.yaml:5:15 does"),
        "{found:?}"
    );
}

#[test]
fn the_json_schema_accepts_what_is_valid_and_refuses_what_it_can_tell() {
    let schema: Json = serde_json::from_str(SCHEMA).expect("JSON");
    let validator = jsonschema::validator_for(&schema).expect("a schema");
    for path in [yaml_files("ped"), yaml_files("ped_clusters"), yaml_files("demo/ped/2026-09-01")].concat() {
        let text = std::fs::read_to_string(&path).expect("readable");
        assert!(parse_all([(path.as_path(), text.as_str())], &PLATFORM).is_ok(), "{}", path.display());
        assert!(validator.is_valid(&json_of(&text).expect("YAML")), "{}", path.display());
    }
    for path in yaml_files("ped_invalid") {
        let name = path.file_name().expect("a name").to_string_lossy().into_owned();
        let Some(document) = json_of(&std::fs::read_to_string(&path).expect("readable")) else { continue };
        assert_eq!(validator.is_valid(&document), BEYOND_SCHEMA.contains(&name.as_str()), "{name}");
    }
}

/// A YAML file as JSON; `None` when it is no YAML.
fn json_of(text: &str) -> Option<Json> {
    use saphyr::{LoadableYamlNode, Scalar, Yaml};
    fn convert(node: &Yaml<'_>) -> Json {
        match node {
            Yaml::Mapping(members) => members
                .iter()
                .map(|(key, value)| (key.as_str().unwrap_or_default().to_owned(), convert(value)))
                .collect(),
            Yaml::Sequence(items) => items.iter().map(convert).collect(),
            Yaml::Value(Scalar::Integer(number)) => json!(number),
            Yaml::Value(Scalar::FloatingPoint(number)) => json!(number.into_inner()),
            Yaml::Value(Scalar::Boolean(value)) => json!(value),
            Yaml::Value(Scalar::String(text)) => json!(text),
            _ => Json::Null,
        }
    }
    Some(Yaml::load_from_str(text).ok()?.first().map_or(Json::Null, convert))
}

/// The initial and the present maximum of each version, in their order.
async fn numbers(store: &dyn Store) -> Vec<(i64, Option<i64>)> {
    let versions = history(store.versions(None).await.expect("readable"));
    versions.iter().map(|version| (version.initial_max_replicas, version.terms.max_replicas)).collect()
}

#[test]
fn versions_follow_each_other() {
    on_every_store(async |store| {
        register(store, &ped("payments", "orders-api", None, 3), "2026-09-01T00:00:00Z").await;
        register(store, &ped("payments", "orders-api", None, 3), "2026-09-05T00:00:00Z").await;
        register(store, &ped("payments", "orders-api", None, 6), "2026-09-11T00:00:00Z").await;
        assert_eq!(numbers(store).await, [(3, Some(3)), (3, Some(6))], "an unchanged PED is no version");
        let mut versions = store.versions(None).await.expect("readable");
        versions.sort_by_key(|version| version.effective_at);
        let patch = json!([{"op": "replace", "path": "/maxReplicas", "value": 6}]);
        let changes: Vec<_> = versions.iter().map(|version| version.change.clone()).collect();
        assert_eq!(changes, [None, Some(patch)], "as known when it was registered");
        assert_eq!(versions[0].created_at, versions[1].created_at);
        assert_eq!(history(versions.clone()), versions, "and nothing else is known later");
    });
}

#[test]
fn a_version_registered_late_for_an_earlier_time_is_the_first_one_then() {
    on_every_store(async |store| {
        register(store, &ped("payments", "orders-api", None, 4), "2026-09-11T00:00:00Z").await;
        register(store, &ped("payments", "orders-api", None, 2), "2026-09-01T00:00:00Z").await;
        assert_eq!(numbers(store).await, [(2, Some(2)), (2, Some(4))]);
        assert_eq!(rows(store, "current_limits", &["initial_max_replicas"]).await, [json!([2])]);
    });
}

/// Going back and forth at one instant included: each registration is a version of its own.
#[test]
fn of_two_versions_of_one_instant_the_later_registered_one_applies() {
    on_every_store(async |store| {
        for (day, max) in [(1, 3), (2, 7), (3, 4), (4, 3)] {
            let registered = format!("2026-09-0{day}T00:00:00Z");
            register_at(store, &ped("payments", "orders-api", None, max), "2026-09-01T00:00:00Z", &registered).await;
            let limits = Limits::new(store.claims(None).await.expect("readable"));
            let cluster = Cluster { project: "acme-prod", location: "europe-west1", name: "prod-1" };
            let limit = limits.at(cluster, "payments", "orders-api", time("2026-09-05T00:00:00Z"));
            assert_eq!(limit.map(|limit| (limit.max_replicas, limit.initial_max_replicas)), Some((max, max)));
            let current = rows(store, "current_limits", &["max_replicas", "initial_max_replicas"]).await;
            assert_eq!(current, [json!([max, max])]);
        }
    });
}

#[test]
fn the_first_day_is_a_pull_request_of_peds_that_are_valid() {
    let folder = tempfile::tempdir().expect("a folder");
    let into = folder.path().join("peds");
    let into = into.to_str().expect("UTF-8");
    let init = |more: &[&str]| {
        let file = "fixtures/demo/snapshots/2026-09-28.json";
        crate::cli::run(
            crate::cli::command().args(["ped", "init", "--from-file", file, "--into", into]).args(more),
            b"",
        )
    };
    let first = init(&["--owner-label=team"]);
    assert!(first.status.success(), "{}", crate::cli::stderr(&first));
    assert!(crate::cli::stdout(&first).starts_with("4 PED files written"), "{}", crate::cli::stdout(&first));
    let orders = std::fs::read_to_string(folder.path().join("peds/payments/orders-api.yaml")).expect("written");
    assert!(orders.starts_with("# Proposed from what runs: 7 replicas. Review it"), "{orders}");
    assert!(orders.ends_with("spec:\n  maxReplicas: 7\n"), "{orders}");
    let search = std::fs::read_to_string(folder.path().join("peds/discovery/search-api.yaml")).expect("written");
    assert!(search.contains("8 replicas, an HPA up to 8"), "{search}");
    let valid = crate::cli::run(crate::cli::command().args(["ped", "validate", into]), b"");
    assert!(valid.status.success(), "{}", crate::cli::stdout(&valid));
    // What a person wrote meanwhile stays.
    std::fs::write(folder.path().join("peds/payments/orders-api.yaml"), "mine").expect("written");
    let again = init(&[]);
    assert!(crate::cli::stdout(&again).starts_with("0 PED files written"), "{}", crate::cli::stdout(&again));
    assert_eq!(std::fs::read_to_string(folder.path().join("peds/payments/orders-api.yaml")).expect("there"), "mine");
    // By owner, where a label names it.
    let init = crate::cli::run(
        crate::cli::command()
            .args(["ped", "init", "--from-file=fixtures/demo/snapshots/2026-09-28.json", "--owner-label=app", "--into"])
            .arg(folder.path().join("grouped")),
        b"",
    );
    assert!(init.status.success(), "{}", crate::cli::stderr(&init));
    let prototype =
        std::fs::read_to_string(folder.path().join("grouped/prototype/lab/prototype.yaml")).expect("written");
    assert!(prototype.contains("owner: prototype\n") && prototype.ends_with("maxReplicas: 2\n"), "{prototype}");
}
