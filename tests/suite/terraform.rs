//! Terraform, offline: every example is applied against both ends of the provider's range of versions, what comes out is
//! held against the code, and every mutation of the module is noticed.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use pedwatch::audit::{Decoded, Ignored};
use pedwatch::config::{ENV_CONFIG, env_name, keys};
use pedwatch::pipeline::message::Envelope;
use pedwatch::pipeline::open;
use pedwatch::source::logging::filter::{Narrowing, filter};
use pedwatch::source::push::PATH;
use pedwatch::store::schema;
use serde_json::{Value as Json, json};

use crate::support::{block_on, fixtures, root};
use provider::Provider;

mod billing;
mod guide;
mod looking;
mod order;
mod protocol;
mod provider;
mod registry;
mod teams;
mod telling;

const VERSIONS: [&str; 2] = ["google-7.46.1.json", "google-8.7.0.json"];

const EXAMPLES: [&str; 3] = ["push", "organization", "pull"];

/// The dataset of the tables, in every example.
const DATASET: &str = "pedwatch";

/// A copy of `terraform/` to work in, and a provider to work with.
struct Workspace {
    folder: tempfile::TempDir,
    /// How Terraform finds the stand-in; it looks for the real provider otherwise.
    reattach: Option<String>,
}

impl Workspace {
    async fn new(version: &str) -> Self {
        let reattach = Provider::load(&root().join("tests/terraform").join(version)).serve().await;
        Workspace { reattach: Some(reattach), ..Self::with_the_real_provider() }
    }

    fn with_the_real_provider() -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        copy(&root().join("terraform"), folder.path());
        Workspace { folder, reattach: None }
    }

    async fn assert_valid(&self) {
        self.must(".", &["fmt", "-check", "-recursive", "-diff"]).await;
        self.must(".", &["init", "-backend=false", "-input=false"]).await;
        self.must(".", &["validate"]).await;
        let tested = self.must(".", &["test", "-no-color"]).await;
        let files = ["inputs", "examples"].map(|name| format!("terraform/tests/{name}.tftest.hcl"));
        let texts = files.map(|file| std::fs::read_to_string(root().join(file)).expect("readable"));
        let runs = texts.iter().flat_map(|text| text.lines()).filter(|line| line.starts_with("run ")).count();
        assert!(runs >= 36 && tested.contains(&format!("{runs} passed, 0 failed")), "{tested}");
    }

    /// Runs Terraform in a folder of the copy. The provider is served by this thread's runtime, which must not block.
    async fn terraform(&self, folder: &str, args: &[&str]) -> Output {
        let mut command = Command::new("terraform");
        command.args(args).current_dir(self.folder.path().join(folder));
        command.env("CHECKPOINT_DISABLE", "1").env("TF_IN_AUTOMATION", "1");
        if let Some(reattach) = &self.reattach {
            command.env("TF_REATTACH_PROVIDERS", reattach).env("TF_CLI_CONFIG_FILE", "/dev/null");
        }
        let run = tokio::task::spawn_blocking(move || command.output());
        run.await.expect("joined").expect("terraform 1.9 or newer is needed")
    }

    async fn must(&self, folder: &str, args: &[&str]) -> String {
        let output = self.terraform(folder, args).await;
        assert!(output.status.success(), "terraform {args:?} in {folder}: {}", said(&output));
        said(&output)
    }

    /// Applies an example, and returns everything that is there then.
    async fn apply(&self, example: &str) -> Result<World, String> {
        let folder = format!("examples/{example}");
        self.must(&folder, &["init", "-backend=false", "-input=false", "-no-color"]).await;
        let applied = self.terraform(&folder, &["apply", "-auto-approve", "-input=false", "-no-color"]).await;
        if !applied.status.success() {
            return Err(said(&applied));
        }
        let shown = self.must(&folder, &["show", "-json"]).await;
        Ok(World::new(&serde_json::from_str(shown.trim()).expect("JSON")))
    }

    /// Replaces a text in a file of the copy.
    fn mutate(&self, file: &str, from: &str, to: &str) {
        let path = self.folder.path().join(file);
        let text = std::fs::read_to_string(&path).expect("readable");
        assert!(text.contains(from), "{file} does not have {from:?} any more");
        std::fs::write(path, text.replacen(from, to, 1)).expect("written");
    }
}

fn said(output: &Output) -> String {
    [String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr)].concat()
}

fn copy(from: &Path, to: &Path) {
    for entry in std::fs::read_dir(from).expect("a folder").map(|entry| entry.expect("readable")) {
        let target = to.join(entry.file_name());
        if entry.file_name().to_string_lossy().starts_with(".terraform") {
            continue;
        }
        if entry.file_type().expect("a type").is_dir() {
            std::fs::create_dir_all(&target).expect("made");
            copy(&entry.path(), &target);
        } else {
            std::fs::copy(entry.path(), target).expect("copied");
        }
    }
}

/// The resources of an applied example, by type.
struct World(BTreeMap<String, Vec<Json>>);

impl World {
    fn new(shown: &Json) -> Self {
        fn collect(module: &Json, into: &mut BTreeMap<String, Vec<Json>>) {
            for resource in module["resources"].as_array().into_iter().flatten() {
                let kind = resource["type"].as_str().expect("a type").to_owned();
                into.entry(kind).or_default().push(resource["values"].clone());
            }
            module["child_modules"].as_array().into_iter().flatten().for_each(|child| collect(child, into));
        }
        let mut world = BTreeMap::new();
        collect(&shown["values"]["root_module"], &mut world);
        World(world)
    }

    fn all(&self, kind: &str) -> &[Json] {
        self.0.get(kind).map(Vec::as_slice).unwrap_or_default()
    }

    fn sinks(&self) -> impl Iterator<Item = &Json> {
        let scopes = ["project", "folder", "organization"];
        scopes.into_iter().flat_map(|scope| self.all(&format!("google_logging_{scope}_sink")))
    }

