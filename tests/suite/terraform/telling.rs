//! What somebody hears of: alerts, by a metric that is made of pedwatch's own log lines; and the silence of a cluster.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::process::{Command, Stdio};
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use chrono::{SecondsFormat, Utc};
use pedwatch::config::{Config, LedgerUrl};
use pedwatch::notify::channel::Way;
use pedwatch::notify::notice::Outcome;
use pedwatch::notify::sealed::Sealed;
use pedwatch::store::firestore::{EXPIRY, INDEXES};
use pedwatch::store::sqlite::Sqlite;
use pedwatch::telemetry::metrics::Metrics;
use regex::Regex;
use serde_json::{Value as Json, json};

use super::{VERSIONS, Workspace, World};
use crate::servers::free_address;
use crate::support::{PEDS_FROM, Sample, block_on, ped, register, root};

/// The file of the configuration that a container is given, as it would find it.
pub(super) fn mounted(world: &World, container: &Json, path: &str) -> Option<tempfile::NamedTempFile> {
    let (folder, name) = path.rsplit_once('/')?;
    let mounts = container["volume_mounts"].as_array()?;
    let mount = mounts.iter().find(|mount| mount["mount_path"] == folder)?;
    let volume = volumes(world).into_iter().find(|volume| volume["name"] == mount["name"])?;
    let secret = &volume["secret"][0];
    let [version] = world.all("google_secret_manager_secret_version") else { return None };
    let is_it = secret["items"][0]["path"] == name && secret["secret"] == "pedwatch-config";
    let file = tempfile::NamedTempFile::new().expect("a file");
    std::fs::write(file.path(), version["secret_data"].as_str()?).expect("written");
    is_it.then_some(file)
}

/// The volumes of everything that runs; those of one name are alike.
fn volumes(world: &World) -> Vec<Json> {
    let jobs = world.all("google_cloud_run_v2_job").iter().map(|job| &job["template"][0]["template"][0]);
    let all = world.daemons().map(|daemon| &daemon["template"][0]).chain(jobs);
    all.flat_map(|template| template["volumes"].as_array().cloned().unwrap_or_default()).collect()
}

/// The names of what a template mounts.
fn mounts(template: &Json) -> Vec<String> {
    let mounts = template["containers"][0]["volume_mounts"].as_array().into_iter().flatten();
    let mut mounts: Vec<String> =
        mounts.map(|mount| mount["mount_path"].as_str().unwrap_or_default().to_owned()).collect();
    mounts.sort();
    mounts
}

/// The ledger's database, where there is one.
pub(super) fn ledgers(world: &World) -> Vec<&Json> {
    world.all("google_firestore_database").iter().filter(|it| it["name"] == "pedwatch-ledger").collect()
}

/// Who steps incidents writes into the ledger; who sends reads what lets it in; and what a breach costs is asked for.
pub(super) fn expected_grants(world: &World) -> Vec<String> {
    if ledgers(world).is_empty() {
        return Vec::new();
    }
    let steps = ["consumer", "registrar", "notify", "daily"];
    let steps =
        steps.map(|who| format!("pedwatch-{who} roles/datastore.user on the project (google_project_iam_member)"));
    let secret = |who: &str, secret: &str| {
        format!(
            "pedwatch-{who} roles/secretmanager.secretAccessor on {secret} (google_secret_manager_secret_iam_member)"
        )
    };
    let costs = ["closed_changes", "object_days"].map(|table| {
        format!("pedwatch-consumer roles/bigquery.dataViewer on {table} (google_bigquery_table_iam_member)")
    });
    let read = ["deployment_config", "replica_events", "carried_writes", "closed_changes", "object_days", "watermarks"]
        .map(|table| {
            format!("pedwatch-notify roles/bigquery.dataViewer on {table} (google_bigquery_table_iam_member)")
        });
    let mut grants = [
        "pedwatch-notify roles/bigquery.metadataViewer on pedwatch (google_bigquery_dataset_access)".to_owned(),
        "pedwatch-notify roles/bigquery.jobUser on the project (google_project_iam_member)".to_owned(),
    ]
    .to_vec();
    grants.extend(steps.into_iter().chain(costs).chain(read));
    grants.extend(["consumer", "notify", "daily"].map(|who| secret(who, "pedwatch-config")));
    grants.extend(["consumer", "notify"].map(|who| secret(who, "pedwatch-slack-webhook")));
    let jobs = world.all("google_cloud_run_v2_job").iter().filter_map(|job| job["name"].as_str());
    let is_own = |name: &str| !["pedwatch-daily", "pedwatch-notify"].contains(&name) && !super::billing::is_of_it(name);
    if jobs.into_iter().any(is_own) {
        grants.push(secret("jobs", "pedwatch-config"));
    }
    grants
}

