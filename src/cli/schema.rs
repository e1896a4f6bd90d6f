//! `pedwatch schema print|apply|check`.

use std::process::ExitCode;

use anyhow::Result;

use super::{Usage, report};
use crate::config::{Config, STORE_URL, StoreUrl};
use crate::store::bigquery::DatasetName;
use crate::store::schema;

#[derive(Debug, clap::Subcommand)]
pub(super) enum Command {
    /// Print the definitions of all tables and views
    Print {
        /// How to print them
        #[arg(long, value_enum, default_value = "sql")]
        format: Format,
        /// The dataset to name in SQL
        #[arg(long, default_value = "pedwatch", value_parser = dataset_name)]
        dataset: String,
    },
    /// Make what is missing: the dataset, tables, columns, views; and let columns be null that have to. Nothing is dropped
    Apply(Target),
    /// Tell how the dataset differs from this version of pedwatch; exit with 1 when it does
    Check(Target),
}

#[derive(Debug, Clone, Copy, clap::ValueEnum)]
pub(super) enum Format {
    /// BigQuery's DDL
    Sql,
    /// The columns of each table, as `bq` and Terraform read them
    Json,
}

#[derive(Debug, clap::Args)]
pub(super) struct Target {
    /// Where facts are kept
    #[arg(long, value_name = STORE_URL)]
    store: Option<StoreUrl>,
}

/// A dataset, with or without its project, as it stands in SQL: what `--store` takes, and nothing else.
fn dataset_name(text: &str) -> Result<String, String> {
    let wrong = |_| format!("{text:?} is not a dataset; expected DATASET or PROJECT.DATASET");
    if text.contains('.') {
        return text.parse().map(|name: DatasetName| name.quoted()).map_err(wrong);
    }
    format!("project.{text}").parse().map(|name: DatasetName| name.dataset).map_err(wrong)
}

pub(super) async fn run(command: Command, config: &Config) -> Result<ExitCode> {
    match command {
        Command::Print { format: Format::Json, .. } => {
            let tables = schema::SCHEMAS.map(|(name, text)| format!("{name:?}: {}", text.trim_end()));
            report::text(&format!("{{{}}}\n", tables.join(",\n")))?;
        }
        Command::Print { format: Format::Sql, dataset } => report::text(&ddl(&dataset, config))?,
        Command::Apply(target) => return apply(dataset(target, config)?, config).await,
        Command::Check(target) => return check(dataset(target, config)?, config).await,
    }
    Ok(ExitCode::SUCCESS)
}

/// The dataset that is meant.
fn dataset(target: Target, config: &Config) -> Result<DatasetName> {
    match target.store.or_else(|| config.store.clone()) {
        Some(StoreUrl::BigQuery(name)) => Ok(name),
        Some(StoreUrl::Sqlite(_)) => {
            Err(Usage("a SQLite store is made and brought up to date whenever it is opened".to_owned()).into())
        }
        None => Err(Usage("no store; expected --store bigquery:PROJECT.DATASET".to_owned()).into()),
    }
}

#[cfg(not(feature = "cloud"))]
mod absent;
#[cfg(feature = "cloud")]
mod live;

#[cfg(not(feature = "cloud"))]
use absent::{apply, check};
#[cfg(feature = "cloud")]
use live::{apply, check};

fn ddl(dataset: &str, config: &Config) -> String {
    let mut statements = vec![format!("CREATE SCHEMA IF NOT EXISTS {dataset};\n")];
    let days = config.bigquery.partition_expiration_days;
    statements.extend(schema::TABLES.iter().map(|table| schema::create_table(table, dataset, days)));
    let with_dot = format!("{dataset}.");
    let dialect = schema::Dialect { dataset: &with_dot, ..schema::BIGQUERY };
    for (view, _) in schema::VIEWS {
        let sql = dialect.fill(&schema::view(view));
        statements.push(format!("CREATE OR REPLACE VIEW {dataset}.{view} AS\n{};\n", sql.trim_end()));
    }
    statements.join("\n")
}