    /// What holds rows.
    fn tables(&self) -> impl Iterator<Item = &Json> {
        self.all("google_bigquery_table").iter().filter(|table| table["view"][0].is_null())
    }

    /// What always runs: a service, or a worker pool.
    fn daemons(&self) -> impl Iterator<Item = &Json> {
        self.all("google_cloud_run_v2_service").iter().chain(self.all("google_cloud_run_v2_worker_pool"))
    }

    /// The containers that run pedwatch.
    fn containers(&self) -> impl Iterator<Item = &Json> {
        let service = self.daemons().map(|service| &service["template"][0]["containers"][0]);
        service.chain(
            self.all("google_cloud_run_v2_job").iter().map(|job| &job["template"][0]["template"][0]["containers"][0]),
        )
    }
}

/// One promise of the module, and whether an applied example keeps it.
type Contract = (&'static str, fn(&World) -> bool);

const CONTRACTS: [Contract; 30] = [
    ("the filter passes what the decoder watches, and nothing else", |world| {
        world.sinks().all(|sink| filter_is_right(sink["filter"].as_str().unwrap_or_default()))
    }),
    ("each sink has a writer of its own, and includes what is below it", |world| {
        let unique = |sink: &Json| sink["unique_writer_identity"] != Json::Bool(false);
        let scopes = ["google_logging_folder_sink", "google_logging_organization_sink"];
        let below = scopes.iter().flat_map(|kind| world.all(kind)).all(|sink| sink["include_children"] == true);
        world.sinks().count() > 0 && world.sinks().all(unique) && below
    }),
    ("every identity has these roles and no others", |world| grants(world) == expected_grants(world)),
    ("no subscription expires, and each keeps its messages for seven days", |world| {
        let subscriptions = world.all("google_pubsub_subscription");
        subscriptions.len() == 2
            && subscriptions.iter().all(|subscription| {
                subscription["expiration_policy"][0]["ttl"] == ""
                    && subscription["message_retention_duration"] == "604800s"
            })
    }),
    ("messages are retried with backoff, and given up into a topic that has a subscription", |world| {
        let subscriptions = world.all("google_pubsub_subscription");
        let audit = subscriptions.iter().find(|subscription| !subscription["dead_letter_policy"][0].is_null());
        audit.is_some_and(|audit| {
            let policy = &audit["dead_letter_policy"][0];
            let heard = subscriptions.iter().any(|other| other["topic"] == policy["dead_letter_topic"]);
            let patient = policy["max_delivery_attempts"].as_i64().is_some_and(|attempts| attempts >= 20);
            heard && patient && audit["retry_policy"][0]["maximum_backoff"] == "600s"
        })
    }),
    ("an acknowledgement may take longer than an append", |world| {
        let deadline = pedwatch::config::Config::load(None, []).expect("defaults").bigquery.deadline.as_secs();
        let audit = |subscription: &Json| subscription["ack_deadline_seconds"].as_u64().is_some_and(|s| s > deadline);
        world.all("google_pubsub_subscription").iter().all(audit)
    }),
    ("pushes go to the router's path, with a token for the service", |world| {
        world.all("google_cloud_run_v2_service").iter().all(|service| {
            let uri = service["uri"].as_str().unwrap_or_default();
            let push = world
                .all("google_pubsub_subscription")
                .iter()
                .find_map(|subscription| Some(&subscription["push_config"][0]).filter(|push| !push.is_null()));
            push.is_some_and(|push| {
                push["push_endpoint"] == format!("{uri}{PATH}")
                    && push["oidc_token"][0]["audience"] == uri
                    && push["oidc_token"][0]["service_account_email"]
                        .as_str()
                        .is_some_and(|who| who.contains("-invoker@"))
            })
        })
    }),
    ("the service is reached from inside only, and one of service and worker pool is there", |world| {
        let services = world.all("google_cloud_run_v2_service");
        let pools = world.all("google_cloud_run_v2_worker_pool");
        services.iter().all(|service| service["ingress"] == "INGRESS_TRAFFIC_INTERNAL_ONLY")
            && services.len() + pools.len() == 1
    }),
    ("the service is probed", |world| {
        world.all("google_cloud_run_v2_service").iter().all(|service| {
            let container = &service["template"][0]["containers"][0];
            container["startup_probe"][0]["http_get"][0]["path"] == "/readyz"
                && container["liveness_probe"][0]["http_get"][0]["path"] == "/livez"
        })
    }),
    ("the worker pool is probed where it answers", |world| {
        world.all("google_cloud_run_v2_worker_pool").iter().all(|pool| {
            let container = &pool["template"][0]["containers"][0];
            ["startup_probe", "liveness_probe"].iter().all(|probe| {
                Some(container[probe][0]["http_get"][0]["port"].to_string())
                    == variable(container, "consumer.metrics_port")
            })
        })
    }),
    ("a start may take as long as grants take to spread, and what it checks", |world| {
        let seconds = |probe: &Json| Some(probe["period_seconds"].as_u64()? * probe["failure_threshold"].as_u64()?);
        world.daemons().all(|daemon| {
            seconds(&daemon["template"][0]["containers"][0]["startup_probe"][0]).is_some_and(|s| s >= 150)
        })
    }),
    ("there is a processor between requests", |world| {
        let idle = |container: &Json| container["resources"][0]["cpu_idle"] == true;
        let services = world.all("google_cloud_run_v2_service").iter();
        services.flat_map(|service| service["template"][0]["containers"].as_array()).flatten().all(|it| !idle(it))
    }),
    ("Google's sidecar scrapes what /metrics offers, on the port that it scrapes", |world| {
        world.daemons().all(|daemon| {
            let containers = daemon["template"][0]["containers"].as_array().map(Vec::as_slice).unwrap_or_default();
            let [pedwatch, sidecar] = containers else { return false };
            let pushed = pedwatch["ports"][0]["container_port"].to_string();
            sidecar["depends_on"][0] == pedwatch["name"]
                && variable(pedwatch, "consumer.metrics_port").is_some_and(|port| port == "8080" && port != pushed)
        })
    }),
    ("one's own key encrypts everything that is kept", |world| {
        let keyed = |kind: &str, key: fn(&Json) -> &Json| {
            world.all(kind).iter().map(|it| !key(it).is_null()).collect::<Vec<_>>()
        };
        let all = [
            keyed("google_pubsub_topic", |it| &it["kms_key_name"]),
            keyed("google_bigquery_dataset", |it| &it["default_encryption_configuration"][0]["kms_key_name"]),
            world.tables().map(|it| !it["encryption_configuration"][0]["kms_key_name"].is_null()).collect(),
            keyed("google_cloud_run_v2_service", |it| &it["template"][0]["encryption_key"]),
            keyed("google_cloud_run_v2_worker_pool", |it| &it["template"][0]["encryption_key"]),
            keyed("google_cloud_run_v2_job", |it| &it["template"][0]["template"][0]["encryption_key"]),
            keyed("google_firestore_database", |it| &it["cmek_config"][0]["kms_key_name"]),
        ]
        .concat();
        all.iter().all(|keyed| *keyed) || all.iter().all(|keyed| !keyed)
    }),
    ("the network and the policy for images are those of everything that runs", |world| {
        let jobs = world.all("google_cloud_run_v2_job").iter().map(|job| (job, &job["template"][0]["template"][0]));
        let all = world.daemons().map(|daemon| (daemon, &daemon["template"][0])).chain(jobs);
        let bound = |(it, template): (&Json, &Json)| {
            [!template["vpc_access"][0].is_null(), !it["binary_authorization"][0].is_null()]
        };
        let bound: BTreeSet<[bool; 2]> = all.map(bound).collect();
        bound.len() == 1
    }),
    ("every variable is one that the binary reads, with a value that it takes", |world| {
        world.containers().count() > 0 && world.containers().all(|container| environment_is_right(world, container))
    }),
    ("tables and views are those of the binary", tables_are_right),
    ("who reads events knows when they go", |world| {
        let events = world.tables().find(|table| table["table_id"] == "replica_events");
        let days =
            |table: &Json| Some(table["time_partitioning"][0]["expiration_ms"].as_u64().unwrap_or(0) / 86_400_000);
        let known = |container: &Json| variable(container, "bigquery.partition_expiration_days")?.parse::<u64>().ok();
        world.containers().all(|container| known(container) == events.and_then(days))
    }),
    ("what may be lost is protected", |world| {
        // A team's dataset holds views alone.
        let holds_rows = |dataset: &&Json| dataset["dataset_id"] == DATASET;
        let dataset: Vec<&Json> = world.all("google_bigquery_dataset").iter().filter(holds_rows).collect();
        dataset.len() == 1 && dataset.iter().all(|dataset| dataset["delete_contents_on_destroy"] == false)
    }),
    ("what breaks is told", |world| {
        let policies = world.all("google_monitoring_alert_policy");
        let text = |policy: &Json| policy["conditions"].to_string();
        let push = world.all("google_cloud_run_v2_service").len();
        // Monitoring shows the errors of projects' sinks alone.
        let sinks = world.all("google_logging_project_sink").len();
        let severities = policies.iter().filter(|policy| text(policy).contains("logging.googleapis.com/user/")).count();
        // By its own metrics, where they are scraped: what is quarantined, and with pull what is given back.
        let scraped = policies.iter().any(|policy| text(policy).contains("pedwatch_last_event_timestamp_seconds"));
        let own = if scraped { 1 + usize::from(push == 0) } else { 0 };
        let untold = telling::ledgers(world).len();
        let snapshots = usize::from(has_job(world, "pedwatch-snapshot"));
        let named = |outcome: &str| policies.iter().filter(|policy| text(policy).contains(outcome)).count();
        let told = [
            "num_undelivered_messages",
            "oldest_unacked_message_age",
            "pedwatch_last_event_timestamp_seconds",
            "job_completed_execution_count",
        ];
        let bills = usize::from(has_job(world, "pedwatch-bill"));
        policies.len() == 4 + push + sinks + severities + own + untold + snapshots + bills
            && named("quarantined") == usize::from(scraped)
            && named("retried") == usize::from(scraped && push == 0)
            && told.iter().all(|metric| policies.iter().any(|policy| text(policy).contains(metric)))
            && policies
                .iter()
                .all(|policy| policy["documentation"][0]["content"].as_str().is_some_and(|text| text.len() > 40))
    }),
    ("each project's sink is watched in its project, where somebody is told", |world| {
        world.all("google_logging_project_sink").iter().all(|sink| {
            let watches = |policy: &&Json| {
                policy["project"] == sink["project"] && policy["conditions"].to_string().contains("exports/error_count")
            };
            let policies = world.all("google_monitoring_alert_policy").iter();
            policies
                .filter(watches)
                .any(|policy| policy["notification_channels"].as_array().is_some_and(|to| !to.is_empty()))
        })
    }),
    ("critical alerts are told, by a metric that reads pedwatch's own line", telling::alerts_are_told),
    ("the ledger has the indexes and the expiry that its queries need, and is protected", telling::ledger_is_right),
    ("the registry is one of its own, reached by those who need it, and protected", registry::registry_is_right),
    ("secrets are read by those who send, and stand in no state", telling::secrets_are_right),
    ("it is told where somebody is not being told", telling::untold_is_told),
    ("each job has its schedule", |world| {
        let jobs = world.all("google_cloud_run_v2_job");
        let schedules = world.all("google_cloud_scheduler_job");
        let run = |job: &Json| {
            let path = format!("/jobs/{}:run", job["name"].as_str().unwrap_or_default());
            schedules
                .iter()
                .any(|schedule| schedule["http_target"][0]["uri"].as_str().is_some_and(|uri| uri.ends_with(&path)))
        };
        jobs.len() == schedules.len() && jobs.iter().all(run)
    }),
    ("snapshots and canaries have their clusters, and it is told where they did not run", looking::looks_and_tells),
    (
        "bills are made and closed in time, pages put where they may be, and it is told where not",
        billing::bills_are_made,
    ),
    ("days are closed every day, and it is told where they are not", |world| {
        let jobs = world.all("google_cloud_run_v2_job");
        let Some(daily) = jobs.iter().find(|job| job["name"] == "pedwatch-daily") else { return false };
        let template = &daily["template"][0]["template"][0];
        let every_day = |schedule: &&Json| schedule["name"] == daily["name"] && schedule["schedule"] == "30 0 * * *";
        let told = |policy: &Json| {
            let condition = &policy["conditions"][0]["condition_prometheus_query_language"][0];
            let query = condition["query"].as_str().unwrap_or_default();
            let seconds: Option<u64> =
                condition["duration"].as_str().and_then(|text| text.strip_suffix('s')?.parse().ok());
            // Longer than a day, or it would be told every day.
            query.contains("job_name=\"pedwatch-daily\", result=\"succeeded\"") && seconds > Some(86_400)
        };
        template["containers"][0]["args"] == json!(["daily"])
            && template["service_account"].as_str().is_some_and(|who| who.starts_with("pedwatch-daily@"))
            && world.all("google_cloud_scheduler_job").iter().filter(every_day).count() == 1
            && world.all("google_monitoring_alert_policy").iter().any(told)
    }),
];

/// Runs the filter's own expression against every fixture.
pub fn filter_is_right(filter: &str) -> bool {
    // A method that is longer than what is meant is another method.
    let methods = filter.lines().find_map(|line| line.strip_prefix("protoPayload.methodName=~"));
    if !methods.is_some_and(|pattern| pattern.starts_with("\"^") && pattern.ends_with("$\"")) {
        return false;
    }
    let namespaces_or_clusters = filter.contains("/namespaces/") || filter.contains("resource.labels.cluster_name");
    let deletions = std::fs::read("fixtures/cases/cluster_deleted.ndjson").expect("a case");
    let lines = deletions.split(|&byte| byte == b'\n');
    let files = [fixtures("audit"), fixtures("audit/malformed")].concat();
    files.iter().map(|(_, bytes)| bytes.as_slice()).chain(lines).all(|bytes| {
        let Ok(entry) = serde_json::from_slice::<Json>(bytes) else { return true };
        // What has no logName never came out of Logging.
        if entry["logName"].is_null() && !entry["protoPayload"].is_null() {
            return true;
        }
        // What is quarantined because it has no payload says no method to go by.
        if !entry["protoPayload"].is_object() {
            return !matches(filter, &entry);
        }
        // The other clouds' log is an option.
        if entry["protoPayload"]["serviceName"] == "anthosgke.googleapis.com" && !filter.contains("anthosgke") {
            return !matches(filter, &entry);
        }
        let mut watched = false;
        open(bytes, Envelope::default(), |_, decoded| {
            watched = match decoded {
                Ok(Decoded::Writes(_) | Decoded::Canary(_)) | Err(_) => true,
                Ok(Decoded::Ignored(reason) | Decoded::Observed(reason, _)) => !matches!(
                    reason,
                    Ignored::OtherLog
                        | Ignored::OtherService
                        | Ignored::OtherResource
                        | Ignored::Read
                        | Ignored::StatusWrite
                ),
            };
        });
        // A filter that is narrowed to clusters and namespaces may leave out what is elsewhere.
        matches(filter, &entry) == watched || namespaces_or_clusters && watched
    })
}

/// Logging's query language, as far as the filter uses it: lines are joined by AND, `=` compares, `=~` is RE2.
pub fn matches(filter: &str, entry: &Json) -> bool {
    filter.lines().all(|line| {
        let (field, wanted) = line.split_once('=').expect("a comparison");
        let pointer = format!("/{}", field.replace('.', "/"));
        let Some(value) = entry.pointer(&pointer).and_then(Json::as_str) else { return false };
        let unquoted = |text: &str| text.trim_matches('"').to_owned();
        match wanted.strip_prefix('~') {
            Some(pattern) => regex::Regex::new(&unquoted(pattern)).expect("a pattern").is_match(value),
            None => unquoted(wanted) == value,
        }
    })
}

/// Who may do what, of all grants: member, role, and what it is granted on.
fn grants(world: &World) -> BTreeSet<String> {
    let mut grants = BTreeSet::new();
    let is_grant = |kind: &str| {
        kind.contains("_iam_") && !kind.ends_with("_custom_role") || kind == "google_bigquery_dataset_access"
    };
    for (kind, resources) in world.0.iter().filter(|(kind, _)| is_grant(kind)) {
        for grant in resources {
            let views = grant["dataset"][0]["dataset"][0]["dataset_id"].as_str().map(|of| format!("the views of {of}"));
            let member = ["member", "user_by_email"].iter().find_map(|key| grant[key].as_str()).map(str::to_owned);
            let member = member.or(views).unwrap_or_default();
            let member = member.trim_start_matches("serviceAccount:");
            // Google's own differ by their domains alone.
            let is_googles = member.starts_with("service-");
            let member = if is_googles { member } else { member.split('@').next().unwrap_or_default() };
            let on = [
                "table_id",
                "dataset_id",
                "subscription",
                "topic",
                "name",
                "service_account_id",
                "crypto_key_id",
                "secret_id",
                "bucket",
            ];
            let on = on.iter().find_map(|key| grant[key].as_str()).unwrap_or("the project");
            let on = on.rsplit('/').next().unwrap_or_default();
            grants.insert(format!("{member} {} on {on} ({kind})", grant["role"].as_str().unwrap_or("may read")));
        }
    }
    grants
}

const PUBSUB_AGENT: &str = "service-123456789012@gcp-sa-pubsub.iam.gserviceaccount.com";
const FIRESTORE_AGENT: &str = "service-123456789012@gcp-sa-firestore.iam.gserviceaccount.com";
const RUN_AGENT: &str = "service-123456789012@serverless-robot-prod.iam.gserviceaccount.com";

/// The written list. There is no editor of a project in it, and no owner of anything.
fn expected_grants(world: &World) -> BTreeSet<String> {
    let agent = PUBSUB_AGENT;
    let mut grants = vec![
        "pedwatch-consumer roles/bigquery.dataEditor on replica_events (google_bigquery_table_iam_member)".to_owned(),
        "pedwatch-consumer roles/bigquery.dataEditor on alert_log (google_bigquery_table_iam_member)".to_owned(),
        "pedwatch-consumer roles/bigquery.dataEditor on quarantine (google_bigquery_table_iam_member)".to_owned(),
        "pedwatch-consumer roles/bigquery.dataEditor on watermarks (google_bigquery_table_iam_member)".to_owned(),
        "pedwatch-consumer roles/bigquery.dataViewer on deployment_config (google_bigquery_table_iam_member)"
            .to_owned(),
        "pedwatch-consumer roles/bigquery.dataViewer on carried_writes (google_bigquery_table_iam_member)".to_owned(),
        "pedwatch-consumer roles/bigquery.metadataViewer on pedwatch (google_bigquery_dataset_access)".to_owned(),
        "pedwatch-consumer roles/bigquery.jobUser on the project (google_project_iam_member)".to_owned(),
        "pedwatch-consumer roles/monitoring.metricWriter on the project (google_project_iam_member)".to_owned(),
        "pedwatch-registrar roles/bigquery.dataEditor on deployment_config (google_bigquery_table_iam_member)"
            .to_owned(),
        "pedwatch-registrar roles/bigquery.dataEditor on alert_log (google_bigquery_table_iam_member)".to_owned(),
        "pedwatch-registrar roles/bigquery.dataViewer on replica_events (google_bigquery_table_iam_member)".to_owned(),
        "pedwatch-registrar roles/bigquery.dataViewer on carried_writes (google_bigquery_table_iam_member)".to_owned(),
        "pedwatch-registrar roles/bigquery.dataEditor on watermarks (google_bigquery_table_iam_member)".to_owned(),
        "pedwatch-registrar roles/bigquery.jobUser on the project (google_project_iam_member)".to_owned(),
        format!("{agent} roles/pubsub.publisher on pedwatch-dead-letters (google_pubsub_topic_iam_member)"),
        format!("{agent} roles/pubsub.subscriber on pedwatch-audit (google_pubsub_subscription_iam_member)"),
    ];
    for scope in ["project", "folder", "organization"] {
        for _ in world.all(&format!("google_logging_{scope}_sink")) {
            let writer = format!("writer-of-google_logging_{scope}_sink");
            grants.push(format!("{writer} roles/pubsub.publisher on pedwatch-audit (google_pubsub_topic_iam_member)"));
        }
    }
    if world.all("google_cloud_run_v2_service").is_empty() {
        grants.push(
            "pedwatch-consumer roles/pubsub.subscriber on pedwatch-audit (google_pubsub_subscription_iam_member)"
                .to_owned(),
        );
    } else {
        grants
            .push("pedwatch-invoker roles/run.invoker on pedwatch (google_cloud_run_v2_service_iam_member)".to_owned());
        // The stand-in invents the account's full name.
        let signs = "roles/iam.serviceAccountTokenCreator on computed-name (google_service_account_iam_member)";
        grants.push(format!("{agent} {signs}"));
    }
    grants.extend(expected_grants_on_keys(world));
    grants.extend(expected_grants_of_teams(world));
    grants.extend(telling::expected_grants(world));
    grants.extend(billing::expected_grants(world));
    grants.extend(registry::expected_grants(world));
    for job in world.all("google_cloud_run_v2_job") {
        let name = job["name"].as_str().unwrap_or_default();
        grants.push(format!("pedwatch-scheduler roles/run.invoker on {name} (google_cloud_run_v2_job_iam_member)"));
        if name == "pedwatch-daily" {
            grants.extend(expected_grants_of_daily());
            continue;
        }
        if let Some(looker) = ["snapshot", "canary"].into_iter().find(|looker| name == format!("pedwatch-{looker}")) {
            grants.extend(looking::expected_grants(looker));
            continue;
        }
        if name == "pedwatch-notify" || billing::is_of_it(name) {
            continue;
        }
        for table in ["alert_log", "pod_metrics", "snapshots"] {
            grants
                .push(format!("pedwatch-jobs roles/bigquery.dataEditor on {table} (google_bigquery_table_iam_member)"));
        }
        // What the API calls dataViewer on a dataset.
        grants.push("pedwatch-jobs READER on pedwatch (google_bigquery_dataset_access)".to_owned());
        grants.push("pedwatch-jobs roles/bigquery.jobUser on the project (google_project_iam_member)".to_owned());
    }
    grants.into_iter().collect()
}

/// It writes what it makes of a day, what it raises and what a snapshot taught, and reads what that is made of.
fn expected_grants_of_daily() -> impl Iterator<Item = String> {
    let writes =
        ["closed_changes", "carried_writes", "object_days", "watermarks", "alert_log", "replica_events", "quarantine"];
    let reads = ["deployment_config", "snapshots", "pod_metrics"];
    let on_table = |role: &'static str| {
        move |table| format!("pedwatch-daily roles/bigquery.{role} on {table} (google_bigquery_table_iam_member)")
    };
    let others = [
        "pedwatch-daily roles/bigquery.metadataViewer on pedwatch (google_bigquery_dataset_access)".to_owned(),
        "pedwatch-daily roles/bigquery.jobUser on the project (google_project_iam_member)".to_owned(),
    ];
    writes.into_iter().map(on_table("dataEditor")).chain(reads.into_iter().map(on_table("dataViewer"))).chain(others)
}