/// A database that nobody deletes by accident, whose indexes are those of the code, which everybody is named, and which those
/// who step incidents reach, and no other.
pub(super) fn ledger_is_right(world: &World) -> bool {
    let ledgers = ledgers(world);
    let [database] = ledgers.as_slice() else {
        return ledgers.is_empty() && world.all("google_firestore_index").is_empty();
    };
    let (name, project) = (database["name"].as_str().unwrap_or_default(), database["project"].as_str());
    let project = project.unwrap_or_default();
    let index = |index: &Json| {
        let fields = index["fields"].as_array().cloned().unwrap_or_default();
        let is_ascending = fields.iter().all(|field| field["order"] == "ASCENDING");
        let fields: Vec<String> =
            fields.iter().map(|field| field["field_path"].as_str().unwrap_or_default().to_owned()).collect();
        let collection = index["collection"].as_str().unwrap_or_default().to_owned();
        (is_ascending && index["database"] == name).then_some((collection, fields))
    };
    let mut indexes: Vec<_> = world.all("google_firestore_index").iter().filter_map(index).collect();
    indexes.sort();
    let mut needed: Vec<(String, Vec<String>)> = INDEXES
        .iter()
        .map(|(collection, fields)| (collection.to_string(), fields.map(str::to_owned).to_vec()))
        .collect();
    needed.sort();
    let [expiry] = world.all("google_firestore_field") else { return false };
    let expires = (expiry["collection"].as_str(), expiry["field"].as_str()) == (Some(EXPIRY.0), Some(EXPIRY.1))
        && !expiry["ttl_config"][0].is_null();
    let only_there = format!("resource.name == \"projects/{project}/databases/{name}\"");
    // The registry's are held by its own contract.
    let is_of_registry = |grant: &Json| grant["condition"][0]["title"] == "pedwatch-registry";
    let reaches = |grant: &&Json| grant["role"] == "roles/datastore.user" && !is_of_registry(grant);
    let mut grants = world.all("google_project_iam_member").iter().filter(reaches);
    let told = format!("firestore:{project}/{name}");
    database["type"] == "FIRESTORE_NATIVE"
        && database["delete_protection_state"] == "DELETE_PROTECTION_ENABLED"
        && indexes == needed
        && expires
        && grants.all(|grant| grant["condition"][0]["expression"] == only_there.as_str())
        && told.parse::<LedgerUrl>().is_ok()
        && world.containers().all(|container| super::variable(container, "notify.ledger").as_ref() == Some(&told))
}

/// The files that the configuration names are mounted where somebody sends, and nowhere else; and no secret is in the state.
pub(super) fn secrets_are_right(world: &World) -> bool {
    let [version] = world.all("google_secret_manager_secret_version") else {
        return volumes(world).is_empty();
    };
    let file = tempfile::NamedTempFile::new().expect("a file");
    std::fs::write(file.path(), version["secret_data"].as_str().unwrap_or_default()).expect("written");
    let Ok(config) = Config::load(Some(file.path()), []) else { return false };
    let secret = |way: &Way| match way {
        Way::SlackWebhook { url: Sealed::File(path) } => Some(path.display().to_string()),
        _ => None,
    };
    let files: Vec<String> = config.notify.receivers.iter().filter_map(|receiver| secret(&receiver.way)).collect();
    let senders: Vec<&Json> = world
        .daemons()
        .map(|daemon| &daemon["template"][0])
        .chain(jobs(world, true).map(|job| &job["template"][0]["template"][0]))
        .collect();
    let is_there = |template: &&Json, file: &String| {
        let Some((folder, name)) = file.rsplit_once('/') else { return false };
        let mount = template["containers"][0]["volume_mounts"].as_array().into_iter().flatten();
        let mut named = mount.filter(|mount| mount["mount_path"] == folder).map(|mount| &mount["name"]);
        let volume = named.next().and_then(|name| volumes(world).into_iter().find(|volume| volume["name"] == *name));
        volume.is_some_and(|volume| volume["secret"][0]["items"][0]["path"] == name)
    };
    let others = jobs(world, false).map(|job| &job["template"][0]["template"][0]);
    // Not even there and unmounted: who may not read a secret cannot be started with it.
    let has_config_alone = |template: &Json| {
        mounts(template) == ["/etc/pedwatch"]
            && template["volumes"].as_array().is_some_and(|volumes| volumes.len() == 1)
    };
    !files.is_empty()
        && senders.iter().all(|template| files.iter().all(|file| is_there(template, file)))
        && others.into_iter().all(has_config_alone)
}

