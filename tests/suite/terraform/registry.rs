//! The registry: a database of its own, which those who register write, and those who go by limits read.

use pedwatch::config::RegistryUrl;
use serde_json::Value as Json;

use super::{World, has_job, variable};

/// Its database, where there is one.
fn database(world: &World) -> Option<&Json> {
    world.all("google_firestore_database").iter().find(|it| it["name"] == "pedwatch-registry")
}

/// Nobody who only goes by limits may register, and `daily` mends what those left out who do.
pub(super) fn expected_grants(world: &World) -> Vec<String> {
    if database(world).is_none() {
        return Vec::new();
    }
    let on_project = |who: &str, role: &str| {
        format!("pedwatch-{who} roles/datastore.{role} on the project (google_project_iam_member)")
    };
    let jobs = ["notify", "snapshot", "bill", "report"];
    let readers = jobs.into_iter().filter(|job| has_job(world, &format!("pedwatch-{job}"))).chain(["consumer"]);
    let mut grants: Vec<String> = readers.map(|who| on_project(who, "viewer")).collect();
    grants.extend(["registrar", "daily"].map(|who| on_project(who, "user")));
    // Of the example.
    if has_job(world, "pedwatch-schema-check") {
        grants.push(on_project("jobs", "viewer"));
    }
    let mends = "pedwatch-daily roles/bigquery.dataEditor on deployment_config (google_bigquery_table_iam_member)";
    grants.push(mends.to_owned());
    grants
}

/// A database that nobody deletes by accident, which everybody is named who goes by limits, and who may do something there may do
/// it nowhere else.
pub(super) fn registry_is_right(world: &World) -> bool {
    let granted = world.all("google_project_iam_member").iter();
    let mut granted = granted.filter(|grant| grant["condition"][0]["title"] == "pedwatch-registry").peekable();
    let Some(database) = database(world) else { return granted.peek().is_none() };
    let text = |key: &str| database[key].as_str().unwrap_or_default();
    let (project, name) = (text("project"), text("name"));
    let only_there = format!("resource.name == \"projects/{project}/databases/{name}\"");
    let told = format!("firestore:{project}/{name}");
    let goes_by_limits = |container: &&Json| container["args"][0] != "canary";
    text("type") == "FIRESTORE_NATIVE"
        && text("delete_protection_state") == "DELETE_PROTECTION_ENABLED"
        && granted.peek().is_some()
        && granted.all(|grant| grant["condition"][0]["expression"] == only_there.as_str())
        && told.parse::<RegistryUrl>().is_ok()
        && world.containers().all(|container| {
            variable(container, "registry").as_ref() == Some(&told).filter(|_| goes_by_limits(&container))
        })
}