/// Google's own identities use the keys that encrypt what they keep, and nobody else does.
fn expected_grants_on_keys(world: &World) -> Vec<String> {
    let user = |who: &str, key: &Json| {
        let key = key.as_str()?.rsplit('/').next()?;
        Some(format!("{who} roles/cloudkms.cryptoKeyEncrypterDecrypter on {key} (google_kms_crypto_key_iam_member)"))
    };
    let topic = &world.all("google_pubsub_topic")[0]["kms_key_name"];
    let dataset = &world.all("google_bigquery_dataset")[0]["default_encryption_configuration"][0]["kms_key_name"];
    let databases = world.all("google_firestore_database").iter().map(|it| &it["cmek_config"][0]["kms_key_name"]);
    let users = [(PUBSUB_AGENT, topic), (RUN_AGENT, topic), ("bigquery_default_service_account", dataset)];
    let users = users.into_iter().chain(databases.map(|key| (FIRESTORE_AGENT, key)));
    users.into_iter().filter_map(|(who, key)| user(who, key)).collect()
}

/// Dataset and member.
const MEMBERS: [(&str, &str); 3] = [
    ("pedwatch_team_payments", "group:payments"),
    ("pedwatch_team_discovery", "group:discovery"),
    ("pedwatch_team_discovery", "user:lead"),
];