/// The jobs that send, or those that do not.
fn jobs(world: &World, sends: bool) -> impl Iterator<Item = &Json> {
    world.all("google_cloud_run_v2_job").iter().filter(move |job| (job["name"] == "pedwatch-notify") == sends)
}

/// By the metrics as `/metrics` has them, and by the job, however little runs.
pub(super) fn untold_is_told(world: &World) -> bool {
    if ledgers(world).is_empty() {
        return true;
    }
    let metrics = Metrics::default();
    metrics.notice("hook", Outcome::Refused { why: String::new() }.name());
    metrics.untold(None, 0);
    let text = metrics.text().expect("text");
    let asked = ["notifications_total", "oldest_unsent_notification", "job_completed_execution_count"];
    let [refused, oldest, looked] = asked.map(|metric| queries(world, metric));
    let is_measured = |query: &str| {
        let names = Regex::new("pedwatch_[a-z_]+").expect("a pattern");
        names.find_iter(query).all(|name| text.contains(&format!("\n{}", name.as_str())))
    };
    let is_refused = |(query, _): &(String, String)| query.contains("outcome=\"refused\"") && is_measured(query);
    let is_notify = |(query, _): &(String, String)| query.contains("job_name=\"pedwatch-notify\"");
    refused.iter().any(is_refused) && oldest.iter().any(|(query, _)| is_measured(query)) && looked.iter().any(is_notify)
}

#[test]
fn a_message_that_waits_is_told_and_none_that_does_not() {
    block_on(async {
        let workspace = Workspace::new(VERSIONS[1]).await;
        let world = workspace.apply("organization").await.expect("applied");
        let [(query, held)] = queries(&world, "oldest_unsent_notification").try_into().expect("one query");
        let series = |instance: &str, values: &str| {
            format!(
                "{{series: 'pedwatch_oldest_unsent_notification_timestamp_seconds{{cluster=\"__run__\",namespace=\"pedwatch\",\
                 instance=\"{instance}\"}}', values: '{values}'}}"
            )
        };
        // One has waited since an hour after the beginning, as one instance says; another has nothing that waits.
        let waits = [series("a", "0x11 3600x40"), series("b", "0x52")].join(", ");
        let told = "{eval_time: 2h, alertname: Silence, exp_alerts: [{exp_labels: {}}]}";
        assert_told(&query, &held, &waits, &format!("{{eval_time: 80m, alertname: Silence}}, {told}"));
        assert_told(&query, &held, &series("a", "0x52"), "{eval_time: 4h, alertname: Silence}");
    });
}

/// What `serve` logs of a Deployment that is over its limit, as the binary writes it.
fn alert_line() -> &'static Json {
    static LINE: OnceLock<Json> = OnceLock::new();
    LINE.get_or_init(|| {
        let folder = tempfile::tempdir().expect("a folder");
        let (database, log) = (folder.path().join("facts.db"), folder.path().join("log"));
        block_on_another_thread({
            let database = database.clone();
            async move {
                let store = Sqlite::open(&database).expect("a database");
                register(&store, &ped("payments", "orders-api", None, 3), PEDS_FROM).await;
            }
        });
        let (push, metrics) = (free_address(), free_address());
        let mut serve = Command::new(env!("CARGO_BIN_EXE_pedwatch"))
            .args(["serve", &format!("--store=sqlite:{}", database.display()), "--config", "fixtures/pedwatch.toml"])
            .current_dir(root())
            .env("PORT", push.port().to_string())
            .env("PEDWATCH_CONSUMER__METRICS_PORT", metrics.port().to_string())
            .env("PEDWATCH_PUSH__AUTH", "platform")
            .env("PEDWATCH_LOG__FORMAT", "json")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(std::fs::File::create(&log).expect("a log"))
            .spawn()
            .expect("started");
        // An alert that is older than a day is history, and is not told.
        let now = Utc::now().to_rfc3339_opts(SecondsFormat::Micros, true);
        // Until the store is open, a push is given back.
        let begun = Instant::now();
        let answer = loop {
            let answer = post(push, &Sample::patch("i1", &now, 12).bytes());
            if !answer.starts_with("HTTP/1.1 503") || begun.elapsed() > Duration::from_secs(30) {
                break answer;
            }
            std::thread::sleep(Duration::from_millis(50));
        };
        serve.kill().expect("killed");
        serve.wait().expect("dead");
        let said = std::fs::read_to_string(&log).expect("readable");
        assert!(answer.starts_with("HTTP/1.1 204"), "{answer}: {said}");
        let mut lines = said.lines().filter_map(|line| serde_json::from_str::<Json>(line).ok());
        lines.find(|line| line["alert_type"] == "over_limit").unwrap_or_else(|| panic!("no alert in {said}"))
    })
}

