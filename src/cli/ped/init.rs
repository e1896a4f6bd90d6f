//! `pedwatch ped init`: PED files for what runs already.

use std::collections::BTreeMap;
use std::fs;
use std::io::{ErrorKind, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, Result};
use chrono::Utc;

use super::super::report;
use crate::cluster::{Listing, Namespaces, file};
use crate::config::Config;
use crate::ped::Cluster;
use crate::ped::proposal::Proposal;
use crate::source::files;

#[derive(Debug, clap::Args)]
pub(in crate::cli) struct Args {
    /// The folder to write them into; a file that is there stays as it is
    #[arg(long, value_name = "FOLDER")]
    into: PathBuf,
    #[command(flatten)]
    running: Running,
    /// The label of a Deployment that names its owner, such as team: files are grouped by it
    #[arg(long, value_name = "LABEL")]
    owner_label: Option<String>,
}

/// Where it is seen what runs.
#[derive(Debug, clap::Args)]
#[group(required = true, multiple = false)]
struct Running {
    /// Ask these clusters: the NAME of [clusters.NAME]. Of one Deployment in several, the highest number counts
    #[arg(long, value_name = "NAME")]
    from_cluster: Vec<String>,
    /// Read what `kubectl get deployments,hpa -A -o json` printed; - for standard input
    #[arg(long, value_name = "FILE")]
    from_file: Option<PathBuf>,
}

pub(in crate::cli) async fn run(args: Args, config: &Config) -> Result<ExitCode> {
    let listings = match &args.running.from_file {
        Some(path) => vec![(None, of_file(path)?)],
        None => of_clusters(&args.running.from_cluster, config).await?,
    };
    let proposals = proposals(&listings, args.owner_label.as_deref(), config)?;
    let (mut written, mut kept, mut beyond) = (0, 0, 0);
    for proposal in proposals.values() {
        match write(&args.into.join(proposal.file()), &proposal.to_string())? {
            true => written += 1,
            false => kept += 1,
        }
        beyond += usize::from(proposal.beyond.is_some());
    }
    let folder = args.into.display();
    report::text(&format!(
        "{written} PED files written into {folder}, {kept} were there already and stay as they are\n"
    ))?;
    if beyond > 0 {
        let most = config.policy.platform.end();
        report::note(&format!(
            "{beyond} of them ask for more than the {most} that the platform allows, as a comment in them says: ped validate refuses \
             these"
        ));
    }
    Ok(ExitCode::SUCCESS)
}

type Proposals = BTreeMap<(String, String), Proposal>;

/// One for each Deployment that concerns anybody: with its highest numbers, where several clusters have it.
fn proposals(listings: &[(Option<[String; 3]>, Listing)], label: Option<&str>, config: &Config) -> Result<Proposals> {
    let mut proposals = Proposals::new();
    for (cluster, listing) in listings {
        let [project, location, name] = cluster.clone().unwrap_or_default();
        let cluster = Cluster { project: &project, location: &location, name: &name };
        for one in &listing.deployments {
            let key = (one.namespace.clone(), one.name.clone());
            if !config.policy.scope.holds_object(cluster, &key.0, Some(&key.1)) {
                continue;
            }
            let known = proposals.get(&key);
            let replicas = one.desired.unwrap_or(0).max(known.map_or(0, |known| known.replicas));
            let hpa_max = one.hpa_max().max(known.and_then(|known| known.hpa_max));
            let owner = label.and_then(|label| one.labels.get(label)).map(String::as_str);
            let owner = owner.or(known.and_then(|known| known.owner.as_deref()));
            let numbers = (replicas, hpa_max);
            let proposal = Proposal::new((&key.0, &key.1), owner, numbers, &config.policy.platform);
            let proposal = proposal.map_err(anyhow::Error::msg)?;
            proposals.insert(key, proposal);
        }
    }
    Ok(proposals)
}

/// False where there is such a file: what somebody wrote is never overwritten.
fn write(path: &Path, text: &str) -> Result<bool> {
    let failed = || format!("failed to write {}", path.display());
    if let Some(folder) = path.parent() {
        fs::create_dir_all(folder).with_context(failed)?;
    }
    match fs::File::create_new(path) {
        Ok(mut file) => file.write_all(text.as_bytes()).with_context(failed).map(|()| true),
        Err(error) if error.kind() == ErrorKind::AlreadyExists => Ok(false),
        Err(error) => Err(error).with_context(failed),
    }
}

fn of_file(path: &Path) -> Result<Listing> {
    let read = files::text(path).with_context(|| format!("failed to read {}", path.display()))?;
    let listing =
        file::read(read).and_then(|contents| contents.gathered.listing(Utc::now(), None, &Namespaces::default()));
    listing.map_err(|why| anyhow::anyhow!("{} is refused: {why}", path.display()))
}

#[cfg(not(feature = "clusters"))]
async fn of_clusters(_: &[String], _: &Config) -> Result<Vec<(Option<[String; 3]>, Listing)>> {
    Err(super::super::cluster::without_clusters("--from-file"))
}

#[cfg(feature = "clusters")]
async fn of_clusters(names: &[String], config: &Config) -> Result<Vec<(Option<[String; 3]>, Listing)>> {
    use crate::cluster::{Google, connect, list};

    let google = std::sync::Arc::new(Google::new(&config.gke)?);
    let mut listings = Vec::new();
    for cluster in super::super::snapshot::named(names, config)? {
        let client = connect(&google, cluster, config.snapshot.deadline).await;
        let listed = match client {
            Ok(client) => list(&client, &config.snapshot, &cluster.namespaces).await,
            Err(fault) => Err(fault),
        };
        let listing = listed.map_err(|fault| anyhow::anyhow!("{}: {fault}", cluster.handle))?;
        let (project, location, name) = (cluster.project.clone(), cluster.location.clone(), cluster.name.clone());
        listings.push((Some([project, location, name]), listing));
    }
    Ok(listings)
}
