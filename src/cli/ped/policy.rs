//! `pedwatch ped policy`: the registered limits as an admission policy.

use std::process::ExitCode;

use anyhow::Result;
use chrono::Utc;

use super::super::asked::parse_cluster;
use super::super::{Access, Usage, report, require_store};
use crate::config::{Config, STORE_URL, StoreUrl};
use crate::ped::limits::Limits;
use crate::ped::policy::{Action, Engine, limits_of, manifests};
use crate::ped::{Cluster, Clusters};

#[derive(Debug, clap::Args)]
pub(in crate::cli) struct Args {
    /// Who is to hold it: Kubernetes' own ValidatingAdmissionPolicy, Kyverno, or Gatekeeper
    #[arg(long, value_name = "vap|kyverno|gatekeeper")]
    format: Engine,
    /// What becomes of what is past a limit
    #[arg(long, value_name = "deny|warn|audit", default_value = "deny")]
    action: Action,
    /// The cluster that it is for: PEDs that name another one are left out, and without this all that name one
    #[arg(long, value_name = "CLUSTER", value_parser = parse_cluster)]
    cluster: Option<Clusters>,
    /// Where the ConfigMap of the limits is to be
    #[arg(long, value_name = "NAMESPACE", default_value = "pedwatch", value_parser = parse_namespace)]
    namespace: String,
    /// Where facts are kept
    #[arg(long, value_name = STORE_URL)]
    store: Option<StoreUrl>,
}

/// It stands in the manifest, and in an expression.
fn parse_namespace(text: &str) -> Result<String, String> {
    let is_name = text.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-');
    if is_name && (1..=63).contains(&text.len()) {
        Ok(text.to_owned())
    } else {
        Err("expected the name of a namespace: lower-case letters, digits and '-'".to_owned())
    }
}

pub(super) async fn run(args: Args, config: &Config) -> Result<ExitCode> {
    let store = require_store(args.store, config, Access::Existing).await?;
    let versions = store.versions(None).await?;
    let cluster = match &args.cluster {
        Some(Clusters::One { project, location, name }) => Cluster { project, location, name },
        Some(Clusters::Named(name)) => Cluster { project: "", location: "", name },
        Some(Clusters::Any) | None => Cluster { project: "", location: "", name: "" },
    };
    let limits = limits_of(&Limits::new(&versions), cluster, Utc::now());
    if limits.is_empty() {
        return Err(Usage("no limit is in force there; see pedwatch ped list".to_owned()).into());
    }
    let text = manifests(args.format, args.action, &args.namespace, &limits).map_err(anyhow::Error::msg)?;
    report::text(&text)?;
    if args.cluster.is_none() && versions.iter().any(|version| version.subject.clusters != Clusters::Any) {
        report::note("PEDs that name a cluster are left out; expected --cluster, to have those of that one too");
    }
    Ok(ExitCode::SUCCESS)
}
