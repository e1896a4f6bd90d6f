//! The tables and views of a file: made, and brought up to what this release has.

use std::collections::BTreeMap;

use rusqlite::{Connection, Transaction, TransactionBehavior};

use super::super::{StoreError, schema};
use super::file::give_number;
use super::{ledger, store_error};

/// Tells our files from others: "PEDW". Those of the first release have none.
const APPLICATION_ID: i64 = 0x5045_4457;

/// Creates what is missing, and lets be null what an older release required. Rows are never dropped, nor changed.
pub(super) fn migrate(connection: &Connection) -> Result<(), StoreError> {
    let furnish = || {
        let transaction = Transaction::new_unchecked(connection, TransactionBehavior::Immediate)?;
        for table in schema::TABLES.iter() {
            migrate_table(&transaction, table)?;
            transaction.execute_batch(&create_index(table))?;
        }
        transaction.execute_batch(ledger::TABLES)?;
        replace_views(&transaction)?;
        give_number(&transaction)?;
        transaction.pragma_update(None, "application_id", APPLICATION_ID)?;
        transaction.commit()
    };
    furnish().map_err(|error| store_error(&error))
}

/// Refuses what another program made.
pub(super) fn refuse_foreign(connection: &Connection) -> Result<(), StoreError> {
    match foreign_tables(connection).map_err(|error| store_error(&error))? {
        None => Ok(()),
        Some(tables) => Err(StoreError::Permanent(format!(
            "it is another program's database, with {tables}; expected a new file, or one that pedwatch made"
        ))),
    }
}

/// The tables of a database that is not ours.
fn foreign_tables(connection: &Connection) -> rusqlite::Result<Option<String>> {
    let application: i64 = connection.query_row("PRAGMA application_id", [], |row| row.get(0))?;
    let mut tables = connection.prepare("SELECT name FROM sqlite_schema ORDER BY name LIMIT 5")?;
    let tables: Vec<String> = tables.query_map([], |row| row.get(0))?.collect::<rusqlite::Result<_>>()?;
    let is_ours = || connection.prepare("SELECT event_id, cluster_name FROM replica_events").is_ok();
    let is_fine = application == APPLICATION_ID || application == 0 && (tables.is_empty() || is_ours());
    Ok((!is_fine).then(|| tables.join(", ")))
}

/// Makes the views that are not there as this release has them, and none of the others: each connection holds them in memory.
/// What somebody else made stays.
fn replace_views(connection: &Connection) -> rusqlite::Result<()> {
    let made = views(connection)?;
    let view = |name: &str| format!("CREATE VIEW {name} AS {}", schema::SQLITE.fill(&schema::view(name)));
    let wanted: BTreeMap<&str, String> = schema::FOR_PEOPLE.into_iter().map(|name| (name, view(name))).collect();
    let is_as_wanted = |(name, _): &(&str, _)| match (made.get(*name), wanted.get(name)) {
        (Some(made), Some(wanted)) => made == text_of(wanted),
        (made, wanted) => made.is_none() && wanted.is_none(),
    };
    if !schema::VIEWS.iter().all(is_as_wanted) {
        for (name, _) in schema::VIEWS {
            connection.execute_batch(&format!("DROP VIEW IF EXISTS {name}"))?;
        }
        for sql in wanted.values() {
            connection.execute_batch(text_of(sql))?;
        }
    }
    Ok(())
}

/// The views that are there, with their SQL.
fn views(connection: &Connection) -> rusqlite::Result<BTreeMap<String, String>> {
    let mut made = connection.prepare("SELECT name, sql FROM sqlite_schema WHERE type = 'view'")?;
    made.query_map([], |row| Ok((row.get(0)?, row.get(1)?)))?.collect()
}

/// A statement as SQLite keeps it.
fn text_of(sql: &str) -> &str {
    sql.trim_end().trim_end_matches(';').trim_end()
}

fn migrate_table(connection: &Connection, table: &schema::Table) -> rusqlite::Result<()> {
    let name = table.name;
    let mut known = connection.prepare(&format!("SELECT name, \"notnull\", pk FROM pragma_table_info('{name}')"))?;
    let known: BTreeMap<String, Known> = known
        .query_map([], |row| Ok((row.get(0)?, Known { is_required: row.get(1)?, is_key: row.get(2)? })))?
        .collect::<rusqlite::Result<_>>()?;
    if known.is_empty() {
        return connection.execute_batch(&create_table(table, name));
    }
    let is_otherwise = |field: &schema::Field| {
        let is_key = table.properties.key.contains(&field.name);
        known
            .get(&field.name)
            .map_or(is_key, |known| known.is_key != is_key || known.is_required && field.mode == "NULLABLE")
    };
    if table.fields.iter().any(is_otherwise) {
        return rebuild(connection, table, &known);
    }
    for field in table.fields.iter().filter(|field| !known.contains_key(&field.name)) {
        tracing::info!(table = name, column = field.name, "adding a column to the store");
        connection.execute_batch(&format!("ALTER TABLE {name} ADD COLUMN {}", column_definition(field)))?;
    }
    Ok(())
}

/// A column that is there.
struct Known {
    is_required: bool,
    is_key: bool,
}

/// SQLite can neither relax a column nor change the key, so the rows move to a new table.
fn rebuild(connection: &Connection, table: &schema::Table, known: &BTreeMap<String, Known>) -> rusqlite::Result<()> {
    let name = table.name;
    tracing::info!(
        table = name,
        "rebuilding a table of the store: columns of it may be null now, or its key is another"
    );
    // A table that a view names cannot be renamed.
    let views = views(connection)?;
    let dropped: String = views.keys().map(|view| format!("DROP VIEW {};", quoted(view))).collect();
    let made_again: String = views.values().map(|sql| format!("{sql};")).collect();
    let kept: Vec<String> =
        table.fields.iter().filter(|field| known.contains_key(&field.name)).map(|field| quoted(&field.name)).collect();
    let kept = kept.join(", ");
    connection.execute_batch(&format!(
        "{dropped} {create}; INSERT INTO {name}_rebuilt ({kept}) SELECT {kept} FROM {name}; DROP TABLE {name}; \
         ALTER TABLE {name}_rebuilt RENAME TO {name}; {made_again}",
        create = create_table(table, &format!("{name}_rebuilt")),
    ))
}

fn create_table(table: &schema::Table, name: &str) -> String {
    let columns: Vec<String> = table.fields.iter().map(column_definition).collect();
    let key: Vec<String> = table.properties.key.iter().map(|column| quoted(column)).collect();
    format!("CREATE TABLE {name} ({}, PRIMARY KEY ({}))", columns.join(", "), key.join(", "))
}

/// What BigQuery's partitions are for: a question about some time reads that, and not the history.
fn create_index(schema::Table { name, properties, .. }: &schema::Table) -> String {
    let column = &properties.partition;
    format!("CREATE INDEX IF NOT EXISTS {name}_by_{column} ON {name} (`{column}`)")
}

fn column_definition(field: &schema::Field) -> String {
    let affinity = if matches!(field.field_type.as_str(), "INTEGER" | "BOOLEAN") { "INTEGER" } else { "TEXT" };
    let presence = if field.mode == "REQUIRED" { " NOT NULL" } else { "" };
    format!("{} {affinity}{presence}", quoted(&field.name))
}

/// As GoogleSQL quotes too; some names are words of SQL.
pub(super) fn quoted(column: &str) -> String {
    format!("`{}`", column.replace('`', "``"))
}
