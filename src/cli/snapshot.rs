//! `pedwatch snapshot`: records what runs in clusters.

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::str::FromStr;

use anyhow::{Context, Result};
use chrono::{DateTime, Utc};

use super::table::{Column, Screen, Table};
use super::{Access, RowsFormat, Usage, parse_time, parse_told, report, require_store};
use crate::cluster::file::{self, Contents, MADE_BY};
use crate::cluster::{ClusterConfig, Listing, Namespaces};
use crate::config::{Config, STORE_URL, StoreUrl};
use crate::id;
use crate::job::compare::COMPARED_WITHIN;
use crate::job::snapshot::{Judging, Taken, record};
use crate::ped::limits::Limits;
use crate::ped::{Cluster, Clusters};
use crate::source::files;
use crate::store::Store;
use crate::store::row::{Snapshot, SnapshotState};
use crate::time::CLOCKS_APART;

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Only these clusters: the NAME of [clusters.NAME]. With --from-file the cluster that it is of, by that name or by
    /// projects/PROJECT/locations/LOCATION/clusters/NAME
    #[arg(long = "cluster", value_name = "CLUSTER")]
    clusters: Vec<String>,
    /// Read what `kubectl get deployments,hpa -A -o json` printed instead of asking a cluster; - for standard input
    #[arg(long, value_name = "FILE", requires = "clusters")]
    from_file: Option<PathBuf>,
    /// When the file was made; without it, when it was last written
    #[arg(long, value_name = "TIME", value_parser = parse_time, allow_hyphen_values = true, requires = "from_file")]
    at: Option<DateTime<Utc>>,
    /// The namespaces that the file is of, if not all: patterns as in the configuration
    #[arg(long = "namespace", value_name = "PATTERN", requires = "from_file", value_parser = parse_told)]
    namespaces: Vec<String>,
    /// How to print what was taken
    #[arg(long, value_enum, default_value = "table")]
    format: RowsFormat,
    /// Where facts are kept
    #[arg(long, value_name = STORE_URL)]
    store: Option<StoreUrl>,
}

pub(super) async fn run(args: Args, config: &Config, screen: Screen) -> Result<ExitCode> {
    let taken = match &args.from_file {
        Some(file) => vec![of_file(file, &args, config).await?],
        None => of_clusters(&args, config).await?,
    };
    let snapshots: Vec<Snapshot> = taken.iter().filter_map(|taken| taken.as_ref().ok().cloned()).collect();
    match args.format {
        RowsFormat::Table => report::table(&table(&snapshots), screen)?,
        format => report::rows(&snapshots, format)?,
    }
    taken.into_iter().collect::<Result<Vec<_>>>()?;
    let is_complete = snapshots.iter().all(|snapshot| snapshot.state == SnapshotState::Complete);
    Ok(if is_complete { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// The clusters that are named, or all there are.
pub(super) fn named<'c>(names: &[String], config: &'c Config) -> Result<Vec<&'c ClusterConfig>> {
    if config.clusters.is_empty() {
        let wanted = "expected [clusters.NAME] in the configuration (pedwatch config example), or --from-file";
        return Err(Usage(format!("no cluster is configured; {wanted}")).into());
    }
    let known = || config.clusters.iter().map(|cluster| cluster.handle.as_str()).collect::<Vec<_>>().join(", ");
    let find = |name: &String| {
        let found = config.clusters.iter().find(|cluster| cluster.handle == *name);
        found.ok_or_else(|| Usage(format!("no cluster is configured as {name:?}; expected one of {}", known())).into())
    };
    if names.is_empty() { Ok(config.clusters.iter().collect()) } else { names.iter().map(find).collect() }
}

async fn limits(store: &dyn Store) -> Result<Limits> {
    Ok(Limits::new(store.claims(None).await?))
}

/// One cluster, by the NAME of `[clusters.NAME]` or by its path.
fn one_cluster(named: &str, config: &Config) -> Result<[String; 3]> {
    let cluster = config.clusters.iter().find(|cluster| cluster.handle == *named);
    let cluster = cluster.map_or_else(|| Clusters::of(Some(named)), |cluster| Clusters::one(cluster.cluster()));
    let Clusters::One { project, location, name } = cluster else {
        let wanted = "expected the NAME of [clusters.NAME], or projects/PROJECT/locations/LOCATION/clusters/NAME";
        return Err(Usage(format!("no cluster is configured as {named:?}; {wanted}")).into());
    };
    Ok([project, location, name])
}

/// What a file says of one cluster.
pub(super) struct OfFile {
    cluster: [String; 3],
    at: DateTime<Utc>,
    namespaces: Namespaces,
    listed: (Listing, String),
}

impl OfFile {
    fn read(path: &Path, named: &str, at: DateTime<Utc>, namespaces: &[String], config: &Config) -> Result<Self> {
        let cluster = one_cluster(named, config)?;
        if at - Utc::now() > CLOCKS_APART {
            let at = id::time(at);
            return Err(Usage(format!(
                "the snapshot is of {at}, which is yet to come; expected --at or @TIME with when it was"
            ))
            .into());
        }
        let namespaces = Namespaces::new(namespaces);
        let read = files::text(path).with_context(|| format!("failed to read {}", path.display()))?;
        let listed = file::read(read).and_then(|Contents { gathered, resource_version, digest }| {
            if gathered.has_no_deployment() {
                return Err("it holds no Deployment, and an empty cluster cannot be told from another file".to_owned());
            }
            let version = resource_version.clone().unwrap_or(digest);
            Ok((gathered.listing(at, resource_version, &namespaces)?, version))
        });
        // What is no listing is nobody's snapshot.
        let listed = listed.map_err(|why| anyhow::anyhow!("{} is refused: {why}", path.display()))?;
        Ok(OfFile { cluster, at, namespaces, listed })
    }

    /// Stores it.
    pub(super) async fn record(self, store: &dyn Store, judging: Judging<'_>) -> Result<Snapshot> {
        let OfFile { cluster: [project, location, name], at, namespaces, listed } = self;
        let taken = Taken {
            cluster: Cluster { project: &project, location: &location, name: &name },
            source: "file",
            planned_at: at,
            started_at: at,
            namespaces: &namespaces,
            outcome: Ok(listed),
        };
        Ok(record(store, judging, taken).await?)
    }
}

/// What `--snapshot` names.
#[derive(Debug, Clone)]
pub(super) struct SnapshotFile {
    cluster: String,
    at: DateTime<Utc>,
    pub(super) path: PathBuf,
}

impl FromStr for SnapshotFile {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let parts = text.split_once('=').and_then(|(of, path)| Some((of.split_once('@')?, path)));
        let Some(((cluster, at), path)) = parts else {
            return Err("expected CLUSTER@TIME=FILE, such as prod_1@2026-09-28T06:00Z=prod-1.json".to_owned());
        };
        Ok(SnapshotFile { cluster: cluster.to_owned(), at: parse_time(at)?, path: path.into() })
    }
}

