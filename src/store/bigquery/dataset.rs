//! The dataset itself: what is missing in it, what differs from this binary, and making the former.
//!
//! Nothing here ever drops or rewrites a column or a table. Views hold no facts, and are replaced.

use std::fmt;
use std::time::Duration;

use gcp_bigquery_client::model::clustering::Clustering;
use gcp_bigquery_client::model::dataset::Dataset;
use gcp_bigquery_client::model::table::Table;
use gcp_bigquery_client::model::table_field_schema::TableFieldSchema;
use gcp_bigquery_client::model::table_schema::TableSchema;
use gcp_bigquery_client::model::time_partitioning::TimePartitioning;
use gcp_bigquery_client::model::view_definition::ViewDefinition;

use super::super::{StoreError, schema};
use super::BigQuery;
use super::client::{Failure, Kind};

const DAY: Duration = Duration::from_secs(86_400);

/// A difference between the dataset and what this binary needs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Change {
    /// There is no dataset of that name.
    CreateDataset,
    /// A table is missing.
    CreateTable(&'static str),
    /// A table lacks columns that may be null.
    AddColumns(&'static str, Vec<String>),
    /// A view is missing, or says something else.
    ReplaceView(&'static str),
    /// Something that would take or change facts: what it is, and what a person could do.
    Refused(String),
}

impl fmt::Display for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Change::CreateDataset => write!(f, "create the dataset"),
            Change::CreateTable(table) => write!(f, "create the table {table}"),
            Change::AddColumns(table, columns) => write!(f, "add to the table {table}: {}", columns.join(", ")),
            Change::ReplaceView(view) => write!(f, "replace the view {view}"),
            Change::Refused(what) => f.write_str(what),
        }
    }
}

impl BigQuery {
    /// Compares the dataset with this binary's tables and views.
    ///
    /// # Errors
    /// [`StoreError`] when it cannot be read.
    pub async fn schema_changes(&self) -> Result<Vec<Change>, StoreError> {
        if self.dataset().await?.is_none() {
            let tables = schema::TABLES.iter().map(|(table, _)| Change::CreateTable(table));
            let views = schema::VIEWS.iter().map(|(view, _)| Change::ReplaceView(view));
            return Ok([Change::CreateDataset].into_iter().chain(tables).chain(views).collect());
        }
        let mut changes = Vec::new();
        for (table, _) in schema::TABLES {
            match self.table(table).await? {
                None => changes.push(Change::CreateTable(table)),
                Some(found) => changes.extend(self.table_changes(table, &found)?),
            }
        }
        for (view, sql) in schema::VIEWS {
            let wanted = schema::view_in_bigquery(sql, &self.quoted());
            let found = self.table(view).await?.and_then(|table| table.view).map(|view| view.query);
            if !found.is_some_and(|found| schema::is_same_view(&found, &wanted)) {
                changes.push(Change::ReplaceView(view));
            }
        }
        Ok(changes)
    }

    /// Makes one change; [`Change::Refused`] is left alone.
    ///
    /// # Errors
    /// [`StoreError`] when BigQuery does not take it.
    pub async fn apply(&self, change: &Change) -> Result<(), StoreError> {
        let done = match change {
            Change::CreateDataset => self.create_dataset().await,
            Change::CreateTable(table) => self.create(self.wanted(table)?).await,
            Change::AddColumns(table, _) => self.add_columns(table).await,
            Change::ReplaceView(view) => self.replace_view(view).await,
            Change::Refused(_) => Ok(()),
        };
        Ok(done?)
    }

    /// How the dataset stands in SQL.
    pub fn quoted(&self) -> String {
        let name = &self.shared.name;
        format!("`{}`.{}", name.project, name.dataset)
    }

    fn table_changes(&self, table: &'static str, found: &Table) -> Result<Vec<Change>, StoreError> {
        let mut changes = Vec::new();
        let mut missing = Vec::new();
        let there = found.schema.fields.as_deref().unwrap_or_default();
        let wanted = schema::table(table)?;
        for field in &wanted {
            let column = format!("{table}.{}", field.name);
            match there.iter().find(|other| other.name == field.name) {
                None if field.mode == "NULLABLE" => missing.push(field.name.clone()),
                None => changes.push(Change::Refused(format!(
                    "{column} is missing and may not be null: a table that has rows cannot get it; make a new dataset"
                ))),
                Some(other) if type_of(other) != field.field_type => changes.push(Change::Refused(format!(
                    "{column} is {}, not {}: changing it would rewrite the table",
                    type_of(other),
                    field.field_type
                ))),
                Some(other) if other.mode.as_deref().unwrap_or("NULLABLE") != field.mode => {
                    changes.push(Change::Refused(format!("{column} is not {}: only a new table can be", field.mode)));
                }
                Some(_) => {}
            }
        }
        for other in there.iter().filter(|other| wanted.iter().all(|field| field.name != other.name)) {
            changes.push(Change::Refused(format!(
                "{table}.{} is not known here: it would have to be dropped",
                other.name
            )));
        }
        let partition = found.time_partitioning.as_ref().and_then(|partitioning| partitioning.field.as_deref());
        let clusters = found.clustering.as_ref().and_then(|clustering| clustering.fields.clone()).unwrap_or_default();
        if partition != schema::time_column(&wanted) || clusters != schema::cluster_columns(&wanted) {
            changes.push(Change::Refused(format!(
                "{table} is not partitioned by the day of {} and clustered by {}: only a new table can be",
                schema::time_column(&wanted).unwrap_or_default(),
                schema::cluster_columns(&wanted).join(", ")
            )));
        }
        if !missing.is_empty() {
            changes.push(Change::AddColumns(table, missing));
        }
        Ok(changes)
    }

