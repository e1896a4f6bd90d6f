//! What a reader is told: the services to enable, whose names are kept where and for how long, and what a machine needs to run
//! the tests; and what the stand-in of the provider knows for modules that are still to come.

use std::collections::BTreeSet;

use pedwatch::store::schema;
use serde_json::Value as Json;

use super::{DATASET, EXAMPLES, VERSIONS, Workspace, World};
use crate::support::{block_on, root};

fn read(file: &str) -> String {
    std::fs::read_to_string(root().join(file)).expect("readable")
}

/// By the beginning of a resource's type, which service it is of.
const SERVICES: [(&str, &str); 12] = [
    ("google_bigquery_", "bigquery"),
    ("google_cloud_run_", "run"),
    ("google_cloud_scheduler_", "cloudscheduler"),
    ("google_firestore_", "firestore"),
    ("google_kms_", "cloudkms"),
    ("google_logging_", "logging"),
    ("google_monitoring_", "monitoring"),
    ("google_project", "cloudresourcemanager"),
    ("google_pubsub_", "pubsub"),
    ("google_secret_manager_", "secretmanager"),
    ("google_service_account", "iam"),
    ("google_storage_", "storage"),
];

#[test]
fn every_service_that_an_example_needs_is_in_the_command_that_enables_them() {
    let guide = read("terraform/README.md");
    let begins = guide.find("gcloud services enable").expect("a command");
    let command = guide[begins..].split("```").next().expect("its end");
    let words = command.replace('\\', " ");
    let enabled: BTreeSet<&str> =
        words.split_whitespace().filter_map(|word| word.strip_suffix(".googleapis.com")).collect();
    // Pasteable: whatever is not an option is a service.
    let options = words.split_whitespace().skip(3).filter(|word| !word.ends_with(".googleapis.com"));
    assert_eq!(options.collect::<Vec<_>>(), ["--project", "acme-prod"], "{command}");
    block_on(async {
        let workspace = Workspace::new(VERSIONS[1]).await;
        let mut needed = BTreeSet::from(["iamcredentials"]);
        for example in EXAMPLES {
            let world = workspace.apply(example).await.expect("applied");
            for kind in world.0.keys() {
                let service = SERVICES.iter().find(|(start, _)| kind.starts_with(start));
                needed.insert(service.unwrap_or_else(|| panic!("{kind} is of no service")).1);
            }
        }
        assert!(needed.is_subset(&enabled), "{needed:?} of {enabled:?}");
    });
}

/// Columns that hold an e-mail, an address, or anything that came.
const PERSONAL: [&str; 7] = ["actor", "on_behalf_of", "caller_ip", "message", "raw", "updated_by", "user_id"];

#[test]
fn the_guide_says_which_tables_hold_names_and_how_long() {
    let guide = read("terraform/README.md");
    let row = |table: &str| guide.lines().find(|line| line.starts_with(&format!("| `{table}` |")));
    let world = block_on(async { Workspace::new(VERSIONS[1]).await.apply("push").await.expect("applied") });
    for table in schema::TABLES.iter() {
        let personal = table.fields.iter().map(|field| field.name.as_str()).filter(|name| PERSONAL.contains(name));
        let personal: Vec<&str> = personal.collect();
        let Some(row) = row(table.name) else {
            assert_eq!(personal, Vec::<&str>::new(), "{} is not in the table", table.name);
            continue;
        };
        for column in personal {
            assert!(row.contains(&format!("`{column}`")), "{row} does not name {column}");
        }
        let Some(days) = default_days(table.name) else {
            assert!(row.contains("never dropped"), "{row} does not say that it stays");
            continue;
        };
        assert!(row.contains(&format!("`{days}`")), "{row} states another default");
        assert_expires_as_said(&world, table.name);
    }
}

/// The default that the variable has for a table that may expire.
fn default_days(table: &str) -> Option<String> {
    let variables = read("terraform/variables.tf");
    let begins = variables.find("variable \"partition_expiration_days\"").expect("the variable");
    let line = variables[begins..].lines().find(|line| line.trim_start().starts_with(&format!("{table} ")));
    Some(line?.split(", ").nth(1).expect("a default").trim_end_matches(')').to_owned())
}