/// A team reads its own dataset and asks questions; the dataset's views read the tables.
fn expected_grants_of_teams(world: &World) -> Vec<String> {
    let is_there = |wanted: &str| world.all("google_bigquery_dataset").iter().any(|it| it["dataset_id"] == wanted);
    let members = MEMBERS.iter().filter(|(dataset, _)| is_there(dataset));
    let grants = members.flat_map(|(dataset, member)| {
        [
            format!("the views of {dataset} may read on pedwatch (google_bigquery_dataset_access)"),
            format!("{member} roles/bigquery.dataViewer on {dataset} (google_bigquery_dataset_iam_member)"),
            format!("{member} roles/bigquery.jobUser on the project (google_project_iam_member)"),
        ]
    });
    grants.collect()
}

fn has_job(world: &World, name: &str) -> bool {
    world.all("google_cloud_run_v2_job").iter().any(|job| job["name"] == name)
}

/// What a container says a key is.
fn variable(container: &Json, key: &str) -> Option<String> {
    let name = env_name(key);
    let found = container["env"].as_array()?.iter().find(|variable| variable["name"] == name.as_str())?;
    found["value"].as_str().map(str::to_owned)
}

/// The names are exactly those of configuration keys, and the whole is a valid configuration, with the file that is mounted.
fn environment_is_right(world: &World, container: &Json) -> bool {
    let env: Vec<(String, String)> = container["env"]
        .as_array()
        .into_iter()
        .flatten()
        .map(|variable| {
            let text = |key: &str| variable[key].as_str().unwrap_or_default().to_owned();
            (text("name"), text("value"))
        })
        .collect();
    // Clusters have names of their own; what is none of their keys is ignored.
    let is_of_a_cluster = |name: &str| name.starts_with("PEDWATCH_CLUSTERS__");
    let known: BTreeSet<String> = keys().iter().map(|key| env_name(key)).collect();
    let (files, env): (Vec<_>, Vec<_>) = env.into_iter().partition(|(name, _)| name == ENV_CONFIG);
    let file = match files.as_slice() {
        [] => None,
        [(_, path)] => match telling::mounted(world, container, path) {
            Some(file) => Some(file),
            None => return false,
        },
        _ => return false,
    };
    let config = pedwatch::config::Config::load(file.as_ref().map(|file| file.path()), env.clone());
    !env.is_empty()
        && env.iter().all(|(name, _)| known.contains(name) || is_of_a_cluster(name))
        && config.is_ok_and(|config| config.store.is_some() && config.ignored.is_empty())
}

