//! `pedwatch changes` and `pedwatch status`: what happened, and how it stands.

use std::io::Write as _;
use std::process::ExitCode;

use anyhow::Result;
use chrono::{DateTime, Utc};

use super::cost::Costing;
use super::table::{Column, Screen, Table, by_severity};
use super::{Access, RowsFormat, check_span, parse_time, report, require_store};
use crate::cluster::ClusterConfig;
use crate::config::{Config, STORE_URL, StoreUrl};
use crate::id;
use crate::ped::{Cluster, Clusters};
use crate::policy::Verdict;
use crate::shown::Shown;
use crate::store::Store;
use crate::store::query::{self, About};
use crate::store::row::{Change, Standing};

/// What is asked about.
#[derive(Debug, clap::Args)]
struct Which {
    /// Only of this namespace, or of this Deployment
    #[arg(value_name = "NAMESPACE[/DEPLOYMENT]", value_parser = parse_subject)]
    subject: Option<(String, Option<String>)>,
    /// Only of this cluster: its name, or projects/PROJECT/locations/LOCATION/clusters/NAME
    #[arg(long, value_name = "CLUSTER", value_parser = parse_cluster)]
    cluster: Option<Clusters>,
    /// Also what is out of scope ([scope] in the configuration)
    #[arg(long)]
    out_of_scope: bool,
    /// How to print it
    #[arg(long, value_enum, default_value = "table")]
    format: RowsFormat,
    /// Where facts are kept
    #[arg(long, value_name = STORE_URL)]
    store: Option<StoreUrl>,
}

impl Which {
    fn about(&self, actor: Option<String>, verdicts: Vec<Verdict>, config: &Config) -> About {
        let (namespace, deployment) = self.subject.clone().map_or((None, None), |(one, other)| (Some(one), other));
        let clusters = known_as(self.cluster.clone(), config);
        About { namespace, deployment, clusters, verdicts, actor, out_of_scope: self.out_of_scope }
    }
}

#[derive(Debug, clap::Args)]
pub(super) struct ChangesArgs {
    #[command(flatten)]
    which: Which,
    /// From then on: 2026-09-11, 2026-09-11T08:00Z, yesterday, -7d, -12h and more; without it from the beginning
    #[arg(long, value_name = "TIME", value_parser = parse_time, allow_hyphen_values = true)]
    from: Option<DateTime<Utc>>,
    /// Until then
    #[arg(long, value_name = "TIME", value_parser = parse_time, allow_hyphen_values = true)]
    to: Option<DateTime<Utc>>,
    /// Only by whom this is a part of the name of; * is anything
    #[arg(long, value_name = "PATTERN")]
    actor: Option<String>,
    /// Only what came to this; may be given several times
    #[arg(long = "verdict", value_name = "VERDICT")]
    verdicts: Vec<Verdict>,
}

#[derive(Debug, clap::Args)]
pub(super) struct StatusArgs {
    #[command(flatten)]
    which: Which,
    /// Only what is over its limit
    #[arg(long)]
    over: bool,
    /// Only what has no PED in force
    #[arg(long)]
    unregistered: bool,
    /// As it was then; without it as it is now
    #[arg(long, value_name = "TIME", value_parser = parse_time, allow_hyphen_values = true)]
    at: Option<DateTime<Utc>>,
}

pub(super) fn parse_subject(text: &str) -> Result<(String, Option<String>), String> {
    let is_name = |name: &str| !name.is_empty() && !name.contains('/');
    let (namespace, deployment) = text.split_once('/').map_or((text, None), |(one, other)| (one, Some(other)));
    if is_name(namespace) && deployment.is_none_or(is_name) {
        return Ok((namespace.to_owned(), deployment.map(str::to_owned)));
    }
    Err("expected NAMESPACE or NAMESPACE/DEPLOYMENT".to_owned())
}

pub(super) fn parse_cluster(text: &str) -> Result<Clusters, String> {
    match Clusters::of(Some(text)) {
        Clusters::Named(name) if !name.contains('/') => Ok(Clusters::Named(name)),
        clusters @ Clusters::One { .. } => Ok(clusters),
        _ => Err("expected its name, or projects/PROJECT/locations/LOCATION/clusters/NAME".to_owned()),
    }
}

/// The clusters as entries name them: somebody may know one by the name of its section in the configuration.
pub(super) fn known_as(clusters: Option<Clusters>, config: &Config) -> Clusters {
    let named = match clusters {
        Some(Clusters::Named(name)) => name,
        other => return other.unwrap_or(Clusters::Any),
    };
    match config.clusters.iter().find(|cluster| cluster.handle == named && cluster.name != named) {
        Some(ClusterConfig { project, location, name, .. }) => {
            Clusters::One { project: project.clone(), location: location.clone(), name: name.clone() }
        }
        None => Clusters::Named(named),
    }
}

/// Says so where nothing is there now of what was named: it may be misspelt.
pub(super) async fn note_what_is_not_there(store: &dyn Store, about: &About) -> Result<()> {
    let About { namespace, deployment, clusters, .. } = about.clone();
    let named = About { namespace, deployment, clusters, ..About::ALL };
    if named == About::ALL || !query::status(store, &named, Utc::now()).await?.is_empty() {
        return Ok(());
    }
    let About { namespace, deployment, clusters, .. } = named;
    let parts = [namespace, deployment].into_iter().flatten().collect::<Vec<_>>().join("/");
    let of = if parts.is_empty() { "anything".to_owned() } else { Shown(parts).to_string() };
    let within = if clusters == Clusters::Any { String::new() } else { format!(" in the cluster {}", Shown(clusters)) };
    report::note(&format!("nothing is known of {of}{within} that is there now; `pedwatch status` shows what is"));
    Ok(())
}