fn assert_expires_as_said(world: &World, name: &str) {
    let example = read("terraform/examples/push/main.tf");
    let said = example.lines().find(|line| line.starts_with("  partition_expiration_days")).expect("in the example");
    let days = |text: &str| text.split([',', '}']).next().and_then(|days| days.trim().parse::<u64>().ok());
    let said = said.split_once(&format!("{name} = ")).and_then(|(_, rest)| days(rest));
    let days = said.or_else(|| default_days(name)?.parse().ok()).expect("a number");
    let is_it = |table: &&Json| table["table_id"] == name && table["dataset_id"] == DATASET;
    let table = world.all("google_bigquery_table").iter().find(is_it).expect("the table");
    // The stand-in invents 0 for what is left to the provider: never.
    let millis = table["time_partitioning"][0]["expiration_ms"].as_u64().unwrap_or(0);
    assert_eq!(millis, days * 86_400_000, "{name}");
}

#[test]
fn every_variable_says_what_it_takes() {
    for file in ["terraform/variables.tf", "terraform/modules/sink/variables.tf"] {
        let text = read(file);
        for variable in text.split("\nvariable ").map(|block| block.trim_start_matches("variable ")) {
            let name = variable.lines().next().unwrap_or_default();
            let has = |field: &str| variable.lines().any(|line| line.trim_start().starts_with(field));
            assert!(has("description") && has("type "), "{file}: {name}");
        }
    }
}

#[test]
fn a_machine_that_runs_the_tests_is_told_that_they_need_terraform() {
    let workflow = read(".github/workflows/ci.yaml");
    let version = workflow.split_once("terraform_version: ").and_then(|(_, rest)| rest.split_once('}'));
    let version = version.map(|(version, _)| version.split(',').next().unwrap_or_default().trim_matches(['"', ' ']));
    let mut numbers =
        version.expect("setup-terraform's version").split('.').filter_map(|part| part.parse::<u32>().ok());
    assert!((numbers.next(), numbers.next()) >= (Some(1), Some(9)), "{version:?}");
    assert!(workflow.find("hashicorp/setup-terraform") < workflow.find("run: tests/run.sh"));
    assert!(read("tests/run.sh").contains("Terraform") && read("README.md").contains("Terraform 1.9"));
    // Images for both processors.
    assert!(workflow.contains("linux/amd64") && workflow.contains("linux/arm64"));
    assert!(read("README.md").contains("(terraform/README.md)"));
}

/// What notices, bills and limits in Firestore will be made of.
const TO_COME: &str = r#"
resource "google_firestore_database" "this" {
  project          = "acme-prod"
  name             = "pedwatch"
  location_id      = "eur3"
  type             = "FIRESTORE_NATIVE"
}
resource "google_firestore_index" "claims" {
  project    = "acme-prod"
  database   = google_firestore_database.this.name
  collection = "notices"
  fields {
    field_path = "state"
    order      = "ASCENDING"
  }
  fields {
    field_path = "lease_until"
    order      = "ASCENDING"
  }
}
resource "google_firestore_field" "ttl" {
  project    = "acme-prod"
  database   = google_firestore_database.this.name
  collection = "notices"
  field      = "expires_at"
  ttl_config {}
}
resource "google_storage_bucket" "reports" {
  project                     = "acme-prod"
  name                        = "acme-prod-pedwatch-reports"
  location                    = "EU"
  uniform_bucket_level_access = true
  lifecycle_rule {
    action { type = "Delete" }
    condition { age = 400 }
  }
}
resource "google_storage_bucket_iam_member" "writes" {
  bucket = google_storage_bucket.reports.name
  role   = "roles/storage.objectCreator"
  member = "serviceAccount:jobs@acme-prod.iam.gserviceaccount.com"
}
resource "google_bigquery_dataset_access" "view" {
  project    = "acme-prod"
  dataset_id = "pedwatch"
  view {
    project_id = "acme-prod"
    dataset_id = "shown"
    table_id   = "alerts"
  }
}
resource "google_secret_manager_secret" "slack" {
  project   = "acme-prod"
  secret_id = "slack"
  replication {
    auto {}
  }
}
resource "google_secret_manager_secret_iam_member" "reads" {
  project   = "acme-prod"
  secret_id = google_secret_manager_secret.slack.secret_id
  role      = "roles/secretmanager.secretAccessor"
  member    = "serviceAccount:jobs@acme-prod.iam.gserviceaccount.com"
}
resource "google_cloud_run_v2_job" "daily" {
  project  = "acme-prod"
  location = "europe-west1"
  name     = "daily"
  template {
    template {
      containers {
        image = "europe-docker.pkg.dev/acme-prod/tools/pedwatch:0.1.0"
        env {
          name = "SLACK"
          value_source {
            secret_key_ref {
              secret  = google_secret_manager_secret.slack.secret_id
              version = "latest"
            }
          }
        }
      }
    }
  }
}
resource "google_cloud_scheduler_job" "daily" {
  project  = "acme-prod"
  region   = "europe-west1"
  name     = "daily"
  schedule = "15 2 * * *"
  http_target {
    uri = "https://run.googleapis.com/v2/${google_cloud_run_v2_job.daily.id}:run"
    oauth_token { service_account_email = "scheduler@acme-prod.iam.gserviceaccount.com" }
  }
}
resource "google_essential_contacts_contact" "platform" {
  parent                              = "organizations/123456789012"
  email                               = "platform@example.com"
  language_tag                        = "en"
  notification_category_subscriptions = ["TECHNICAL"]
}
data "google_storage_project_service_account" "this" {
  project = "acme-prod"
}
"#;

