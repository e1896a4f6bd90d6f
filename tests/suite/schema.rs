//! Paired artefacts are equal: row types and schema files, purity and imports.

use pedwatch::store::row::{AlertLog, ColumnInfo, DeploymentConfig, PodMetrics, Quarantine, ReplicaEvent, Row};
use pedwatch::store::schema::{self, TABLES};

use crate::support::root;

#[test]
fn the_row_types_are_the_schema_files() {
    fn columns<R: Row>() -> (&'static str, &'static [ColumnInfo]) {
        (R::TABLE, R::COLUMNS)
    }
    let rows = [
        columns::<ReplicaEvent>(),
        columns::<AlertLog>(),
        columns::<DeploymentConfig>(),
        columns::<Quarantine>(),
        columns::<PodMetrics>(),
    ];
    assert_eq!(rows.map(|(table, _)| table), TABLES.map(|(table, _)| table));
    for (table, columns) in rows {
        let fields = schema::table(table).expect("a schema");
        assert_eq!(columns.len(), fields.len(), "{table}");
        for ((name, column_type, nullable), field) in columns.iter().zip(fields) {
            // JSON is carried as text.
            let schema_type = if field.field_type == "JSON" { "STRING" } else { field.field_type.as_str() };
            let mode = if *nullable { "NULLABLE" } else { "REQUIRED" };
            assert_eq!((*name, *column_type, mode), (field.name.as_str(), schema_type, field.mode.as_str()), "{table}");
            assert!(field.description.ends_with('.'), "{table}.{name} is not described");
        }
    }
}

/// BigQuery leaves days out when a condition on the time column can be asked before the rows are numbered, which it can
/// when the numbering is by that column too.
#[test]
fn a_question_about_some_days_of_alerts_reads_only_these() {
    let fields = schema::table("alert_log").expect("a schema");
    let time = schema::time_column(&fields).expect("a time");
    let (_, view) = schema::VIEWS.iter().find(|(name, _)| *name == "alerts").expect("a view");
    assert!(view.contains(&format!("PARTITION BY {time}, ")), "{view}");
    for (table, _) in TABLES {
        let fields = schema::table(table).expect("a schema");
        let ddl = schema::create_table(table, "d", Some(30)).expect("a table");
        assert!(ddl.contains(&format!("PARTITION BY DATE({})", schema::time_column(&fields).expect("a time"))));
        assert_eq!(ddl.contains("partition_expiration_days = 30"), table != "deployment_config", "{table}");
    }
}

/// Purity is a list of imports: the rooms that decide know no client, no runtime, no clock and no file.
#[test]
fn the_pure_rooms_import_nothing_impure() {
    const IMPURE: [&str; 13] = [
        "tokio",
        "rusqlite",
        "reqwest",
        "gcp_bigquery_client",
        "google_cloud",
        "axum",
        "tracing",
        "std::fs",
        "std::net",
        "std::env",
        "std::time",
        "Utc::now",
        "std::io",
    ];
    let mut files = vec![
        root().join("src/audit.rs"),
        root().join("src/ped.rs"),
        root().join("src/policy.rs"),
        root().join("src/store/row.rs"),
        root().join("src/store/schema.rs"),
    ];
    for folder in ["src/audit", "src/ped"] {
        let entries = std::fs::read_dir(root().join(folder)).expect("a folder");
        files.extend(
            entries
                .map(|entry| entry.expect("readable").path())
                .filter(|path| path.extension().is_some_and(|e| e == "rs")),
        );
    }
    assert!(files.len() > 9, "{files:?}");
    for file in files {
        let text = std::fs::read_to_string(&file).expect("readable");
        for name in IMPURE {
            assert!(!text.contains(name), "{} mentions {name}", file.display());
        }
    }
}