/// No event is from before; none is from behind.
const EVER: (i64, i64) = (0, 4_102_444_800);

pub(super) async fn changes(args: ChangesArgs, config: &Config, screen: Screen) -> Result<ExitCode> {
    check_span(["--from", "--to"], args.from.map(id::time), args.to.map(id::time))?;
    let ever = |seconds| DateTime::from_timestamp(seconds, 0).unwrap_or_default();
    let span = (args.from.unwrap_or_else(|| ever(EVER.0)), args.to.unwrap_or_else(|| ever(EVER.1)));
    let format = args.which.format;
    let about = args.which.about(args.actor, args.verdicts, config);
    let store = require_store(args.which.store, config, Access::Existing).await?;
    if format != RowsFormat::Table {
        let mut rows = report::Rows::new(format);
        let names = Costing::names::<Change>();
        query::changes(&*store, &about, span, usize::MAX, async |page: Vec<Change>| {
            let costing = Costing::of_rows(&*store, &config.prices, &page).await?;
            rows.print(&names, &costing.objects(&page))
        })
        .await?;
        rows.end(&names)?;
        return Ok(ExitCode::SUCCESS);
    }
    let mut shown = Vec::new();
    query::changes(&*store, &about, span, report::ROWS_MAX + 1, async |page: Vec<Change>| {
        shown.extend(page);
        anyhow::Ok(())
    })
    .await?;
    let is_more = shown.len() > report::ROWS_MAX;
    shown.truncate(report::ROWS_MAX);
    let costing = Costing::of_rows(&*store, &config.prices, &shown).await?;
    match shown.is_empty() {
        true => {
            report::text("no changes\n")?;
            note_what_is_not_there(&*store, &about).await?;
        }
        false => report::table(&report::changes(&shown, &costing), screen)?,
    }
    if is_more {
        report::note(&format!(
            "only the first {}; --from and --to ask for others, --format=ndjson for all",
            report::ROWS_MAX
        ));
    }
    Ok(ExitCode::SUCCESS)
}

pub(super) async fn status(args: StatusArgs, config: &Config, screen: Screen) -> Result<ExitCode> {
    let at = args.at.unwrap_or_else(Utc::now);
    let named = [(args.over, Verdict::OverLimit), (args.unregistered, Verdict::Unregistered)];
    let verdicts = named.into_iter().filter_map(|(wanted, verdict)| wanted.then_some(verdict)).collect();
    let format = args.which.format;
    let about = args.which.about(None, verdicts, config);
    let store = require_store(args.which.store, config, Access::Existing).await?;
    let standings = query::status(&*store, &about, at).await?;
    match format {
        RowsFormat::Table if standings.is_empty() => {
            report::text("nothing stands\n")?;
            note_what_is_not_there(&*store, &about).await?;
        }
        RowsFormat::Table => report::table(&table(&standings, at), screen)?,
        format => report::rows(&standings, format)?,
    }
    std::io::stdout().flush()?;
    Ok(ExitCode::SUCCESS)
}

fn cluster_of(standing: &Standing) -> Cluster<'_> {
    Cluster {
        project: standing.project_id.as_deref().unwrap_or_default(),
        location: standing.location.as_deref().unwrap_or_default(),
        name: &standing.cluster_name,
    }
}

fn table(standings: &[Standing], at: DateTime<Utc>) -> Table {
    let mut table = Table::new([
        Column::new("cluster").only_if_several(),
        Column::new("deployment"),
        Column::new("asks for").named(),
        Column::new("HPA max").named().only_if_any(),
        Column::new("limit").named(),
        Column::new("verdict").styled(by_severity),
        Column::new("for").named().only_if_any(),
        Column::new("owner").named(),
        Column::new("since (UTC)"),
        Column::new("by"),
        Column::new("missed writes").named().only_if_any(),
    ]);
    let cluster_name = report::cluster_names(standings, cluster_of);
    let number = |number: Option<i64>| number.map_or_else(String::new, |number| number.to_string());
    for standing in standings {
        let (since, by) = match standing.since {
            Some(since) => (Some(since), standing.actor.as_deref()),
            None => (standing.hpa_since, standing.hpa_actor.as_deref()),
        };
        table.add_row([
            cluster_name(cluster_of(standing)),
            format!("{}/{}", standing.namespace, standing.deployment_name),
            standing.replicas.map_or_else(|| "?".to_owned(), |replicas| replicas.to_string()),
            number(standing.hpa_max_replicas),
            standing.limit_max_replicas.map_or_else(|| "none".to_owned(), |limit| limit.to_string()),
            standing.verdict.to_string(),
            standing.over_since.map_or_else(String::new, |over| long(at - over)),
            standing.owner.clone().unwrap_or_default(),
            since.map_or_else(String::new, report::short),
            report::who(by.unwrap_or_default(), standing.on_behalf_of.as_deref()),
            if standing.missed_writes > 0 { standing.missed_writes.to_string() } else { String::new() },
        ]);
    }
    table
}

/// A length of time in its two largest units.
pub(super) fn long(time: chrono::Duration) -> String {
    let minutes = time.num_minutes().max(0);
    match (minutes / 1_440, minutes / 60 % 24, minutes % 60) {
        (0, 0, minutes) => format!("{minutes}m"),
        (0, hours, minutes) => format!("{hours}h {minutes}m"),
        (days, hours, _) => format!("{days}d {hours}h"),
    }
}
