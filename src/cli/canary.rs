//! `pedwatch canary`: whether entries of each cluster come.

use std::process::ExitCode;

use anyhow::Result;

use super::RowsFormat;
use super::table::Screen;
use crate::config::{Config, STORE_URL, StoreUrl};

#[derive(Debug, clap::Args)]
#[cfg_attr(not(feature = "clusters"), allow(dead_code, reason = "it is told what is missing"))]
pub(super) struct Args {
    /// Only these clusters: the NAME of [clusters.NAME]
    #[arg(long = "cluster", value_name = "NAME")]
    clusters: Vec<String>,
    /// How many seconds to wait for the entries; canary.wait_seconds, if not given
    #[arg(long, value_name = "SECONDS", value_parser = clap::value_parser!(u16).range(1..=3_600))]
    wait: Option<u16>,
    /// How to print what came
    #[arg(long, value_enum, default_value = "table")]
    format: RowsFormat,
    /// The store of whoever consumes the entries
    #[arg(long, value_name = STORE_URL)]
    store: Option<StoreUrl>,
}

#[cfg(not(feature = "clusters"))]
pub(super) async fn run(_: Args, _: &Config, _: Screen) -> Result<ExitCode> {
    Err(super::cluster::without_clusters(
        "a scheduled write of your own, and the metric pedwatch_last_event_timestamp_seconds",
    ))
}

#[cfg(feature = "clusters")]
pub(super) use live::run;

#[cfg(feature = "clusters")]
mod live {
    use std::sync::Arc;
    use std::time::Duration;

    use serde_json::{Value as Json, json};

    use super::super::table::{Column, Table};
    use super::super::{Access, report, require_store, snapshot};
    use super::{Args, Config, ExitCode, Result, RowsFormat, Screen};
    use crate::cluster::{Fault, Google};
    use crate::id;
    use crate::job::canary::{Flight, Outcome, fly};

    pub(in crate::cli) async fn run(args: Args, config: &Config, screen: Screen) -> Result<ExitCode> {
        let clusters = snapshot::named(&args.clusters, config)?;
        let mut canary = config.canary.clone();
        canary.wait = args.wait.map_or(canary.wait, |seconds| Duration::from_secs(seconds.into()));
        let store = require_store(args.store, config, Access::Existing).await?;
        let google = Arc::new(Google::new(&config.gke)?);
        let (flights, read) = fly(&*store, &google, clusters, (&canary, &config.snapshot)).await;
        for flight in &flights {
            if let Some(why) = why(flight, canary.wait, Fault::loggable) {
                // Who is told of silent clusters is told by this line.
                tracing::error!(cluster = %flight.cluster.cluster(), why, "canary is missing");
            }
        }
        match args.format {
            RowsFormat::Table => report::table(&table(&flights, canary.wait), screen)?,
            format => report::objects(&NAMES, &as_json(&flights, canary.wait), format)?,
        }
        read?;
        let is_back = |flight: &Flight<'_>| matches!(flight.outcome, Outcome::Back(_));
        Ok(if flights.iter().all(is_back) { ExitCode::SUCCESS } else { ExitCode::FAILURE })
    }

    /// Why nothing came; `None` where something did.
    fn why(flight: &Flight<'_>, waited: Duration, say: fn(&Fault) -> String) -> Option<String> {
        match &flight.outcome {
            Outcome::Back(_) => None,
            Outcome::Unsent(fault) => Some(format!("it could not be sent: {}", say(fault))),
            Outcome::Unread => Some("it could not be read whether its entry came".to_owned()),
            Outcome::Missing => Some(format!(
                "its entry did not come within {} s; expected a sink with what pedwatch filter prints, its writer's grant on \
                 the topic, and somebody who consumes (pedwatch serve or pull) into this store; pedwatch cluster check tells \
                 whether the log names the cluster otherwise",
                waited.as_secs()
            )),
        }
    }

    fn seconds(flight: &Flight<'_>) -> Option<f64> {
        match flight.outcome {
            Outcome::Back(after) => Some((after.as_secs_f64() * 1_000.0).round() / 1_000.0),
            Outcome::Missing | Outcome::Unread | Outcome::Unsent(_) => None,
        }
    }

    const NAMES: [&str; 4] = ["cluster", "sent_at", "seconds", "why"];

    fn as_json(flights: &[Flight<'_>], waited: Duration) -> Vec<Json> {
        let row = |flight: &Flight<'_>| {
            json!({"cluster": flight.cluster.handle, "sent_at": id::time(flight.sent_at), "seconds": seconds(flight),
                "why": why(flight, waited, Fault::loggable)})
        };
        flights.iter().map(row).collect()
    }

    fn table(flights: &[Flight<'_>], waited: Duration) -> Table {
        let mut table =
            Table::new([Column::new("cluster"), Column::new("came back after"), Column::new("why not").prose()]);
        for flight in flights {
            let after = seconds(flight).map_or_else(|| "did not".to_owned(), |seconds| format!("{seconds:.1} s"));
            table.add_row([
                flight.cluster.handle.clone(),
                after,
                why(flight, waited, Fault::to_string).unwrap_or_default(),
            ]);
        }
        table
    }
}
