//! Who looks into clusters: snapshots and canaries, by what they may do, what they are told, and who is told when they do not run.

use std::sync::OnceLock;

use serde_json::{Value as Json, json};

use super::telling::{assert_told, matches, queries};
use super::{VERSIONS, Workspace, World, env_name, has_job};
use crate::cli::{command, run, stderr};
use crate::servers::free_address;
use crate::support::block_on;

/// The projects where the pull example has clusters, and the one whose cluster is behind a gateway.
const PROJECTS: [&str; 2] = ["acme-prod", "acme-stores"];

/// It gets into clusters, writes or reads what it makes or waits for, and asks; what it may do inside, the cluster says.
pub(super) fn expected_grants(looker: &str) -> Vec<String> {
    let who = format!("pedwatch-{looker}");
    let tables: &[(&str, &str)] = match looker {
        "snapshot" => &[
            ("dataEditor", "pod_metrics"),
            ("dataEditor", "snapshots"),
            ("dataEditor", "watermarks"),
            ("dataViewer", "deployment_config"),
        ],
        _ => &[("dataViewer", "watermarks")],
    };
    let on_tables = tables
        .iter()
        .map(|(role, table)| format!("{who} roles/bigquery.{role} on {table} (google_bigquery_table_iam_member)"));
    let on_projects = PROJECTS
        .map(|project| format!("projects/{project}/roles/pedwatch_looker"))
        .into_iter()
        .chain([format!("roles/gkehub.gateway{}", if looker == "snapshot" { "Reader" } else { "Editor" })])
        .chain(["roles/bigquery.jobUser".to_owned()])
        .map(|role| format!("{who} {role} on the project (google_project_iam_member)"));
    let checks = format!("{who} roles/bigquery.metadataViewer on pedwatch (google_bigquery_dataset_access)");
    on_tables.chain(on_projects).chain([checks]).collect()
}

/// A job's container, by its name, with how often it is tried again.
fn job<'w>(world: &'w World, name: &str) -> Option<(&'w Json, &'w Json)> {
    let job = world.all("google_cloud_run_v2_job").iter().find(|job| job["name"] == name)?;
    let template = &job["template"][0]["template"][0];
    Some((&template["containers"][0], &template["max_retries"]))
}

/// What a container's configuration is.
fn config(container: &Json) -> Option<pedwatch::config::Config> {
    let variables = container["env"].as_array()?.iter();
    let text = |variable: &Json, key: &str| variable[key].as_str().unwrap_or_default().to_owned();
    let env: Vec<(String, String)> = variables.map(|one| (text(one, "name"), text(one, "value"))).collect();
    pedwatch::config::Config::load(None, env).ok()
}

/// Where there are any.
pub(super) fn looks_and_tells(world: &World) -> bool {
    let is_theirs = |role: &&Json| role["role_id"] == "pedwatch_looker";
    let roles = world.all("google_project_iam_custom_role").iter().filter(is_theirs);
    let permissions = json!(["container.clusters.connect", "container.clusters.get"]);
    let is_narrow = |role: &Json| {
        let mut granted: Vec<&str> =
            role["permissions"].as_array().into_iter().flatten().filter_map(Json::as_str).collect();
        granted.sort_unstable();
        json!(granted) == permissions
    };
    roles.clone().all(is_narrow)
        && (!has_job(world, "pedwatch-snapshot") || snapshots_are_taken(world))
        && (!has_job(world, "pedwatch-canary") || canaries_are_sent(world))
}

fn snapshots_are_taken(world: &World) -> bool {
    let Some((container, _)) = job(world, "pedwatch-snapshot") else { return false };
    let told = |(query, held): &(String, String)| query.contains("result=\"succeeded\"") && held == "93600s";
    container["args"] == json!(["snapshot"])
        && config(container).is_some_and(|config| config.clusters.len() == 2 && config.snapshot.pods)
        && queries(world, "job_name=\"pedwatch-snapshot\"").iter().any(told)
}

fn canaries_are_sent(world: &World) -> bool {
    let Some((container, retries)) = job(world, "pedwatch-canary") else { return false };
    // Whoever judges has to know which object is ours.
    let namespace = |container: &Json| config(container).map(|config| config.canary.namespace);
    let is_known = world.containers().all(|container| namespace(container).as_deref() == Some("platform"));
    container["args"] == json!(["canary"])
        && retries.as_i64() == Some(0)
        && config(container).is_some_and(|config| config.clusters.len() == 2)
        && is_known
        && missing_are_told(world)
        && queries(world, "job_name=\"pedwatch-canary\", result=\"succeeded\"").len() == 1
}