    async fn dataset(&self) -> Result<Option<Dataset>, Failure> {
        let name = &self.shared.name;
        let get = |api: gcp_bigquery_client::Client| async move {
            Ok(api.dataset().get(&name.project, &name.dataset).await?)
        };
        found(self.shared.client.retry(get).await)
    }

    async fn table(&self, table: &str) -> Result<Option<Table>, Failure> {
        let name = &self.shared.name;
        let get = |api: gcp_bigquery_client::Client| async move {
            Ok(api.table().get(&name.project, &name.dataset, table, None).await?)
        };
        found(self.shared.client.retry(get).await)
    }

    async fn create_dataset(&self) -> Result<(), Failure> {
        let name = &self.shared.name;
        let mut dataset = Dataset::new(&name.project, &name.dataset);
        dataset.location.clone_from(&self.shared.config.location);
        let create = |api: gcp_bigquery_client::Client| {
            let dataset = dataset.clone();
            async move { Ok(api.dataset().create(dataset).await?) }
        };
        created(self.shared.client.retry(create).await)
    }

    async fn create(&self, table: Table) -> Result<(), Failure> {
        let create = |api: gcp_bigquery_client::Client| {
            let table = table.clone();
            async move { Ok(api.table().create(table).await?) }
        };
        created(self.shared.client.retry(create).await)
    }

    fn wanted(&self, table: &str) -> Result<Table, StoreError> {
        let (name, fields) = (&self.shared.name, schema::table(table)?);
        let columns = fields.iter().map(column).collect::<Result<_, _>>()?;
        let mut wanted = Table::new(&name.project, &name.dataset, table, TableSchema::new(columns));
        let mut partitioning = TimePartitioning::per_day();
        partitioning.field = schema::time_column(&fields).map(str::to_owned);
        if let Some(days) = self.shared.config.partition_expiration_days.filter(|_| schema::may_expire(table)) {
            partitioning = partitioning.expiration_ms(DAY * days);
        }
        wanted.time_partitioning = Some(partitioning);
        let clusters = schema::cluster_columns(&fields).into_iter().map(str::to_owned).collect();
        wanted.clustering = Some(Clustering { fields: Some(clusters) });
        Ok(wanted)
    }

    /// Sends the columns that are there and, behind them, those that are missing.
    async fn add_columns(&self, table: &'static str) -> Result<(), Failure> {
        let name = &self.shared.name;
        let there = self.table(table).await?.and_then(|found| found.schema.fields).unwrap_or_default();
        let mut columns = there;
        for field in schema::table(table)? {
            if columns.iter().all(|column| column.name != field.name) {
                columns.push(column(&field)?);
            }
        }
        let widened = Table::new(&name.project, &name.dataset, table, TableSchema::new(columns));
        let patch = |api: gcp_bigquery_client::Client| {
            let widened = widened.clone();
            async move { Ok(api.table().patch(&name.project, &name.dataset, table, widened).await?) }
        };
        self.shared.client.retry(patch).await.map(drop)
    }

    async fn replace_view(&self, view: &'static str) -> Result<(), Failure> {
        let name = &self.shared.name;
        let sql = schema::VIEWS.iter().find(|(name, _)| *name == view).map(|(_, sql)| *sql).unwrap_or_default();
        let mut wanted = Table::new(&name.project, &name.dataset, view, TableSchema::default());
        wanted.view = Some(ViewDefinition {
            query: schema::view_in_bigquery(sql, &self.quoted()),
            use_legacy_sql: Some(false),
            ..ViewDefinition::default()
        });
        if self.table(view).await?.is_none() {
            return self.create(wanted).await;
        }
        let update = |api: gcp_bigquery_client::Client| {
            let wanted = wanted.clone();
            async move { Ok(api.table().update(&name.project, &name.dataset, view, wanted).await?) }
        };
        self.shared.client.retry(update).await.map(drop)
    }
}

fn column(field: &schema::Field) -> Result<TableFieldSchema, Failure> {
    let unknown = |error: serde_json::Error| Failure {
        kind: Kind::Permanent,
        message: format!("{} has a type that is not known: {error}", field.name),
    };
    let field_type = serde_json::from_value(field.field_type.as_str().into()).map_err(unknown)?;
    let mut column = TableFieldSchema::new(&field.name, field_type);
    column.mode = Some(field.mode.clone());
    column.description = Some(field.description.clone());
    Ok(column)
}

/// A column's type as the schema files write it.
fn type_of(column: &TableFieldSchema) -> String {
    let written = serde_json::to_value(&column.r#type).ok().and_then(|value| value.as_str().map(str::to_owned));
    match written.as_deref() {
        Some("INT64") => "INTEGER".to_owned(),
        Some(other) => other.to_owned(),
        None => "unreadable".to_owned(),
    }
}

/// That something is not there is an answer.
fn found<T>(answer: Result<T, Failure>) -> Result<Option<T>, Failure> {
    match answer {
        Ok(found) => Ok(Some(found)),
        Err(failure) if failure.kind == Kind::NotFound => Ok(None),
        Err(failure) => Err(failure),
    }
}

/// That something was there when it was to be made is fine: another made it, or we did and the answer was lost.
fn created<T>(answer: Result<T, Failure>) -> Result<(), Failure> {
    match answer {
        Err(failure) if failure.kind != Kind::AlreadyExists => Err(failure),
        _ => Ok(()),
    }
}
