//! Bills and pages: who makes them when, with which rights, and who is told where nobody did.

use serde_json::{Value as Json, json};

use super::telling::queries;
use super::{World, has_job};

/// What a question about a month reads.
const READ: [&str; 5] = ["deployment_config", "replica_events", "carried_writes", "closed_changes", "object_days"];

/// What is on a page besides.
const ON_A_PAGE: [&str; 5] = ["alert_log", "pod_metrics", "snapshots", "bills", "watermarks"];

const JOBS: [(&str, &str, &[&str], &str, &str); 4] = [
    ("pedwatch-bill", "pedwatch-bill@", &["bill"], "45 1 * * *", "93600s"),
    // From the 3rd on, and again: what comes late is a correction. Three days without one are longer than a month's beginning.
    ("pedwatch-close", "pedwatch-bill@", &["bill", "--month", "last", "--close"], "15 2 3-31 * *", "266400s"),
    ("pedwatch-report", "pedwatch-report@", &["report", "--output", PAGES], "45 2 * * *", "93600s"),
    (
        "pedwatch-report-last",
        "pedwatch-report@",
        &["report", "--month", "last", "--output", PAGES],
        "15 3 3-31 * *",
        "266400s",
    ),
];

const PAGES: &str = "gs://acme-platform-reports/pedwatch/";

/// Whether a job is one of these.
pub(super) fn is_of_it(name: &str) -> bool {
    JOBS.iter().any(|(job, ..)| *job == name)
}

/// One keeps lines, the other makes pages, and neither may do what the other does.
pub(super) fn expected_grants(world: &World) -> Vec<String> {
    if !has_job(world, "pedwatch-bill") {
        return Vec::new();
    }
    let on_table = |who: &'static str, role: &'static str| {
        move |table: &str| format!("pedwatch-{who} roles/bigquery.{role} on {table} (google_bigquery_table_iam_member)")
    };
    let both = ["bill", "report"].into_iter().flat_map(|who| {
        [
            format!("pedwatch-{who} roles/bigquery.metadataViewer on pedwatch (google_bigquery_dataset_access)"),
            format!("pedwatch-{who} roles/bigquery.jobUser on the project (google_project_iam_member)"),
            format!("pedwatch-{who} roles/secretmanager.secretAccessor on pedwatch-config (google_secret_manager_secret_iam_member)"),
        ]
    });
    let role = "projects/acme-platform/roles/pedwatch_reports";
    let bucket = format!("pedwatch-report {role} on acme-platform-reports (google_storage_bucket_iam_member)");
    let tables = ["bills", "watermarks"].into_iter().map(on_table("bill", "dataEditor"));
    let tables = tables.chain(READ.into_iter().map(on_table("bill", "dataViewer")));
    let pages = READ.into_iter().chain(ON_A_PAGE).map(on_table("report", "dataViewer"));
    tables.chain(pages).chain(both).chain([bucket]).collect()
}

/// Every day and in time; with pages where they may be put, and nowhere else.
pub(super) fn bills_are_made(world: &World) -> bool {
    if !has_job(world, "pedwatch-bill") {
        return JOBS.iter().all(|(name, ..)| !has_job(world, name));
    }
    JOBS.iter().all(|(name, account, args, schedule, held)| {
        let job = world.all("google_cloud_run_v2_job").iter().find(|job| job["name"] == *name);
        let is_it = job.is_some_and(|job| {
            let template = &job["template"][0]["template"][0];
            template["containers"][0]["args"] == json!(args)
                && template["service_account"].as_str().is_some_and(|who| who.starts_with(account))
        });
        let every = |one: &&Json| one["name"] == *name && one["schedule"] == *schedule;
        let asked = queries(world, &format!("job_name=\"{name}\", result=\"succeeded\""));
        is_it
            && world.all("google_cloud_scheduler_job").iter().filter(every).count() == 1
            && asked.iter().map(|(_, seconds)| seconds.as_str()).eq([*held])
    }) && pages_are_put_into_their_folder(world)
}

fn pages_are_put_into_their_folder(world: &World) -> bool {
    let [grant] = world.all("google_storage_bucket_iam_member") else { return false };
    let [role] = world.all("google_project_iam_custom_role") else { return false };
    let mut may: Vec<&str> = role["permissions"].as_array().into_iter().flatten().filter_map(Json::as_str).collect();
    may.sort_unstable();
    let folder = "resource.name.startsWith(\"projects/_/buckets/acme-platform-reports/objects/pedwatch/\")";
    may == ["storage.objects.create", "storage.objects.delete"] && grant["condition"][0]["expression"] == folder
}
