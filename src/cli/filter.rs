//! `pedwatch filter`: what the sink exports, and thus what is to be read where the sink did not export it.

use std::process::ExitCode;

use anyhow::Result;
use chrono::{DateTime, Utc};

use super::{check_span, parse_time, report};
use crate::id;
use crate::source::logging::filter::{self, Narrowing};

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(flatten)]
    narrow: Narrow,
    /// From when on (such as 2026-09-11, yesterday or -7d)
    #[arg(long, value_name = "TIME", value_parser = parse_time, allow_hyphen_values = true)]
    from: Option<DateTime<Utc>>,
    /// Until before when
    #[arg(long, value_name = "TIME", value_parser = parse_time, allow_hyphen_values = true)]
    to: Option<DateTime<Utc>>,
}

/// What the sink was narrowed to, by the variables of the same names.
#[derive(Debug, clap::Args)]
pub(super) struct Narrow {
    /// Only this cluster; may be given several times, as the sink's `clusters`
    #[arg(long = "cluster", value_name = "NAME", value_parser = name)]
    clusters: Vec<String>,
    /// Only this namespace; may be given several times, as the sink's `namespaces`
    #[arg(long = "namespace", value_name = "NAME", value_parser = name)]
    namespaces: Vec<String>,
    /// Clusters of Google Distributed Cloud too, as the sink's `distributed_cloud`
    #[arg(long)]
    distributed_cloud: bool,
}

impl Narrow {
    pub(super) fn filter(&self) -> String {
        filter::filter(&Narrowing {
            clusters: self.clusters.clone(),
            namespaces: self.namespaces.clone(),
            distributed_cloud: self.distributed_cloud,
        })
    }
}

/// Longest name of a namespace; a cluster's has at most 40 characters.
const NAME_MAX: usize = 63;

/// A name of a cluster or namespace, which stands in the filter's patterns as it is.
fn name(text: &str) -> Result<String, String> {
    let is_part = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
    let is_name = (1..=NAME_MAX).contains(&text.len())
        && text.chars().all(is_part)
        && !text.starts_with('-')
        && !text.ends_with('-');
    match is_name {
        true => Ok(text.to_owned()),
        false => Err(format!("expected lower-case letters, digits and '-', at most {NAME_MAX}")),
    }
}

pub(super) fn run(args: &Args) -> Result<ExitCode> {
    check_span(["--from", "--to"], args.from.map(id::time), args.to.map(id::time))?;
    report::text(&format!("{}\n", filter::within(&args.narrow.filter(), args.from, args.to)))?;
    Ok(ExitCode::SUCCESS)
}