fn tables_are_right(world: &World) -> bool {
    let there = world.all("google_bigquery_table").iter().filter(|table| table["dataset_id"] == DATASET);
    let there: Vec<&Json> = there.collect();
    let find = |name: &str| there.iter().find(|table| table["table_id"] == name);
    let project = there.first().and_then(|table| table["project"].as_str()).unwrap_or_default();
    let tables = schema::SCHEMAS.iter().all(|(name, text)| {
        let properties = &schema::table(name).expect("a table").properties;
        find(name).is_some_and(|table| {
            let parsed = |text: &str| serde_json::from_str::<Json>(text).ok();
            // The stand-in invents 0 for what is left to the provider.
            let expires = table["time_partitioning"][0]["expiration_ms"].as_f64().is_some_and(|ms| ms > 0.0);
            table["schema"].as_str().and_then(parsed) == parsed(text)
                && table["time_partitioning"][0]["field"] == properties.partition.as_str()
                && table["time_partitioning"][0]["type"] == "DAY"
                && table["clustering"].as_array().is_some_and(|found| found.iter().eq(properties.clustering.iter()))
                && (properties.expires || !expires)
        })
    });
    let dataset = format!("`{project}`.pedwatch.");
    let views = schema::VIEWS.iter().all(|(name, _)| {
        let wanted = schema::Dialect { dataset: &dataset, ..schema::BIGQUERY }.fill(&schema::view(name));
        find(name).is_some_and(|view| {
            view["view"][0]["query"].as_str().is_some_and(|found| schema::is_same_view(found, &wanted))
        })
    });
    tables && views && there.len() == schema::SCHEMAS.len() + schema::VIEWS.len()
}