impl SnapshotFile {
    /// What it says.
    pub(super) fn read(&self, config: &Config) -> Result<OfFile> {
        OfFile::read(&self.path, &self.cluster, self.at, &[], config)
    }
}

async fn of_file(path: &Path, args: &Args, config: &Config) -> Result<Result<Snapshot>> {
    let [named] = args.clusters.as_slice() else {
        return Err(Usage("a file is of one cluster; expected --cluster once".to_owned()).into());
    };
    let at = match args.at {
        Some(at) => at,
        None => written_at(path)?,
    };
    let file = OfFile::read(path, named, at, &args.namespaces, config)?;
    let store = require_store(args.store.clone(), config, Access::OrNew).await?;
    let limits = limits(&*store).await?;
    let recorded = file.record(&*store, Judging { limits: &limits, scope: &config.policy.scope }).await;
    if recorded.is_ok() {
        when_compared(at, config);
    }
    Ok(recorded)
}

/// Tells when it is held against the log, where the next `daily` does not do it.
fn when_compared(at: DateTime<Utc>, config: &Config) {
    let (now, settled) = (Utc::now(), at + config.thresholds.settle);
    if at < now - COMPARED_WITHIN {
        let date = at.date_naive();
        report::note(&format!(
            "it is of more than {} days ago: `pedwatch daily --from {date} --to {date}` holds it against the log",
            COMPARED_WITHIN.num_days()
        ));
    } else if settled > now {
        report::note(&format!(
            "`pedwatch daily` holds it against the log from {} UTC on (comparison.settle_seconds)",
            report::short(settled)
        ));
    }
}

fn written_at(path: &Path) -> Result<DateTime<Utc>> {
    if files::is_stdin(path) {
        return Ok(Utc::now());
    }
    let metadata = std::fs::metadata(path).and_then(|metadata| metadata.modified());
    Ok(metadata.with_context(|| format!("failed to read {}; expected what {MADE_BY} printed", path.display()))?.into())
}

#[cfg(not(feature = "clusters"))]
async fn of_clusters(args: &Args, config: &Config) -> Result<Vec<Result<Snapshot>>> {
    named(&args.clusters, config)?;
    Err(super::cluster::without_clusters("--from-file"))
}

/// Looks into clusters side by side. One that fails costs only itself.
#[cfg(feature = "clusters")]
async fn of_clusters(args: &Args, config: &Config) -> Result<Vec<Result<Snapshot>>> {
    use std::sync::Arc;

    use futures::StreamExt;

    use crate::cluster::Google;
    use crate::job::snapshot::take;

    let planned_at = Utc::now();
    let mut clusters = named(&args.clusters, config)?;
    clusters.sort_by_key(|cluster| &cluster.handle);
    clusters.dedup_by_key(|cluster| &cluster.handle);
    let store = require_store(args.store.clone(), config, Access::OrNew).await?;
    let limits = limits(&*store).await?;
    let google = Arc::new(Google::new(&config.gke)?);
    let taken = clusters.into_iter().map(|cluster| {
        let (store, google) = (&*store, &google);
        let judging = Judging { limits: &limits, scope: &config.policy.scope };
        async move {
            let taken = take(google, cluster, &config.snapshot, planned_at).await;
            let recorded = record(store, judging, taken).await;
            recorded.with_context(|| format!("the snapshot of {} cannot be stored", cluster.handle))
        }
    });
    Ok(futures::stream::iter(taken).buffered(config.snapshot.clusters_at_once).collect().await)
}

fn table(snapshots: &[Snapshot]) -> Table {
    let mut table = Table::new([
        Column::new("cluster"),
        Column::new("state"),
        Column::new("Deployments").named(),
        Column::new("HPAs").named(),
        Column::new("pods").named(),
        Column::new("why").prose(),
    ]);
    let number = |number: Option<i64>| number.map_or_else(|| "?".to_owned(), |number| number.to_string());
    let clusters = report::cluster_names(snapshots, Snapshot::cluster);
    for row in snapshots {
        let odd = row.impossible.filter(|&odd| odd > 0).map(|odd| format!("{odd} with a number that cannot be"));
        table.add_row([
            clusters(row.cluster()),
            row.state.to_string(),
            number(row.deployments),
            number(row.hpas),
            row.pods.map_or_else(|| "not counted".to_owned(), |pods| pods.to_string()),
            row.error.clone().or(odd).unwrap_or_default(),
        ]);
    }
    table
}
