//! Paired artefacts are equal: row types and schema files, purity and imports.

use pedwatch::store::row::{
    AlertLog, Bill, CarriedWrite, ClosedChange, ColumnInfo, DeploymentConfig, ObjectDay, PodMetrics, Quarantine,
    ReplicaEvent, Row, Snapshot, Watermark,
};
use pedwatch::store::schema::{self, SCHEMAS, TABLES, VIEWS};

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
        columns::<Snapshot>(),
        columns::<Watermark>(),
        columns::<CarriedWrite>(),
        columns::<ClosedChange>(),
        columns::<ObjectDay>(),
        columns::<Bill>(),
    ];
    assert_eq!(rows.map(|(table, _)| table), SCHEMAS.map(|(table, _)| table));
    for (table, columns) in rows {
        // What is no longer written stays in the table, and may be null.
        let (dropped, fields): (Vec<_>, Vec<_>) = schema::table(table)
            .expect("a table")
            .fields
            .iter()
            .partition(|field| field.description.starts_with("No longer written"));
        assert!(dropped.iter().all(|field| field.mode == "NULLABLE"), "{table}");
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

#[test]
fn what_holds_of_a_table_names_its_own_columns() {
    for table in TABLES.iter() {
        let properties = &table.properties;
        let has = |name: &String| table.fields.iter().any(|field| field.name == *name);
        assert!(!properties.key.is_empty() && properties.key.iter().all(has), "{}", table.name);
        assert!(has(&properties.partition) && properties.clustering.iter().all(has), "{}", table.name);
        let ddl = schema::create_table(table, "d", Some(30));
        assert!(ddl.contains("PARTITION BY ") && ddl.contains(&format!("`{}`", properties.partition)));
        assert_eq!(ddl.contains("partition_expiration_days = 30"), properties.expires, "{}", table.name);
    }
}

/// Terraform and the binary make the views in one order.
#[test]
fn the_views_stand_in_the_order_that_their_file_says() {
    let order = std::fs::read_to_string(root().join("terraform/views/order.json")).expect("readable");
    let order: Vec<String> = serde_json::from_str(&order).expect("JSON");
    assert_eq!(VIEWS.map(|(name, _)| name).to_vec(), order);
    let files = std::fs::read_dir(root().join("terraform/views")).expect("a folder");
    let sql = files.filter(|file| file.as_ref().expect("readable").path().extension().is_some_and(|e| e == "sql"));
    assert_eq!(sql.count(), VIEWS.len());
}

/// BigQuery refuses correlated subqueries as of a time, which the tests' server does not: no query stands inside an
/// expression, and a join with a range has an equality too.
#[test]
fn no_view_asks_in_a_way_that_bigquery_refuses() {
    for (name, sql) in VIEWS {
        let code: String =
            sql.lines().filter(|line| !line.trim_start().starts_with("--")).collect::<Vec<_>>().join("\n");
        for construct in ["EXISTS", " IN (SELECT", "= (SELECT", "> (SELECT", "< (SELECT"] {
            assert!(!code.contains(construct), "{name} has {construct}");
        }
        for join in code.split(" JOIN ").skip(1).filter(|join| !join.starts_with("(SELECT")) {
            let on =
                join.split_once(" ON ").or_else(|| join.split_once("\n    ON ")).or_else(|| join.split_once("\n  ON "));
            let Some((_, condition)) = on else { continue };
            let condition = condition.split(" JOIN ").next().unwrap_or_default();
            assert!(condition.contains(" = "), "{name}: a join without an equality: {condition}");
        }
    }
}

/// The rooms, each of which imports only rooms before it. Those that decide know no client, no runtime, no clock and no
/// file: these are all the crates that they may use.
const ROOMS: [(&str, Option<&[&str]>); 25] = [
    ("names", Some(&["serde"])),
    ("id", Some(&["chrono", "sha2", "hex"])),
    ("time", Some(&["chrono"])),
    ("shown", Some(&[])),
    ("remote", Some(&["chrono", "percent_encoding"])),
    ("telemetry", None),
    ("credentials", None),
    ("bucket", None),
    ("audit", Some(&["base64", "chrono", "json_patch", "memchr", "saphyr_parser", "serde", "serde_json", "thiserror"])),
    ("ped", Some(&["chrono", "json_patch", "saphyr", "saphyr_parser", "serde", "serde_json", "thiserror"])),
    ("policy", Some(&["wildmatch"])),
    ("timeline", Some(&["chrono", "serde"])),
    ("incident", Some(&["chrono", "serde"])),
    ("billing", Some(&["chrono", "chrono_tz", "rust_decimal", "thiserror"])),
    ("backtest", Some(&["chrono"])),
    ("notify", None),
    ("report", Some(&["base64", "chrono", "chrono_tz", "minijinja", "rust_decimal", "serde", "sha2"])),
    ("cluster", None),
    ("store", None),
    ("pipeline", None),
    ("job", None),
    ("source", None),
    ("config", None),
    ("cli", None),
    ("main", None),
];

/// Not a crate, and not pure either.
const IMPURE: [&str; 7] = ["std::fs", "std::io", "std::net", "std::env", "std::time", "std::thread", "Utc::now"];

/// The files of a room: `NAME.rs`, and what is in the folder `NAME`.
fn files_of(room: &str) -> Vec<std::path::PathBuf> {
    let source = root().join("src");
    let mut files = vec![source.join(format!("{room}.rs"))];
    let mut folders = vec![source.join(room)];
    while let Some(folder) = folders.pop() {
        let entries = std::fs::read_dir(folder).into_iter().flatten().map(|entry| entry.expect("readable").path());
        for path in entries {
            if path.is_dir() { folders.push(path) } else { files.push(path) }
        }
    }
    files.retain(|file| file.extension().is_some_and(|extension| extension == "rs"));
    files
}

/// A file without its comments and its tests.
fn code_of(file: &std::path::Path) -> String {
    let text = std::fs::read_to_string(file).expect("readable");
    let text = text.split("#[cfg(test)]").next().unwrap_or_default();
    text.lines().filter(|line| !line.trim_start().starts_with("//")).map(|line| format!("{line}\n")).collect()
}

#[test]
fn every_room_imports_only_the_rooms_before_it() {
    let import = regex::Regex::new(r"crate::([a-z_]+)").expect("a pattern");
    for (place, (room, _)) in ROOMS.iter().enumerate() {
        let before: Vec<&str> = ROOMS.iter().take(place + 1).map(|(room, _)| *room).collect();
        for file in files_of(room) {
            let code = code_of(&file);
            for found in import.captures_iter(&code).map(|found| found.get(1).expect("a group").as_str()) {
                assert!(before.contains(&found), "{} imports {found}", file.display());
            }
        }
    }
}

#[test]
fn the_rooms_that_decide_are_pure() {
    let import = regex::Regex::new(r"(?m)^\s*(?:pub )?use ([a-z_0-9]+)(?:::|;)").expect("a pattern");
    for (room, crates) in ROOMS.iter().filter_map(|(room, crates)| Some((room, (*crates)?))) {
        let files = files_of(room);
        assert!(!files.is_empty(), "{room}");
        for file in files {
            let code = code_of(&file);
            for found in import.captures_iter(&code).map(|found| found.get(1).expect("a group").as_str()) {
                let ours =
                    ["crate", "super", "self", "std"].contains(&found) || file.with_extension("").join(found).exists();
                let module = root().join("src").join(room).join(format!("{found}.rs")).exists()
                    || file.with_extension("").join(format!("{found}.rs")).exists();
                assert!(ours || module || crates.contains(&found), "{} uses {found}", file.display());
            }
            for name in IMPURE {
                assert!(!code.contains(name), "{} mentions {name}", file.display());
            }
        }
    }
}
