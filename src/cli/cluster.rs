//! `pedwatch cluster check`: whether clusters can be looked into, and what is missing.

use std::process::ExitCode;

use anyhow::Result;

use super::RowsFormat;
use super::table::Screen;
use crate::config::{Config, STORE_URL, StoreUrl};

#[derive(Debug, clap::Subcommand)]
pub(super) enum Command {
    /// Try each configured cluster: find it, reach it, list what a snapshot lists; tell what is missing, and how to give it
    Check(Args),
}

#[derive(Debug, clap::Args)]
#[cfg_attr(not(feature = "clusters"), allow(dead_code, reason = "it is told what is missing"))]
pub(super) struct Args {
    /// Only these clusters: the NAME of [clusters.NAME]
    #[arg(long = "cluster", value_name = "NAME")]
    clusters: Vec<String>,
    /// How to print what was tried
    #[arg(long, value_enum, default_value = "table")]
    format: RowsFormat,
    /// A store whose audit log is asked how it names the clusters; without it, and without store.url, that is not tried
    #[arg(long, value_name = STORE_URL)]
    store: Option<StoreUrl>,
}

/// That this binary does not speak to clusters.
#[cfg(not(feature = "clusters"))]
pub(super) fn without_clusters(instead: &str) -> anyhow::Error {
    let build = "a build with cargo build --release --features clusters, or the image";
    super::Usage(format!("this pedwatch is built without what speaks to clusters; expected {build}, or {instead}"))
        .into()
}

#[cfg(not(feature = "clusters"))]
pub(super) async fn run(_: Command, _: &Config, _: Screen) -> Result<ExitCode> {
    Err(without_clusters("kubectl auth can-i list deployments.apps -A"))
}

#[cfg(feature = "clusters")]
pub(super) use live::run;

#[cfg(feature = "clusters")]
mod live {
    use std::sync::Arc;

    use futures::StreamExt;
    use serde_json::{Value as Json, json};

    use super::super::table::{Column, Table};
    use super::super::{Access, open_store, report, snapshot};
    use super::{Args, Command, Config, ExitCode, Result, RowsFormat, Screen};
    use crate::cluster::{ClusterConfig, Google, Step, check};
    use crate::ped::Clusters;
    use crate::store::query::{self, SeenCluster};

    /// What was tried with one cluster.
    struct Tried<'c> {
        cluster: &'c ClusterConfig,
        what: &'static str,
        is_fine: bool,
        said: String,
        advice: String,
    }

    pub(in crate::cli) async fn run(
        Command::Check(args): Command,
        config: &Config,
        screen: Screen,
    ) -> Result<ExitCode> {
        let Args { clusters, format, store } = args;
        let clusters = snapshot::named(&clusters, config)?;
        let seen = match open_store(store, config, Access::Existing).await? {
            Some(store) => Some(query::seen_clusters(&*store).await?),
            None => None,
        };
        let google = Arc::new(Google::new(&config.gke)?);
        let tried = clusters.into_iter().map(|cluster| {
            let (google, seen) = (&google, &seen);
            async move {
                let steps = check(google, cluster, &config.snapshot).await;
                let mut tried: Vec<Tried<'_>> = steps.into_iter().map(|step| of_step(cluster, step)).collect();
                tried.extend(seen.iter().map(|seen| named_in_the_log(cluster, seen)));
                tried
            }
        });
        let tried = futures::stream::iter(tried).buffered(config.snapshot.clusters_at_once);
        let tried: Vec<Tried<'_>> = tried.collect::<Vec<_>>().await.into_iter().flatten().collect();
        match format {
            RowsFormat::Table => report::table(&table(&tried), screen)?,
            format => report::objects(&NAMES, &tried.iter().map(as_json).collect::<Vec<_>>(), format)?,
        }
        Ok(if tried.iter().all(|tried| tried.is_fine) { ExitCode::SUCCESS } else { ExitCode::FAILURE })
    }

    fn of_step(cluster: &ClusterConfig, Step { what, outcome }: Step) -> Tried<'_> {
        let is_fine = outcome.is_ok();
        let (said, advice) = match outcome {
            Ok(said) => (said, String::new()),
            Err(fault) => (fault.said().to_owned(), fault.advice().unwrap_or_default().to_owned()),
        };
        Tried { cluster, what, is_fine, said, advice }
    }

    /// Whether the audit log names a cluster as the configuration does: under another name, nothing of it is found.
    fn named_in_the_log<'c>(cluster: &'c ClusterConfig, seen: &[SeenCluster]) -> Tried<'c> {
        let what = "its name in the audit log";
        let name = |seen: &SeenCluster| {
            let [project, location] = [&seen.project_id, &seen.location].map(|part| part.clone().unwrap_or_default());
            Clusters::One { project, location, name: seen.cluster_name.clone() }
        };
        let is_it = |clusters: &Clusters| clusters.hold(cluster.cluster());
        if seen.iter().map(name).any(|clusters| is_it(&clusters)) {
            return Tried { cluster, what, is_fine: true, said: "the same".to_owned(), advice: String::new() };
        }
        let of_that_name =
            seen.iter().filter(|seen| seen.cluster_name == cluster.name).map(|seen| name(seen).to_string());
        let others: Vec<String> = of_that_name.collect();
        let said = format!("no entry names {}", cluster.cluster());
        let advice = match others.as_slice() {
            [] => "expected its entries to come through the sink: pedwatch filter prints which they are".to_owned(),
            others => format!("expected project and location as in {}", others.join(" or ")),
        };
        Tried { cluster, what, is_fine: false, said, advice }
    }

    const NAMES: [&str; 6] = ["cluster", "access", "step", "ok", "said", "advice"];

    fn as_json(tried: &Tried<'_>) -> Json {
        let Tried { cluster, what, is_fine, said, advice } = tried;
        let access = cluster.access.way().to_string();
        json!({"cluster": cluster.handle, "access": access, "step": what, "ok": is_fine, "said": said, "advice": advice})
    }

    fn table(tried: &[Tried<'_>]) -> Table {
        let mut table = Table::new([
            Column::new("cluster"),
            Column::new("access"),
            Column::new("step"),
            Column::new("ok"),
            Column::new("what it says").prose(),
            Column::new("what to do").prose().only_if_several(),
        ]);
        for Tried { cluster, what, is_fine, said, advice } in tried {
            let (access, ok) = (cluster.access.way().to_string(), if *is_fine { "yes" } else { "no" });
            table.add_row([&cluster.handle, access.as_str(), what, ok, said, advice]);
        }
        table
    }
}
