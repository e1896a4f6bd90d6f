//! The dataset itself: what is missing in it, what differs from this binary, and making the former.
//!
//! Nothing here ever drops or rewrites a column or a table. Views hold no facts, and are replaced.

use std::fmt;
use std::time::Duration;

use futures::future::try_join_all;
use gcp_bigquery_client::model::clustering::Clustering;
use gcp_bigquery_client::model::dataset::Dataset;
use gcp_bigquery_client::model::table::Table;
use gcp_bigquery_client::model::table_field_schema::TableFieldSchema;
use gcp_bigquery_client::model::table_schema::TableSchema;
use gcp_bigquery_client::model::time_partitioning::TimePartitioning;
use gcp_bigquery_client::model::view_definition::ViewDefinition;

use super::super::{StoreError, schema};
use super::client::{Failure, Kind};
use super::store::BigQuery;

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
    /// Columns of a table may be null now.
    RelaxColumns(&'static str, Vec<String>),
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
            Change::RelaxColumns(table, columns) => {
                write!(f, "let columns of the table {table} be null: {}", columns.join(", "))
            }
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
        let mut changes = self.table_changes().await?;
        if changes.contains(&Change::CreateDataset) {
            changes.extend(schema::VIEWS.iter().map(|(view, _)| Change::ReplaceView(view)));
            return Ok(changes);
        }
        for (view, _) in schema::VIEWS {
            let wanted = self.view(view);
            let found = self.table(view).await?.and_then(|table| table.view).map(|view| view.query);
            if !found.is_some_and(|found| schema::is_same_view(&found, &wanted)) {
                changes.push(Change::ReplaceView(view));
            }
        }
        Ok(changes)
    }

    /// As [`BigQuery::schema_changes`], of the dataset and its tables only.
    pub(super) async fn table_changes(&self) -> Result<Vec<Change>, StoreError> {
        if self.dataset().await?.is_none() {
            let tables = schema::TABLES.iter().map(|table| Change::CreateTable(table.name));
            return Ok([Change::CreateDataset].into_iter().chain(tables).collect());
        }
        let compare = async |table: &'static schema::Table| {
            let found = self.table(table.name).await?;
            Ok::<_, Failure>(
                found.map_or_else(|| vec![Change::CreateTable(table.name)], |found| table_changes(table, &found)),
            )
        };
        let changes = try_join_all(schema::TABLES.iter().map(compare)).await?;
        Ok(changes.into_iter().flatten().collect())
    }

    /// Makes one change; [`Change::Refused`] is left alone.
    ///
    /// # Errors
    /// [`StoreError`] when BigQuery does not take it.
    pub async fn apply(&self, change: &Change) -> Result<(), StoreError> {
        let done = match change {
            Change::CreateDataset => self.create_dataset().await,
            Change::CreateTable(table) => self.create(self.wanted(schema::table(table)?)?).await,
            Change::AddColumns(table, _) | Change::RelaxColumns(table, _) => self.widen(schema::table(table)?).await,
            Change::ReplaceView(view) => self.replace_view(view).await,
            Change::Refused(_) => Ok(()),
        };
        Ok(done?)
    }

    /// How the dataset stands in SQL.
    pub fn quoted(&self) -> String {
        self.shared.name.quoted()
    }

    /// What a view says in this dataset.
    fn view(&self, name: &str) -> String {
        let dataset = format!("{}.", self.quoted());
        schema::Dialect { dataset: &dataset, ..schema::BIGQUERY }.fill(&schema::view(name))
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

    fn wanted(&self, table: &schema::Table) -> Result<Table, Failure> {
        let name = &self.shared.name;
        let columns = table.fields.iter().map(column).collect::<Result<_, _>>()?;
        let mut wanted = Table::new(&name.project, &name.dataset, table.name, TableSchema::new(columns));
        let mut partitioning = TimePartitioning::per_day();
        partitioning.field = Some(table.properties.partition.clone());
        if let Some(days) = self.shared.config.partition_expiration_days.filter(|_| table.properties.expires) {
            partitioning = partitioning.expiration_ms(DAY * days);
        }
        wanted.time_partitioning = Some(partitioning);
        wanted.clustering = Some(Clustering { fields: Some(table.properties.clustering.clone()) });
        Ok(wanted)
    }

    /// Sends the columns that are there, null where this binary says that they may be, and behind them those that are
    /// missing.
    async fn widen(&self, table: &'static schema::Table) -> Result<(), Failure> {
        let name = &self.shared.name;
        let mut columns = self.table(table.name).await?.and_then(|found| found.schema.fields).unwrap_or_default();
        for field in &table.fields {
            match columns.iter_mut().find(|column| column.name == field.name) {
                Some(column) if field.mode == "NULLABLE" => column.mode = Some("NULLABLE".to_owned()),
                Some(_) => {}
                None => columns.push(column(field)?),
            }
        }
        let widened = Table::new(&name.project, &name.dataset, table.name, TableSchema::new(columns));
        let patch = |api: gcp_bigquery_client::Client| {
            let widened = widened.clone();
            async move { Ok(api.table().patch(&name.project, &name.dataset, table.name, widened).await?) }
        };
        self.shared.client.retry(patch).await.map(drop)
    }

    async fn replace_view(&self, view: &'static str) -> Result<(), Failure> {
        let name = &self.shared.name;
        let mut wanted = Table::new(&name.project, &name.dataset, view, TableSchema::default());
        wanted.view =
            Some(ViewDefinition { query: self.view(view), use_legacy_sql: Some(false), ..ViewDefinition::default() });
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

/// How a table that is there differs from what this binary needs.
fn table_changes(table: &'static schema::Table, found: &Table) -> Vec<Change> {
    let schema::Table { name, fields, properties } = table;
    let there = found.schema.fields.as_deref().unwrap_or_default();
    let (mut missing, mut relaxed, mut refused) = (Vec::new(), Vec::new(), Vec::new());
    for field in fields {
        let column = format!("{name}.{}", field.name);
        match there.iter().find(|other| other.name == field.name) {
            None if field.mode == "NULLABLE" => missing.push(field.name.clone()),
            None => refused.push(format!(
                "{column} is missing and may not be null: a table that has rows cannot get it; make a new dataset"
            )),
            Some(other) if type_of(other) != field.field_type => refused.push(format!(
                "{column} is {}, not {}: changing it would rewrite the table",
                type_of(other),
                field.field_type
            )),
            Some(other) if other.mode.as_deref().unwrap_or("NULLABLE") == field.mode => {}
            Some(_) if field.mode == "NULLABLE" => relaxed.push(field.name.clone()),
            Some(_) => refused.push(format!("{column} is not {}: only a new table can be", field.mode)),
        }
    }
    for other in there.iter().filter(|other| fields.iter().all(|field| field.name != other.name)) {
        refused.push(format!("{name}.{} is not known here: it would have to be dropped", other.name));
    }
    let partition = found.time_partitioning.as_ref().and_then(|partitioning| partitioning.field.as_deref());
    let clusters = found.clustering.as_ref().and_then(|clustering| clustering.fields.clone()).unwrap_or_default();
    if partition != Some(properties.partition.as_str()) || clusters != properties.clustering {
        refused.push(format!(
            "{name} is not partitioned by the day of {} and clustered by {}: only a new table can be",
            properties.partition,
            properties.clustering.join(", ")
        ));
    }
    let mut changes: Vec<Change> = refused.into_iter().map(Change::Refused).collect();
    if !missing.is_empty() {
        changes.push(Change::AddColumns(name, missing));
    }
    if !relaxed.is_empty() {
        changes.push(Change::RelaxColumns(name, relaxed));
    }
    changes
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
        Some("BOOL") => "BOOLEAN".to_owned(),
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