fn broken(world: &World) -> Vec<&'static str> {
    CONTRACTS.iter().filter(|(_, holds)| !holds(world)).map(|(name, _)| *name).collect()
}

#[test]
fn every_example_keeps_every_contract_on_both_versions_of_the_provider() {
    block_on(async {
        for version in VERSIONS {
            let workspace = Workspace::new(version).await;
            for example in EXAMPLES {
                let world = workspace.apply(example).await.unwrap_or_else(|error| panic!("{example}: {error}"));
                let found = grants(&world);
                let wanted = expected_grants(&world);
                assert_eq!(found, wanted, "{example} on {version}");
                assert_eq!(broken(&world), Vec::<&str>::new(), "{example} on {version}");
            }
        }
    });
}

#[test]
fn the_module_is_formatted_and_valid_and_refuses_wrong_inputs() {
    block_on(async {
        for version in VERSIONS {
            Workspace::new(version).await.assert_valid().await;
        }
        // Where the registry is at hand, whose provider needs no credentials for this: it is mocked by its schema.
        if std::env::var_os("TERRAFORM_REAL_PROVIDER").is_some() {
            Workspace::with_the_real_provider().assert_valid().await;
        }
    });
}

/// `pedwatch filter` and `pedwatch backfill` fill the same text.
#[test]
fn the_sink_exports_what_the_binary_asks_for() {
    block_on(async {
        let names = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<Vec<String>>();
        for (clusters, namespaces, distributed_cloud) in [
            (&[][..], &[][..], false),
            (&["prod-1"], &["payments", "discovery"], false),
            (&["prod-1", "prod-2"], &[], true),
        ] {
            let workspace = Workspace::new(VERSIONS[1]).await;
            let narrowed = format!(
                "clusters = {clusters:?}\n  namespaces = {namespaces:?}\n  distributed_cloud = {distributed_cloud}\n  scope "
            );
            workspace.mutate("examples/push/main.tf", "scope ", &narrowed);
            let world = workspace.apply("push").await.expect("applied");
            let narrowing = Narrowing { clusters: names(clusters), namespaces: names(namespaces), distributed_cloud };
            // The example's second sink is not narrowed.
            let sinks: Vec<&str> = world.sinks().filter_map(|sink| sink["filter"].as_str()).collect();
            assert!(sinks.contains(&filter(&narrowing).as_str()), "{sinks:?}");
        }
    });
}

