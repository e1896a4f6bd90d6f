//! Makes and checks the tables of a dataset.

use std::process::ExitCode;

use anyhow::Result;

use super::super::report;
use crate::config::Config;
use crate::store::bigquery::{BigQuery, Change, DatasetName};

pub(super) async fn apply(name: DatasetName, config: &Config) -> Result<ExitCode> {
    let store = BigQuery::open(name, &config.bigquery).await?;
    let changes = store.schema_changes().await?;
    for change in &changes {
        store.apply(change).await?;
        let done = if matches!(change, Change::Refused(_)) { "refused" } else { "done" };
        report::text(&format!("{done}: {change}\n"))?;
    }
    told(changes.iter().filter(|change| matches!(change, Change::Refused(_))).count())
}

pub(super) async fn check(name: DatasetName, config: &Config) -> Result<ExitCode> {
    let changes = BigQuery::open(name, &config.bigquery).await?.schema_changes().await?;
    for change in &changes {
        report::text(&format!("to do: {change}\n"))?;
    }
    told(changes.len())
}

fn told(differences: usize) -> Result<ExitCode> {
    if differences == 0 {
        report::text("the dataset is what this version of pedwatch needs\n")?;
        return Ok(ExitCode::SUCCESS);
    }
    Ok(ExitCode::FAILURE)
}