fn missing_are_told(world: &World) -> bool {
    let metrics = world.all("google_logging_metric");
    let Some(metric) = metrics.iter().find(|metric| metric["name"] == "pedwatch/missing_canaries") else {
        return false;
    };
    let entry = |job: &str, line: &Json| json!({"resource": {"type": "cloud_run_job", "labels": {"job_name": job}}, "jsonPayload": line});
    let filter = metric["filter"].as_str().unwrap_or_default();
    let is_counted = |job: &str, line: &Json| matches(filter, &entry(job, line));
    let field = metric["label_extractors"]["cluster"].as_str().unwrap_or_default();
    let field = field.trim_start_matches("EXTRACT(jsonPayload.").trim_end_matches(')');
    let asks = |policy: &&Json| policy["conditions"].to_string().contains("user/pedwatch/missing_canaries");
    let policies = world.all("google_monitoring_alert_policy").iter().filter(asks);
    let by_cluster = |policy: &Json| {
        let threshold = &policy["conditions"][0]["condition_threshold"][0];
        let aggregation = &threshold["aggregations"][0];
        aggregation["group_by_fields"] == json!(["metric.label.cluster"])
            && aggregation["alignment_period"] == "1500s"
            && threshold["threshold_value"].as_f64() == Some(1.0)
            && policy["severity"] == "CRITICAL"
    };
    is_counted("pedwatch-canary", missing_line())
        && !is_counted("pedwatch-daily", missing_line())
        && missing_line()[field] == "projects/acme-prod/locations/europe-west1/clusters/prod-1"
        && policies.clone().count() == 1
        && policies.into_iter().all(by_cluster)
}

/// What `canary` logs of a cluster that it does not reach, as the binary writes it.
fn missing_line() -> &'static Json {
    static LINE: OnceLock<Json> = OnceLock::new();
    LINE.get_or_init(|| {
        let folder = tempfile::tempdir().expect("a folder");
        let database = folder.path().join("facts.db");
        drop(pedwatch::store::sqlite::Sqlite::open(&database).expect("a store"));
        let kubeconfig = folder.path().join("kubeconfig");
        let server = format!("https://{}", free_address());
        let text = json!({"apiVersion": "v1", "kind": "Config", "current-context": "c",
            "clusters": [{"name": "c", "cluster": {"server": server}}], "users": [{"name": "c", "user": {"token": "t"}}],
            "contexts": [{"name": "c", "context": {"cluster": "c", "user": "c"}}]});
        std::fs::write(&kubeconfig, text.to_string()).expect("written");
        let mut its = command();
        its.args(["canary", "--wait", "1", &format!("--store=sqlite:{}", database.display())]);
        for (key, value) in [
            ("log.format", "json"),
            ("clusters.prod_1.project", "acme-prod"),
            ("clusters.prod_1.location", "europe-west1"),
            ("clusters.prod_1.name", "prod-1"),
            ("clusters.prod_1.access", "kubeconfig"),
            ("clusters.prod_1.kubeconfig", kubeconfig.to_str().expect("UTF-8")),
        ] {
            its.env(env_name(key), value);
        }
        let output = run(&mut its, b"");
        let said = stderr(&output);
        let mut lines = said.lines().filter_map(|line| serde_json::from_str::<Json>(line).ok());
        lines.find(|line| line["message"] == "canary is missing").unwrap_or_else(|| panic!("no such line in {said}"))
    })
}

#[test]
fn a_job_that_sends_no_canaries_or_fails_is_told_within_minutes_and_one_that_does_is_not() {
    block_on(async {
        let workspace = Workspace::new(VERSIONS[1]).await;
        let world = workspace.apply("pull").await.expect("applied");
        let [(query, held)] = queries(&world, "job_name=\"pedwatch-canary\"").try_into().expect("one query");
        let labels = ["monitored_resource=\"cloud_run_job\"", "job_name=\"pedwatch-canary\""].join(",");
        // Each run is a point; steps are of five minutes. It fails once, then for an hour, and then there is none.
        let series = |result: &str, values: &str| {
            format!(
                "{{series: 'run_googleapis_com:job_completed_execution_count{{{labels},result=\"{result}\"}}', values: '{values}'}}"
            )
        };
        let runs =
            [series("succeeded", "1 _ _ _ 1 _ 1 _x60"), series("failed", "_ _ 1 _x5 1 _ 1 _ 1 _ 1 _ 1 _ 1 _x60")]
                .join(", ");
        let told = "exp_alerts: [{exp_labels: {monitored_resource: cloud_run_job, job_name: pedwatch-canary, result: succeeded}}]";
        let at = |minutes: u32, told: &str| format!("{{eval_time: {minutes}m, alertname: Silence, {told}}}");
        let quiet = [15, 30, 45].map(|minutes| at(minutes, "exp_alerts: []"));
        let rung = [65, 90, 135].map(|minutes| at(minutes, told));
        assert_told(&query, &held, &runs, &[quiet.join(", "), rung.join(", ")].join(", "));
    });
}
