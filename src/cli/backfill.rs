//! `pedwatch backfill`: records what Cloud Logging still has of a span of time.

use chrono::{DateTime, Utc};

use super::filter::Narrow;
use super::parse_time;
use super::replay::Recording;

#[derive(Debug, clap::Args)]
#[cfg_attr(not(feature = "cloud"), allow(dead_code, reason = "it is told what is missing"))]
pub(super) struct Args {
    /// A project whose audit logs to read; may be given several times: a folder's and an organization's sink exports those of
    /// all projects below, which are not the folder's own
    #[arg(long = "project", value_name = "PROJECT", value_parser = project, required_unless_present = "views")]
    projects: Vec<String>,
    /// A log view to read, where a bucket gathers the logs of many projects; may be given several times
    #[arg(
        long = "view",
        value_name = "projects/PROJECT/locations/LOCATION/buckets/BUCKET/views/VIEW",
        value_parser = view
    )]
    views: Vec<String>,
    /// From when on (such as 2026-09-11, yesterday or -7d). Somewhat early is right: what is there already is not recorded again
    #[arg(long, value_name = "TIME", value_parser = parse_time, allow_hyphen_values = true)]
    from: DateTime<Utc>,
    /// Until before when
    #[arg(long, value_name = "TIME", value_parser = parse_time, allow_hyphen_values = true)]
    to: DateTime<Utc>,
    #[command(flatten)]
    narrow: Narrow,
    #[command(flatten)]
    recording: Recording,
}

fn project(text: &str) -> Result<String, String> {
    let is_part = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || matches!(c, '-' | '.' | ':');
    match !text.is_empty() && text.chars().all(is_part) {
        true => Ok(format!("projects/{text}")),
        false => Err("expected a project's id, such as acme-prod".to_owned()),
    }
}

fn view(text: &str) -> Result<String, String> {
    let parts: Vec<&str> = text.split('/').collect();
    match parts.as_slice() {
        ["projects" | "folders" | "organizations" | "billingAccounts", _, "locations", _, "buckets", _, "views", _]
            if parts.iter().all(|part| !part.is_empty()) =>
        {
            Ok(text.to_owned())
        }
        _ => Err(
            "expected projects/PROJECT/locations/LOCATION/buckets/BUCKET/views/VIEW (or folders/…, organizations/…)"
                .to_owned(),
        ),
    }
}

#[cfg(not(feature = "cloud"))]
mod absent;
#[cfg(feature = "cloud")]
mod live;

#[cfg(not(feature = "cloud"))]
pub(super) use absent::run;
#[cfg(feature = "cloud")]
pub(super) use live::run;
