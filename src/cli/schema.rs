//! `pedwatch schema print|apply|check`.

use std::process::ExitCode;

use anyhow::Result;

use super::{Usage, report};
use crate::config::{Config, STORE_URL, StoreUrl};
use crate::store::bigquery::{BigQuery, Change, DatasetName};
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
        Command::Apply(target) => {
            let store = bigquery(target, config).await?;
            let changes = store.schema_changes().await?;
            for change in &changes {
                store.apply(change).await?;
                let done = if matches!(change, Change::Refused(_)) { "refused" } else { "done" };
                report::text(&format!("{done}: {change}\n"))?;
            }
            return told(changes.iter().filter(|change| matches!(change, Change::Refused(_))).count());
        }
        Command::Check(target) => {
            let changes = bigquery(target, config).await?.schema_changes().await?;
            for change in &changes {
                report::text(&format!("to do: {change}\n"))?;
            }
            return told(changes.len());
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn told(differences: usize) -> Result<ExitCode> {
    if differences == 0 {
        report::text("the dataset is what this version of pedwatch needs\n")?;
        return Ok(ExitCode::SUCCESS);
    }
    Ok(ExitCode::FAILURE)
}

async fn bigquery(target: Target, config: &Config) -> Result<BigQuery> {
    match target.store.or_else(|| config.store.clone()) {
        Some(StoreUrl::BigQuery(name)) => Ok(BigQuery::open(name, &config.bigquery).await?),
        Some(StoreUrl::Sqlite(_)) => {
            Err(Usage("a SQLite store is made and brought up to date whenever it is opened".to_owned()).into())
        }
        None => Err(Usage("no store; expected --store bigquery:PROJECT.DATASET".to_owned()).into()),
    }
}

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