/// A contract is asked from within a runtime, which must not start another.
fn block_on_another_thread(future: impl Future<Output = ()> + Send + 'static) {
    std::thread::spawn(|| block_on(future)).join().expect("joined");
}

fn post(address: std::net::SocketAddr, body: &[u8]) -> String {
    let begun = Instant::now();
    let mut stream = loop {
        match TcpStream::connect(address) {
            Ok(stream) => break stream,
            Err(error) => assert!(begun.elapsed() < Duration::from_secs(30), "{error}"),
        }
        std::thread::sleep(Duration::from_millis(20));
    };
    let head = format!(
        "POST /pubsub/push HTTP/1.1\r\nhost: {address}\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\
         connection: close\r\n\r\n",
        body.len()
    );
    stream.write_all(head.as_bytes()).and_then(|()| stream.write_all(body)).expect("sent");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("an answer");
    answer
}

/// A log line as Cloud Run's agent hands it to Logging.
fn log_entry(resource: &str, label: &str, line: &Json) -> Json {
    json!({"resource": {"type": resource, "labels": {label: "pedwatch"}}, "jsonPayload": line})
}

/// Critical alerts are told by default; the metric counts pedwatch's alert lines and no other, each label is a field of them, and
/// a policy asks for a severity that they have.
pub(super) fn alerts_are_told(world: &World) -> bool {
    let is_of_alerts = |metric: &&Json| metric["name"] == "pedwatch/alerts";
    let Some(metric) = world.all("google_logging_metric").iter().find(is_of_alerts) else { return false };
    let name = metric["name"].as_str().unwrap_or_default();
    let asks =
        |policy: &&Json| policy["conditions"].to_string().contains(&format!("logging.googleapis.com/user/{name}"));
    let policies: Vec<&Json> = world.all("google_monitoring_alert_policy").iter().filter(asks).collect();
    let labels = labels(metric, alert_line());
    let told = policies.iter().any(|policy| policy["severity"] == "CRITICAL" && conditions_hold(policy, &labels));
    told && counts_alerts(metric, world) && labels_are_told(metric, &labels)
}

fn counts_alerts(metric: &Json, world: &World) -> bool {
    let filter = metric["filter"].as_str().unwrap_or_default();
    let pulls = world.all("google_cloud_run_v2_service").is_empty();
    let (resource, label) = match pulls {
        true => ("cloud_run_worker_pool", "worker_pool_name"),
        false => ("cloud_run_revision", "service_name"),
    };
    let mut elsewhere = log_entry(resource, label, alert_line());
    elsewhere["resource"]["labels"][label] = json!("another");
    let other = json!({"message": "a message is quarantined", "severity": "WARNING"});
    matches(filter, &log_entry(resource, label, alert_line()))
        && !matches(filter, &log_entry(resource, label, &other))
        && !matches(filter, &elsewhere)
}

/// What the metric reads out of a line, by label.
fn labels(metric: &Json, line: &Json) -> Vec<(String, String)> {
    let extractors = metric["label_extractors"].as_object().into_iter().flatten();
    let read = |(label, from): (&String, &Json)| {
        let field = from.as_str()?.strip_prefix("EXTRACT(jsonPayload.")?.strip_suffix(')')?;
        let value = &line[field];
        Some((label.clone(), value.as_str().map_or_else(|| value.to_string(), str::to_owned)))
    };
    extractors.filter_map(read).collect()
}