#[test]
fn the_stand_in_knows_what_is_still_to_come_and_refuses_what_is_misspelled() {
    block_on(async {
        for version in VERSIONS {
            let workspace = Workspace::new(version).await;
            let folder = workspace.folder.path().join("examples/to_come");
            std::fs::create_dir(&folder).expect("made");
            std::fs::copy(workspace.folder.path().join("versions.tf"), folder.join("versions.tf")).expect("copied");
            std::fs::write(folder.join("main.tf"), TO_COME).expect("written");
            let world = workspace.apply("to_come").await.unwrap_or_else(|error| panic!("{version}: {error}"));
            assert_eq!(world.0.len(), 12, "{:?}", world.0.keys());
            workspace.mutate("examples/to_come/main.tf", "collection = \"notices\"", "collections = \"notices\"");
            let refused = workspace.apply("to_come").await.err().expect("refused");
            assert!(refused.contains("collections"), "{refused}");
        }
    });
}

/// So many layers more than there are.
fn stack(workspace: &Workspace, layers: usize) {
    let folder = workspace.folder.path().join("views");
    let order = std::fs::read_to_string(folder.join("order.json")).expect("readable");
    let mut order: Vec<String> = serde_json::from_str(&order).expect("JSON");
    for layer in 0..layers {
        let below = layer.checked_sub(1).map_or_else(|| "alerts".to_owned(), |below| format!("layer_{below}"));
        std::fs::write(folder.join(format!("layer_{layer}.sql")), format!("SELECT * FROM ${{dataset}}.{below}\n"))
            .expect("written");
        order.push(format!("layer_{layer}"));
    }
    std::fs::write(folder.join("order.json"), serde_json::to_string(&order).expect("JSON")).expect("written");
}

#[test]
fn views_stand_on_as_many_layers_as_there_are_and_more_than_terraform_follows_is_refused() {
    block_on(async {
        let workspace = Workspace::new(VERSIONS[1]).await;
        stack(&workspace, 12);
        let world = workspace.apply("push").await.expect("applied");
        let tables = world.all("google_bigquery_table").iter();
        let last = tables.clone().find(|table| table["table_id"] == "layer_11").expect("the view");
        let query = last["view"][0]["query"].as_str().expect("text");
        let layers = ["limit_ranges".to_owned(), "alerts".to_owned()].into_iter();
        let layers = layers.chain((0..12).map(|layer| format!("layer_{layer}")));
        let places: Vec<usize> = layers.map(|layer| query.find(&format!("{layer} AS (")).expect("defined")).collect();
        assert!(places.is_sorted(), "{places:?}");

        // The same views, followed less far.
        let workspace = Workspace::new(VERSIONS[1]).await;
        workspace.mutate("bigquery.tf", "uses_64 = { for", "uses_64 = local.uses\n  farther = { for");
        let refused = workspace.apply("push").await.err().expect("refused");
        assert!(refused.contains("more than 64 layers"), "{refused}");
    });
}
