//! In which order things are made: whoever may do something is allowed to before it runs, and nothing is published before
//! somebody takes it. Read from Terraform's own graph, because an offline apply is too quick to race.

use std::collections::{BTreeMap, BTreeSet};

use super::{EXAMPLES, VERSIONS, Workspace};
use crate::support::block_on;

/// Which resources come after which, by their addresses.
struct Graph(BTreeMap<String, BTreeSet<String>>);

impl Graph {
    /// Reads what `terraform graph` prints: a line `"a" -> "b"` for each dependency.
    fn new(dot: &str) -> Self {
        let mut edges: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
        for (from, to) in dot.lines().filter_map(|line| line.split_once(" -> ")) {
            let bare = |text: &str| text.trim().trim_end_matches(';').trim_matches('"').to_owned();
            edges.entry(bare(to)).or_default();
            edges.entry(bare(from)).or_default().insert(bare(to));
        }
        Graph(edges)
    }

    /// The resources whose address ends so, `*` standing for the rest of a name.
    fn named<'g>(&'g self, pattern: &str) -> impl Iterator<Item = &'g String> {
        let (start, open) = pattern.strip_suffix('*').map_or((pattern, false), |start| (start, true));
        let (start, deep) = (start.to_owned(), format!(".{start}"));
        self.0.keys().filter(move |address| match open {
            true => address.starts_with(&start) || address.contains(&deep),
            false => **address == start || address.ends_with(&deep),
        })
    }

    fn comes_after(&self, later: &str, earlier: &str) -> bool {
        let (mut seen, mut open) = (BTreeSet::new(), vec![later]);
        while let Some(address) = open.pop() {
            if address == earlier {
                return true;
            }
            if seen.insert(address) {
                open.extend(self.0.get(address).into_iter().flatten().map(String::as_str));
            }
        }
        false
    }
}

const GRANTS: [&str; 3] =
    ["google_bigquery_table_iam_member", "google_bigquery_dataset_access", "google_project_iam_member"];

/// What has to be there before what.
fn rules() -> Vec<(&'static str, String)> {
    let mut rules = Vec::new();
    for (daemon, identity) in [
        ("google_cloud_run_v2_service.this", "consumer"),
        ("google_cloud_run_v2_worker_pool.this", "consumer"),
        ("google_cloud_run_v2_job.jobs", "jobs_"),
        ("google_cloud_run_v2_job.jobs", "daily_"),
        ("google_cloud_run_v2_job.jobs", "lookers_"),
        ("google_cloud_run_v2_job.jobs", "billing_"),
    ] {
        rules.extend(GRANTS.map(|kind| (daemon, format!("{kind}.{identity}*"))));
        rules.extend(["tables", "views"].map(|tables| (daemon, format!("google_bigquery_table.{tables}"))));
    }
    for reader in
        ["google_cloud_run_v2_service.this", "google_cloud_run_v2_worker_pool.this", "google_cloud_run_v2_job.jobs"]
    {
        rules.push((reader, "google_project_iam_member.registry".to_owned()));
    }
    rules.push(("google_cloud_run_v2_job.jobs", "google_storage_bucket_iam_member.reports".to_owned()));
    rules.push(("google_cloud_run_v2_worker_pool.this", "google_pubsub_subscription_iam_member.consumer".to_owned()));
    for keyed in [
        "google_cloud_run_v2_service.this",
        "google_cloud_run_v2_worker_pool.this",
        "google_cloud_run_v2_job.jobs",
        "google_pubsub_topic.audit",
        "google_pubsub_topic.dead_letters",
        "google_bigquery_dataset.this",
        "google_bigquery_dataset.teams",
        "google_firestore_database.registry",
    ] {
        rules.push((keyed, "google_kms_crypto_key_iam_member.agents".to_owned()));
    }
    for granted in [
        "google_cloud_run_v2_service_iam_member.invoker",
        "google_service_account_iam_member.pubsub_signs",
        "google_pubsub_topic_iam_member.dead_letters",
    ] {
        rules.push(("google_pubsub_subscription.audit", granted.to_owned()));
    }
    for scope in
        ["google_logging_project_sink.this", "google_logging_folder_sink.this", "google_logging_organization_sink.this"]
    {
        rules.push((scope, "google_pubsub_subscription.audit".to_owned()));
    }
    for told in
        ["google_logging_metric.alerts", "google_cloud_run_v2_service.this", "google_cloud_run_v2_worker_pool.this"]
    {
        rules.push(("google_monitoring_alert_policy.alerts", told.to_owned()));
    }
    rules
}

fn out_of_order(graph: &Graph) -> Vec<String> {
    let mut found = Vec::new();
    for (later, earlier) in rules() {
        assert!(
            graph.named(later).count() > 0 && graph.named(&earlier).count() > 0,
            "{later} or {earlier} is not there"
        );
        for later in graph.named(later) {
            for earlier in graph.named(&earlier).filter(|earlier| !graph.comes_after(later, earlier)) {
                found.push(format!("{later} does not wait for {earlier}"));
            }
        }
    }
    found
}

async fn graph(workspace: &Workspace, example: &str) -> Graph {
    let folder = format!("examples/{example}");
    workspace.must(&folder, &["init", "-backend=false", "-input=false", "-no-color"]).await;
    Graph::new(&workspace.must(&folder, &["graph"]).await)
}

#[test]
fn nothing_starts_before_it_may_and_nothing_is_sent_before_somebody_takes_it() {
    block_on(async {
        let workspace = Workspace::new(VERSIONS[1]).await;
        for example in EXAMPLES {
            let found = out_of_order(&graph(&workspace, example).await);
            assert_eq!(found, Vec::<String>::new(), "{example}");
        }
    });
}

/// File, and the line that is left out.
const UNORDERED: [(&str, &str); 8] = [
    ("run.tf", "    google_bigquery_table_iam_member.consumer_writes,\n"),
    ("run.tf", "    google_bigquery_dataset_access.consumer_checks,\n"),
    ("run.tf", "    google_pubsub_subscription_iam_member.consumer,\n"),
    ("jobs.tf", "    google_project_iam_member.jobs_query,\n"),
    ("pubsub.tf", "    google_service_account_iam_member.pubsub_signs,\n"),
    ("main.tf", "  depends_on = [google_pubsub_subscription.audit]\n"),
    ("outputs.tf", "  depends_on = [google_pubsub_subscription.audit]\n"),
    ("bigquery.tf", "  depends_on = [google_kms_crypto_key_iam_member.agents]\n"),
];

#[test]
fn every_dependency_that_is_left_out_is_noticed() {
    block_on(async {
        for (file, line) in UNORDERED {
            let workspace = Workspace::new(VERSIONS[1]).await;
            workspace.mutate(file, line, "");
            let found = out_of_order(&graph(&workspace, "push").await);
            assert!(!found.is_empty(), "without {line:?} in {file} nothing is out of order");
        }
    });
}