/// The Deployment, its number and its limit; and each label that is described is read.
fn labels_are_told(metric: &Json, labels: &[(String, String)]) -> bool {
    let is = |label: &str, value: &str| labels.contains(&(label.to_owned(), value.to_owned()));
    let described = metric["metric_descriptor"][0]["labels"].as_array().map_or(0, Vec::len);
    // Logging's limit.
    described == labels.len()
        && described <= 10
        && is("namespace", "payments")
        && is("deployment", "orders-api")
        && is("replicas", "12")
        && is("limit", "3")
        && is("severity", "critical")
        && is("alert_type", "over_limit")
        && labels.iter().any(|(label, value)| label == "cluster" && value != "null")
}

/// Whether a threshold policy asks for a series with these labels, keeps them, and takes one for too many.
fn conditions_hold(policy: &Json, labels: &[(String, String)]) -> bool {
    let threshold = &policy["conditions"][0]["condition_threshold"][0];
    let filter = threshold["filter"].as_str().unwrap_or_default();
    let asked = filter.split(" AND ").filter_map(|part| part.strip_prefix("metric.labels.")?.split_once(" = "));
    let mut asked = asked.map(|(label, value)| (label.to_owned(), value.trim_matches('"').to_owned()));
    let groups = threshold["aggregations"][0]["group_by_fields"].to_string();
    asked.all(|pair| labels.contains(&pair))
        && threshold["comparison"] == "COMPARISON_GT"
        && threshold["threshold_value"].as_f64() == Some(0.0)
        && ["namespace", "deployment", "replicas", "limit"]
            .iter()
            .all(|label| groups.contains(&format!("metric.label.{label}\"")))
}

/// Logging's query language, as far as the metric uses it: lines are joined by AND, brackets hold what is joined by OR.
pub(super) fn matches(filter: &str, entry: &Json) -> bool {
    let value = |field: &str| entry.pointer(&format!("/{}", field.replace('.', "/"))).and_then(Json::as_str);
    let compares = |comparison: &str| -> bool {
        if let Some(field) = comparison.strip_suffix(":*") {
            return value(field).is_some();
        }
        if let Some((field, pattern)) = comparison.split_once("=~") {
            let pattern = Regex::new(pattern.trim_matches('"')).expect("a pattern");
            return value(field).is_some_and(|value| pattern.is_match(value));
        }
        let (field, wanted) = comparison.split_once('=').expect("a comparison");
        let mut wanted = wanted.trim_matches(['(', ')']).split(" OR ").map(|wanted| wanted.trim_matches('"'));
        value(field).is_some_and(|value| wanted.any(|wanted| wanted == value))
    };
    filter.lines().all(|line| match line.strip_prefix('(').and_then(|line| line.strip_suffix(')')) {
        Some(either) => either.split(" OR ").any(compares),
        None => compares(line),
    })
}

/// Runs a policy's query as Prometheus does, on series that a module's sidecar would have written.
fn assert_silence(query: &str, series: &str, alerts: &str) {
    assert_told(query, "0s", series, alerts);
}

/// The same for what has to hold for so long.
pub(super) fn assert_told(query: &str, held: &str, series: &str, alerts: &str) {
    let folder = tempfile::tempdir().expect("a folder");
    let rules = json!({"groups": [{"name": "g", "rules": [{"alert": "Silence", "expr": query, "for": held}]}]});
    std::fs::write(folder.path().join("rules.yaml"), rules.to_string()).expect("written");
    let tests = format!(
        "{{rule_files: [rules.yaml], evaluation_interval: 5m, tests: [{{interval: 5m, input_series: [{series}], \
         alert_rule_test: [{alerts}]}}]}}"
    );
    std::fs::write(folder.path().join("tests.yaml"), tests).expect("written");
    let output = Command::new("promtool").args(["test", "rules", "tests.yaml"]).current_dir(folder.path()).output();
    let output = output.expect("promtool: the Debian package prometheus is needed");
    let said = [output.stdout, output.stderr].concat();
    assert!(output.status.success(), "{query}: {}", String::from_utf8_lossy(&said));
}

fn series(cluster: &str, instance: &str, values: &str) -> String {
    format!(
        "{{series: 'pedwatch_last_event_timestamp_seconds{{cluster=\"__run__\",namespace=\"pedwatch\",\
         cluster_id=\"projects/p/locations/l/clusters/{cluster}\",instance=\"{instance}\"}}', values: '{values}'}}"
    )
}

/// The queries that ask for a metric, and for how long what they ask for has to hold.
pub(super) fn queries(world: &World, metric: &str) -> Vec<(String, String)> {
    let conditions =
        world.all("google_monitoring_alert_policy").iter().flat_map(|policy| policy["conditions"].as_array());
    let query = |condition: &Json| {
        let asked = &condition["condition_prometheus_query_language"][0];
        Some((asked["query"].as_str()?.to_owned(), asked["duration"].as_str()?.to_owned()))
    };
    conditions.flatten().filter_map(query).filter(|(query, _)| query.contains(metric)).collect()
}

