//! `pedwatch alerts`: what was raised, read back.

use std::process::ExitCode;

use anyhow::Result;
use chrono::{DateTime, Utc};

use super::asked::{known_as, note_what_is_not_there, parse_cluster, parse_subject};
use super::cost::Costing;
use super::table::Screen;
use super::{Access, RowsFormat, check_span, parse_time, report, require_store};
use crate::config::{Config, STORE_URL, StoreUrl};
use crate::id;
use crate::ped::Clusters;
use crate::policy::Severity;
use crate::store::query::{self, About, WantedAlerts};
use crate::store::row::RaisedAlert;

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Only of this namespace, or of this Deployment
    #[arg(value_name = "NAMESPACE[/DEPLOYMENT]", value_parser = parse_subject)]
    subject: Option<(String, Option<String>)>,
    /// Only what was raised since then: 2026-09-11, 2026-09-11T08:00Z, yesterday, -7d, -12h and more
    #[arg(long, alias = "from", value_name = "TIME", value_parser = parse_time, allow_hyphen_values = true)]
    since: Option<DateTime<Utc>>,
    /// Only what began before then
    #[arg(long, alias = "to", value_name = "TIME", value_parser = parse_time, allow_hyphen_values = true)]
    until: Option<DateTime<Utc>>,
    /// Only what is at least this severe: info, warning or critical
    #[arg(long, value_name = "SEVERITY")]
    severity: Option<Severity>,
    /// Only of this cluster: its name, or projects/PROJECT/locations/LOCATION/clusters/NAME
    #[arg(long, value_name = "CLUSTER", value_parser = parse_cluster)]
    cluster: Option<Clusters>,
    /// Also those that stand no more, because a later entry or limit took their ground away
    #[arg(long)]
    all: bool,
    /// How to print them
    #[arg(long, value_enum, default_value = "table")]
    format: RowsFormat,
    /// Where facts are kept
    #[arg(long, value_name = STORE_URL)]
    store: Option<StoreUrl>,
}

pub(super) async fn run(args: Args, config: &Config, screen: Screen) -> Result<ExitCode> {
    check_span(["--since", "--until"], args.since.map(id::time), args.until.map(id::time))?;
    let store = require_store(args.store, config, Access::Existing).await?;
    let (namespace, deployment) =
        args.subject.map_or((None, None), |(namespace, deployment)| (Some(namespace), deployment));
    let wanted = WantedAlerts {
        namespace,
        deployment,
        clusters: known_as(args.cluster, config),
        since: args.since,
        until: args.until,
        severity: args.severity,
        all: args.all,
    };
    let at_most = if args.format == RowsFormat::Table { report::ROWS_MAX } else { usize::MAX };
    let alerts = query::alerts(&*store, &wanted, at_most).await?;
    let costing = Costing::of_rows(&*store, &config.prices, &alerts).await?;
    match args.format {
        RowsFormat::Table if alerts.is_empty() => {
            report::text("no alerts\n")?;
            let WantedAlerts { namespace, deployment, clusters, .. } = wanted;
            note_what_is_not_there(&*store, &About { namespace, deployment, clusters, ..About::ALL }).await?;
        }
        RowsFormat::Table => {
            report::table(&report::alerts(&alerts, &costing, args.all), screen)?;
            if alerts.len() >= at_most {
                report::note(&format!(
                    "only the latest {at_most}; --since and --until ask for others, --format=json for all"
                ));
            }
        }
        format => report::objects(&Costing::names::<RaisedAlert>(), &costing.objects(&alerts), format)?,
    }
    Ok(ExitCode::SUCCESS)
}
