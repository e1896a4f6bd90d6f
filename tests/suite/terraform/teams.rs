//! A team's dataset shows its own Deployments' rows, and nothing of anybody else's.

use std::collections::BTreeSet;

use pedwatch::job::bill::{Period, bill};
use serde_json::{Value as Json, json};

use super::{DATASET, VERSIONS, Workspace, World};
use crate::servers::Dataset;
use crate::support::{PEDS_FROM, Sample, block_on, ped, record, register, time};

/// Each view of a team, with its text.
fn views_of<'w>(world: &'w World, team: &'w str) -> impl Iterator<Item = (&'w str, &'w str)> {
    let views = world.all("google_bigquery_table").iter().filter(move |table| table["dataset_id"] == team);
    views.map(|view| {
        let text = |value: &'w Json| value.as_str().expect("text");
        (text(&view["table_id"]), text(&view["view"][0]["query"]))
    })
}

/// Rows of a query, as objects of texts, as BigQuery's REST answers.
async fn rows(dataset: &Dataset, sql: &str) -> Vec<Json> {
    let url = format!("http://{}/bigquery/v2/projects/acme-prod/queries", dataset.server);
    let client = reqwest::Client::new();
    let asked = client.post(&url).json(&json!({"query": sql, "useLegacySql": false, "timeoutMs": 60_000}));
    let mut answer: Json = asked.send().await.expect("an answer").json().await.expect("JSON");
    // It is asked again until it has one: the views are much for the tests' server.
    while answer["jobComplete"] == false {
        let again = format!("{url}/{}?timeoutMs=60000", answer["jobReference"]["jobId"].as_str().expect("a job"));
        answer = client.get(again).send().await.expect("an answer").json().await.expect("JSON");
    }
    let names: Vec<&str> = answer["schema"]["fields"]
        .as_array()
        .unwrap_or_else(|| panic!("{answer}"))
        .iter()
        .map(|field| field["name"].as_str().expect("a name"))
        .collect();
    let object = |row: &Json| {
        let values = row["f"].as_array().into_iter().flatten().map(|value| value["v"].clone());
        Json::Object(names.iter().map(|name| (*name).to_owned()).zip(values).collect())
    };
    answer["rows"].as_array().into_iter().flatten().map(object).collect()
}

fn owned_by(yaml: &str, team: &str) -> String {
    let owner = yaml.lines().find(|line| line.trim_start().starts_with("owner:")).expect("an owner");
    yaml.replace(owner, &format!("  owner: {team}"))
}

fn write(id: &str, namespace: &str, deployment: &str, cluster: &str, replicas: i64) -> Sample {
    let name = format!("apps/v1/namespaces/{namespace}/deployments/{deployment}");
    Sample::patch(id, "2026-09-04T20:01:00.000000Z", replicas)
        .uid(&format!("uid-{namespace}-{deployment}-{cluster}"))
        .set("/protoPayload/resourceName", name)
        .set("/protoPayload/response/metadata/name", deployment)
        .set("/protoPayload/response/metadata/namespace", namespace)
        .set("/resource/labels/cluster_name", cluster)
}

#[test]
fn a_team_sees_its_own_deployments_and_no_others() {
    block_on(async {
        let workspace = Workspace::new(VERSIONS[1]).await;
        let world = workspace.apply("organization").await.expect("applied");
        let dataset = Dataset::new().await;
        for (namespace, deployment, cluster, team) in [
            ("payments", "orders-api", None, "team-payments"),
            ("discovery", "search", None, "team-discovery"),
            // In one cluster it is another team's.
            ("payments", "shared", None, "team-payments"),
            ("payments", "shared", Some("prod-2"), "team-discovery"),
            ("payments", "someones", None, "team-payments-2"),
        ] {
            let resources = "  resources:\n    limits: {cpu: \"2\", memory: 4Gi}\n";
            let yaml = ped(namespace, deployment, cluster, 3) + resources;
            register(&dataset.store, &owned_by(&yaml, team), PEDS_FROM).await;
        }
        let samples = [
            write("i1", "payments", "orders-api", "prod-1", 12),
            write("i2", "discovery", "search", "prod-1", 13),
            write("i3", "payments", "shared", "prod-1", 14),
            write("i4", "payments", "shared", "prod-2", 15),
            write("i5", "payments", "someones", "prod-1", 16),
            // Nobody's: no PED.
            write("i6", "payments", "nobodys", "prod-1", 17),
        ];
        record(&dataset.store, &samples).await;
        billed(&dataset).await;
        for (team, owner, own) in [
            ("pedwatch_team_payments", "team-payments", ["orders-api prod-1", "shared prod-1"]),
            ("pedwatch_team_discovery", "team-discovery", ["search prod-1", "shared prod-2"]),
        ] {
            let views: Vec<_> = views_of(&world, team).collect();
            assert_eq!(views.len(), 9, "{team}");
            for (view, query) in &views {
                let by =
                    [format!("versions.user_id = \"{owner}\""), format!("FROM {view} WHERE user_id = \"{owner}\"")];
                assert!(by.iter().any(|by| query.contains(by)), "{team}.{view} shows everybody's rows");
            }
            // Those suffice that tell rows apart in one way and in the other: each takes the tests' server seconds.
            let wanted = |view: &str| {
                view == "current_replicas"
                    || owner == "team-payments"
                        && ["alerts", "current_limits", "current_bills", "monthly_fees"].contains(&view)
            };
            for (view, query) in views.into_iter().filter(|(view, _)| wanted(view)) {
                let tables = format!("`acme-platform`.{DATASET}.");
                assert!(query.contains(&tables), "{team}.{view} reads no table");
                let (project, name) = dataset
                    .name
                    .to_string()
                    .split_once('.')
                    .map(|(a, b)| (a.to_owned(), b.to_owned()))
                    .expect("a name");
                let found = rows(&dataset, &query.replace(&tables, &format!("`{project}`.{name}."))).await;
                println!("{owner} sees {} rows of {view}", found.len());
                assert_rows(view, &found, owner, &own);
            }
        }
    });
}

async fn billed(dataset: &Dataset) {
    let prices = pedwatch::config::Config::load(None, []).expect("defaults").prices;
    let month = "2026-09".parse().expect("a month");
    let period = Period::new(&prices, Some(month), time("2026-10-02T00:00:00Z")).expect("a period");
    assert_eq!(bill(&dataset.store, period, false, 8).await.expect("a bill").added, 6);
}

fn assert_rows(view: &str, found: &[Json], owner: &str, own: &[&str]) {
    assert!(!found.is_empty(), "{view} of {owner} is empty");
    if let Some(row) = found.iter().find(|row| row.get("user_id").is_some_and(|user| user != owner)) {
        panic!("{view} of {owner} shows {row}");
    }
    let text = |row: &Json, column: &str| row[column].as_str().unwrap_or_default().to_owned();
    let with_clusters = found.iter().all(|row| row["cluster_name"].is_string() && row["deployment_name"].is_string());
    if with_clusters && view != "current_limits" {
        let shown = found.iter().map(|row| format!("{} {}", text(row, "deployment_name"), text(row, "cluster_name")));
        let shown: BTreeSet<String> = shown.collect();
        assert_eq!(shown, own.iter().map(|name| (*name).to_owned()).collect(), "{view} of {owner}");
    }
}