#[test]
fn the_silence_of_one_cluster_is_told_whatever_the_others_say_and_whoever_heard_it_last() {
    block_on(async {
        let workspace = Workspace::new(VERSIONS[1]).await;
        let world = workspace.apply("pull").await.expect("applied");
        let asked = queries(&world, "pedwatch_last_event_timestamp_seconds").into_iter().map(|(query, _)| query);
        let [silent, unheard] = asked.collect::<Vec<_>>().try_into().expect("two queries");
        // Five-minute steps: a day is 288. `quiet` was heard once, by an instance that went; `prod-1` all the time, by several.
        let heard = [
            series("quiet", "a", "0x12 _x400"),
            series("prod-1", "a", "0+300x100 _x312"),
            series("prod-1", "b", "_x100 30000+300x312"),
        ]
        .join(", ");
        let cluster = "projects/p/locations/l/clusters/quiet";
        let told =
            format!("{{eval_time: 13h, alertname: Silence, exp_alerts: [{{exp_labels: {{cluster_id: {cluster}}}}}]}}");
        assert_silence(&silent, &heard, &format!("{{eval_time: 11h, alertname: Silence}}, {told}"));
        // One that is gone for good is not told for ever.
        let long_gone = [series("quiet", "a", "0x12 _x700"), series("prod-1", "a", "0+300x700")].join(", ");
        assert_silence(&silent, &long_gone, "{eval_time: 50h, alertname: Silence}");
        // prod-2 is named, and nothing ever came of it.
        let told = "{eval_time: 40h, alertname: Silence, exp_alerts: [{exp_labels: {cluster_name: prod-2}}]}";
        assert_silence(&unheard, &series("prod-1", "a", "0+300x700"), told);
    });
}

#[test]
fn days_that_are_not_closed_are_told_and_those_that_are_closed_are_not() {
    block_on(async {
        let workspace = Workspace::new(VERSIONS[1]).await;
        let world = workspace.apply("push").await.expect("applied");
        let daily = queries(&world, "pedwatch-daily");
        let [(query, held)] = daily.try_into().expect("one query");
        let labels = ["monitored_resource=\"cloud_run_job\"", "job_name=\"pedwatch-daily\""].join(",");
        let series = |result: &str, values: &str| {
            format!(
                "{{series: 'run_googleapis_com:job_completed_execution_count{{{labels},result=\"{result}\"}}', values: '{values}'}}"
            )
        };
        // Half an hour behind midnight, for two nights; then it fails.
        let nights = [series("succeeded", "_x6 1 _x287 1 _x600"), series("failed", "_x582 1 _x287 1")].join(", ");
        let told = "exp_alerts: [{exp_labels: {monitored_resource: cloud_run_job, job_name: pedwatch-daily, result: succeeded}}]";
        let at = |hours: u32, told: &str| format!("{{eval_time: {hours}h, alertname: Silence, {told}}}");
        let quiet = [6, 24, 30, 50].map(|hours| at(hours, "exp_alerts: []"));
        assert_told(&query, &held, &nights, &[quiet.join(", "), at(53, told)].join(", "));
    });
}

#[test]
fn the_dashboard_is_written_as_the_api_gives_it_back() {
    block_on(async {
        let workspace = Workspace::new(VERSIONS[1]).await;
        let world = workspace.apply("push").await.expect("applied");
        let [dashboard] = world.all("google_monitoring_dashboard") else { panic!("one dashboard") };
        let dashboard: Json = serde_json::from_str(dashboard["dashboard_json"].as_str().expect("text")).expect("JSON");
        // An int64 in JSON is a string: https://protobuf.dev/programming-guides/json/.
        assert_eq!(dashboard["gridLayout"]["columns"], json!("2"));
        let widgets = dashboard["gridLayout"]["widgets"].as_array().expect("widgets");
        for widget in widgets {
            let query = &widget["xyChart"]["dataSets"][0]["timeSeriesQuery"];
            let one_way = query["timeSeriesFilter"]["filter"].is_string() != query["prometheusQuery"].is_string();
            assert!(one_way && widget["title"].is_string(), "{widget}");
        }
        assert!(widgets.len() >= 8, "{dashboard}");
    });
}