/// File, what is changed in it, into what, and which example notices.
type Mutation = (&'static str, &'static str, &'static str, &'static str);

const MUTATIONS: [Mutation; 66] = [
    // The sink.
    ("modules/sink/filter.txt", "scale\\.(update|patch))", "scale\\.patch)", "push"),
    ("modules/sink/filter.txt", "(apps|extensions)", "apps", "push"),
    ("modules/sink/filter.txt", "DeleteCluster)$\"", "DeleteCluster)\"", "push"),
    ("modules/sink/filter.txt", "DeleteCluster)", "CreateCluster)", "push"),
    ("modules/sink/filter.txt", "\"^(io\\.k8s", "\"^(io\\.k8s\\.[a-z0-9.]*|io\\.k8s", "push"),
    ("modules/sink/main.tf", "unique_writer_identity = true", "unique_writer_identity = false", "push"),
    ("modules/sink/main.tf", "member  = local.writer_identity", "member  = \"allAuthenticatedUsers\"", "push"),
    ("modules/sink/main.tf", "include_children = true", "include_children = false", "pull"),
    // Pub/Sub.
    (
        "pubsub.tf",
        "resource \"google_pubsub_subscription_iam_member\" \"dead_letters\" {",
        "resource \"google_pubsub_subscription_iam_member\" \"dead_letters\" {\n  count = 0",
        "push",
    ),
    ("pubsub.tf", "topic   = google_pubsub_topic.dead_letters.id", "topic   = google_pubsub_topic.audit.id", "push"),
    ("pubsub.tf", "    ttl = \"\"", "    ttl = \"2678400s\"", "push"),
    ("pubsub.tf", "/pubsub/push", "/push", "push"),
    ("pubsub.tf", "audience              = push_config.value.uri", "audience              = \"pedwatch\"", "push"),
    // Cloud Run.
    (
        "variables.tf",
        "default     = \"INGRESS_TRAFFIC_INTERNAL_ONLY\"",
        "default     = \"INGRESS_TRAFFIC_ALL\"",
        "push",
    ),
    ("run.tf", "cpu_idle          = var.cpu_idle", "cpu_idle          = true", "push"),
    ("run.tf", "metrics_port = 8080", "metrics_port = 9090", "push"),
    ("run.tf", "port = local.metrics_port", "port = local.push_port", "pull"),
    ("run.tf", "encryption_key  = var.kms_key", "encryption_key  = null", "pull"),
    ("jobs.tf", "encryption_key  = var.kms_key", "encryption_key  = null", "pull"),
    (
        "jobs.tf",
        "dynamic \"binary_authorization\" {\n    for_each = local.binary_authorization",
        "dynamic \"binary_authorization\" {\n    for_each = []",
        "pull",
    ),
    (
        "jobs.tf",
        "service_account = local.job_accounts[each.value.account]",
        "service_account = google_service_account.consumer.email",
        "push",
    ),
    ("daily.tf", "toset([\"closed_changes\", ", "toset([\"replica_events\", ", "push"),
    ("variables.tf", "told_after_hours = optional(number, 26)", "told_after_hours = optional(number, 20)", "push"),
    // Snapshots and canaries.
    (
        "clusters.tf",
        "[\"container.clusters.get\", \"container.clusters.connect\"]",
        "[\"container.clusters.*\"]",
        "pull",
    ),
    ("clusters.tf", "canary = \"roles/gkehub.gatewayEditor\"", "canary = \"roles/gkehub.gatewayAdmin\"", "pull"),
    ("clusters.tf", "toset([\"pod_metrics\", \"snapshots\", ", "toset([\"pod_metrics\", ", "pull"),
    ("clusters.tf", "toset([\"watermarks\"])", "toset([\"deployment_config\"])", "pull"),
    (
        "clusters.tf",
        "jsonPayload.message=\\\"canary is missing\\\"",
        "jsonPayload.message=\\\"canary came back\\\"",
        "pull",
    ),
    ("clusters.tf", "group_by_fields      = [\"metric.label.cluster\"]", "group_by_fields      = []", "pull"),
    ("jobs.tf", "account = \"canary\", retries = 0", "account = \"canary\", retries = 3", "pull"),
    ("clusters.tf", "jobs[\"canary\"].name}\\\", result=\\\"succeeded\\\"}", "jobs[\"canary\"].name}\\\"}", "pull"),
    ("run.tf", "\"canary.namespace\" => canary.namespace", "\"canary.namespace\" => \"pedwatch\"", "pull"),
    // Bills.
    ("billing.tf", "\"--month\", \"last\", \"--close\"", "\"--month\", \"last\"", "organization"),
    ("billing.tf", "schedule = billing.close_schedule", "schedule = billing.schedule", "organization"),
    ("billing.tf", "toset([\"bills\", \"watermarks\"])", "toset([\"bills\", \"replica_events\"])", "organization"),
    (
        "billing.tf",
        "\"storage.objects.delete\"]",
        "\"storage.objects.delete\", \"storage.objects.get\"]",
        "organization",
    ),
    ("billing.tf", "objects/${local.reports[0].folder}", "objects/", "organization"),
    ("billing.tf", "result=\\\"succeeded\\\"}[1h]", "result!=\\\"failed\\\"}[1h]", "organization"),
    ("billing.tf", "[\"close\", \"report-last\"]", "[\"close\"]", "organization"),
    ("telling.tf", "for account in local.billing_accounts : account", "for account in [] : account", "organization"),
    // Monitoring.
    ("monitoring.tf", "jsonPayload.message=\\\"alert\\\"", "jsonPayload.message=\\\"alarm\\\"", "push"),
    ("monitoring.tf", "field = \"replicas\"", "field = \"number\"", "push"),
    ("variables.tf", "critical = optional(bool, true)", "critical = optional(bool, false)", "push"),
    (
        "modules/sink/main.tf",
        "project               = local.watched_in",
        "project               = var.topic.project",
        "push",
    ),
    ("run.tf", "member   = google_service_account.invoker[0].member", "member   = \"allUsers\"", "push"),
    ("run.tf", "\"log.format\"", "\"log.form\"", "push"),
    ("run.tf", "tostring(var.partition_expiration_days.replica_events)", "\"0\"", "push"),
    // Telling.
    ("telling.tf", "due = [\"receiver\", \"due_at\"]", "due = [\"receiver\", \"created_at\"]", "organization"),
    ("telling.tf", "field      = \"expires_at\"", "field      = \"due_at\"", "organization"),
    ("telling.tf", "resource.name == ", "resource.name != ", "organization"),
    ("telling.tf", "for_each = local.ledger_key[*]", "for_each = []", "organization"),
    ("telling.tf", "secret_data = var.telling.config", "secret_data = \"[receivers\"", "organization"),
    ("telling.tf", "folder = \"${local.secrets_folder}/${name}\"", "folder = \"/${name}\"", "organization"),
    ("jobs.tf", "name == \"notify\" ? local.send_volumes", "true ? local.send_volumes", "organization"),
    ("telling.tf", "outcome=\\\"refused\\\"", "outcome=\\\"later\\\"", "organization"),
    // The registry.
    ("registry.tf", "resource.name == ", "resource.name != ", "pull"),
    ("registry.tf", "{ consumer = google_service_account.consumer.member },", "", "pull"),
    ("registry.tf", "role = \"roles/datastore.viewer\"", "role = \"roles/datastore.user\"", "organization"),
    ("registry.tf", "DELETE_PROTECTION_ENABLED", "DELETE_PROTECTION_DISABLED", "pull"),
    ("registry.tf", "for_each = local.registry_key[*]", "for_each = []", "organization"),
    ("run.tf", "\"registry\" => registry", "\"registry\" => \"\"", "pull"),
    // BigQuery.
    (
        "bigquery.tf",
        "toset([\"replica_events\", \"alert_log\", \"quarantine\", \"watermarks\"])",
        "toset([\"replica_events\", \"alert_log\"])",
        "push",
    ),
    ("bigquery.tf", "role    = \"roles/bigquery.jobUser\"", "role    = \"roles/bigquery.admin\"", "push"),
    ("bigquery.tf", "toset([\"deployment_config\", ", "toset([\"pod_metrics\", ", "push"),
    (
        "teams.tf",
        "google_bigquery_dataset.teams[each.value.team].dataset_id\n  role",
        "google_bigquery_dataset.this.dataset_id\n  role",
        "organization",
    ),
    ("bigquery.tf", "for_each = local.dataset_key[*]", "for_each = []", "organization"),
];

#[test]
fn every_mutation_of_the_module_is_noticed() {
    block_on(async {
        for (file, from, to, example) in MUTATIONS {
            let workspace = Workspace::new(VERSIONS[1]).await;
            workspace.mutate(file, from, to);
            let world = workspace.apply(example).await.unwrap_or_else(|error| panic!("{from:?} → {to:?}: {error}"));
            let broken = broken(&world);
            assert!(!broken.is_empty(), "{from:?} → {to:?} in {file} is not noticed");
            println!("{file}: {from:?} → {to:?} breaks {broken:?}");
        }
    });
}

/// Files that nobody should commit.
#[test]
fn there_is_no_state_in_the_tree() {
    let mut folders: Vec<PathBuf> = vec![root().join("terraform")];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).expect("a folder").map(|entry| entry.expect("readable")) {
            let name = entry.file_name().to_string_lossy().into_owned();
            assert!(!name.contains(".tfstate"), "{name}");
            if entry.file_type().expect("a type").is_dir() && name != ".terraform" {
                folders.push(entry.path());
            }
        }
    }
}
