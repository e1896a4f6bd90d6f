//! Earlier releases: today's binary reads what they wrote, and they write into what today's binary made, because both run
//! during a deployment. `fixtures/released` says what is kept of each.
//!
//! Only the columns that a release knew are compared, so that later ones may be added, and views may answer better.

use std::collections::BTreeSet;
use std::fs;
use std::io::Read;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;

use flate2::read::GzDecoder;
use pedwatch::store::bigquery::Change;
use pedwatch::store::sqlite::Sqlite;
use pedwatch::store::{Store, query};
use rusqlite::types::Value;
use serde_json::{Value as Json, json};
use sha2::{Digest, Sha256};

use crate::cli::{command, run, stderr, stdout};
use crate::servers::Dataset;
use crate::support::{PEDS_FROM, Sample, block_on, handle, ped, pipeline, register, root, time};

const CONFIG: &str = "--config=fixtures/pedwatch.toml";

/// The inputs that `tests/released/make.sh` filled the stores with. They lie beside the release's source: those of today
/// may tell more, or in a way that the release does not know.
const DEMO: [&str; 4] = [
    "replay",
    "--ped=2026-09-01=fixtures/demo/ped/2026-09-01",
    "--ped=2026-09-11=fixtures/demo/ped/2026-09-11",
    "fixtures/demo/audit",
];
const PEDS: [&str; 6] =
    ["ped", "register", "fixtures/ped", "--effective-at=2026-09-01", "--updated-by=ci", "--reason=released"];
const MATRIX: [&str; 2] = ["replay", "fixtures/audit"];

/// Where today's binary writes a row that no release has.
const WRITTEN_TODAY: [&str; 2] = ["replica_events", "deployment_config"];

/// A release that is kept.
struct Release {
    /// Its folder in `fixtures/released`.
    kept: PathBuf,
    /// Where `tests/servers/released.sh` put its binary and its source.
    home: PathBuf,
}

impl Release {
    fn all() -> Vec<Self> {
        let entries = fs::read_dir(root().join("fixtures/released")).expect("the releases");
        let folders = entries.map(|entry| entry.expect("readable").path()).filter(|path| path.is_dir());
        let mut releases: Vec<Self> = folders.map(Self::open).collect();
        releases.sort_by(|left, right| left.kept.cmp(&right.kept));
        assert!(releases.iter().any(|release| release.kept.ends_with("first")), "the first release is not kept");
        releases
    }

    /// Fails where its binary is missing, or made from another archive.
    fn open(kept: PathBuf) -> Self {
        let home = root().join("target/released").join(kept.file_name().expect("a name"));
        let archive = fs::read(kept.join("source.tar.gz")).expect("the release's source");
        let built = fs::read_to_string(home.join(".complete")).unwrap_or_default();
        assert_eq!(
            built.trim(),
            hex::encode(Sha256::digest(archive)),
            "the binary of {} is not built from its source: run tests/servers/released.sh",
            kept.display()
        );
        Release { kept, home }
    }

    /// A command of its binary.
    fn command(&self) -> Command {
        let mut its = Command::new(self.home.join("pedwatch"));
        its.env_remove("PEDWATCH_CONFIG").env_remove("RUST_LOG");
        its
    }

    /// What its binary wrote into SQLite.
    fn file(&self) -> Kept {
        // Opening a file in WAL mode leaves files beside it.
        let folder = tempfile::tempdir().expect("a folder");
        let connection = rusqlite::Connection::open(self.copy_file(folder.path())).expect("a database");
        let names = |kind: &str| {
            let sql = format!("SELECT name FROM sqlite_schema WHERE type = '{kind}'");
            cells(&connection, &sql).1.into_iter().map(|row| row[0].as_str().expect("a name").to_owned())
        };
        let tables = names("table").map(|name| {
            let (columns, rows) = cells(&connection, &format!("SELECT * FROM {name}"));
            Table { name, columns, rows }
        });
        Kept { tables: tables.collect(), views: names("view").collect() }
    }

    /// A copy of that file.
    fn copy_file(&self, folder: &Path) -> PathBuf {
        let copy = folder.join("facts.db");
        fs::copy(self.kept.join("facts.db"), &copy).expect("copied");
        copy
    }

    /// What its binary wrote into BigQuery.
    fn dataset(&self) -> Kept {
        let schemas = self.schemas().into_iter();
        let tables = schemas.map(|(name, resource)| {
            let fields = resource["schema"]["fields"].as_array().expect("fields").iter();
            let columns: Vec<String> = fields.map(|field| field["name"].as_str().expect("a name").to_owned()).collect();
            let rows = self.lines(&name).iter().map(|line| in_columns(line, &columns)).collect();
            Table { name, columns, rows }
        });
        let views = self.views();
        Kept { tables: tables.collect(), views: views.into_iter().map(|(name, _)| name).collect() }
    }

    fn json(&self, file: &str) -> Json {
        let text = fs::read(self.kept.join("bigquery").join(file)).expect("a part of the dataset");
        serde_json::from_slice(&text).expect("JSON")
    }

    /// Name of each table, and what the server told of it.
    fn schemas(&self) -> Vec<(String, Json)> {
        let files = fs::read_dir(self.kept.join("bigquery")).expect("the dataset");
        let names = files.map(|file| file.expect("readable").file_name().into_string().expect("UTF-8"));
        let tables = names.filter_map(|name| Some(name.strip_suffix(".json")?.to_owned()));
        tables.filter(|name| name != "views").map(|name| (name.clone(), self.json(&format!("{name}.json")))).collect()
    }

    /// The rows of a table, as objects of what is not null.
    fn lines(&self, table: &str) -> Vec<Json> {
        let file = self.kept.join(format!("bigquery/{table}.ndjson.gz"));
        let mut text = String::new();
        GzDecoder::new(fs::File::open(file).expect("rows")).read_to_string(&mut text).expect("gzip");
        text.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect()
    }

    /// Name and SQL of each view, each behind those it reads.
    fn views(&self) -> Vec<(String, String)> {
        let text = |view: &Json, key: &str| view[key].as_str().expect("text").to_owned();
        let views = self.json("views.json");
        views.as_array().expect("views").iter().map(|view| (text(view, "name"), text(view, "query"))).collect()
    }

    /// Makes its dataset again, as it was.
    async fn load(&self, dataset: &Dataset) {
        let (project, name) = (&dataset.name.project, &dataset.name.dataset);
        let datasets = format!("http://{}/bigquery/v2/projects/{project}/datasets", dataset.server);
        let tables = format!("{datasets}/{name}/tables");
        post(&datasets, json!({"datasetReference": {"projectId": project, "datasetId": name}})).await;
        let reference = |table: &str| json!({"projectId": project, "datasetId": name, "tableId": table});
        for (table, mut resource) in self.schemas() {
            resource["tableReference"] = reference(&table);
            post(&tables, resource).await;
            let rows: Vec<Json> = self.lines(&table).into_iter().map(|row| json!({"json": as_sent(row)})).collect();
            if !rows.is_empty() {
                let answer = post(&format!("{tables}/{table}/insertAll"), json!({"rows": rows})).await;
                assert_eq!(answer.get("insertErrors"), None, "{table}");
            }
        }
        for (view, sql) in self.views() {
            let sql = sql.replace("${dataset}", &dataset.store.quoted());
            let view = json!({"tableReference": reference(&view), "view": {"query": sql, "useLegacySql": false}});
            post(&tables, view).await;
        }
    }
}

/// What a release left in a store.
struct Kept {
    tables: Vec<Table>,
    /// Names of the views.
    views: Vec<String>,
}

/// The rows of one table.
struct Table {
    name: String,
    /// Those that the release knew. The first one is the id, where a table has one.
    columns: Vec<String>,
    rows: Vec<Vec<Json>>,
}

impl Table {
    /// The rows that are in a store, as the release knows them.
    async fn found(&self, store: &dyn Store) -> Vec<Vec<Json>> {
        let rows = query::dump(store, &self.name).await.expect("readable");
        rows.iter().map(|row| in_columns(row, &self.columns)).collect()
    }

    fn ids(&self, rows: &[Vec<Json>]) -> BTreeSet<String> {
        rows.iter().map(|row| row[0].to_string()).collect()
    }
}

/// Columns and rows that SQLite itself gives.
fn cells(connection: &rusqlite::Connection, sql: &str) -> (Vec<String>, Vec<Vec<Json>>) {
    let mut statement = connection.prepare(sql).expect("a statement");
    let columns: Vec<String> = statement.column_names().map(str::to_owned).collect();
    let cell = |value: Value| match value {
        Value::Null => Json::Null,
        Value::Integer(number) => number.into(),
        Value::Text(text) => text.into(),
        other => panic!("pedwatch writes nothing like {other:?}"),
    };
    let read = |row: &rusqlite::Row<'_>| (0..columns.len()).map(|at| row.get(at).map(cell)).collect();
    let rows = statement.query_map([], read).and_then(Iterator::collect).expect("rows");
    (columns, rows)
}

fn in_columns(row: &Json, columns: &[String]) -> Vec<Json> {
    columns.iter().map(|column| row.get(column).cloned().unwrap_or_default()).collect()
}

/// A row in the form of `insertAll`, where numbers are text.
fn as_sent(mut row: Json) -> Json {
    for value in row.as_object_mut().expect("a row").values_mut().filter(|value| value.is_number()) {
        *value = value.to_string().into();
    }
    row
}

async fn post(url: &str, body: Json) -> Json {
    let answer = reqwest::Client::new().post(url).json(&body).send().await.expect("an answer");
    let (status, text) = (answer.status(), answer.text().await.expect("a body"));
    assert!(status.is_success(), "{url}: {status}: {text}");
    serde_json::from_str(&text).expect("JSON")
}

/// A store as a command line names it.
struct Place {
    url: String,
    /// BigQuery's server.
    server: Option<SocketAddr>,
}

impl Place {
    fn file(path: &Path) -> Self {
        Place { url: format!("sqlite:{}", path.display()), server: None }
    }

    fn dataset(Dataset { name, server, .. }: &Dataset) -> Self {
        Place { url: format!("bigquery:{name}"), server: Some(*server) }
    }

    /// Runs a command of a binary among the inputs of a release. It has to end well; what it printed.
    fn run(&self, mut binary: Command, release: &Release, args: &[&str]) -> String {
        binary.current_dir(release.home.join("source")).arg(CONFIG).args(args).args(["--store", &self.url]);
        binary.envs(self.server.map(|server| ("BIGQUERY_EMULATOR_HOST", server.to_string())));
        let output = run(&mut binary, b"");
        assert!(output.status.success(), "{binary:?}: {}{}", stdout(&output), stderr(&output));
        stdout(&output)
    }

    /// Has today's binary open the store as a deployment does: it brings tables and views up to date.
    fn open_today(&self, release: &Release) {
        match self.url.strip_prefix("sqlite:") {
            // What only reads makes no file.
            Some(path) => drop(Sqlite::open(Path::new(path)).expect("opened")),
            None => drop(self.run(command(), release, &["schema", "apply"])),
        }
    }

    /// Asks today's binary what people ask; the month that the release has read is nothing new.
    fn assert_answers(&self, release: &Release) {
        for args in [&["ped", "list"][..], &["ped", "history", "payments/orders-api"], &["quarantine", "list"]] {
            let args = [args, &["--format=ndjson"]].concat();
            assert!(!self.run(command(), release, &args).is_empty(), "{args:?} has no answer");
        }
        let summary = self.run(command(), release, &[&DEMO[..], &["--format=json"]].concat());
        let summary: Json = serde_json::from_str(&summary).expect("JSON");
        assert_eq!(json!([summary["events"], summary["quarantined"]]), json!([0, 0]), "{summary}");
    }
}

/// Every row that a release wrote is there, no other, and the views tell of them.
async fn assert_kept(store: &dyn Store, kept: &Kept) {
    for table in &kept.tables {
        let in_order = |mut rows: Vec<Vec<Json>>| {
            rows.sort_by_key(|row| json!(row).to_string());
            rows
        };
        assert_eq!(in_order(table.found(store).await), in_order(table.rows.clone()), "{}", table.name);
    }
    assert_views_answer(store, kept).await;
}

async fn assert_views_answer(store: &dyn Store, kept: &Kept) {
    assert!(!kept.views.is_empty(), "a release has views");
    for view in &kept.views {
        assert!(!query::dump(store, view).await.expect("readable").is_empty(), "{view} is empty");
    }
}

/// Today's binary writes a row into each of [`WRITTEN_TODAY`].
async fn assert_today_writes(store: &dyn Store) {
    register(store, &ped("checkout", "cart-api", None, 5), PEDS_FROM).await;
    let sample = Sample::patch("today", "2026-09-20T08:00:00Z", 3).bytes();
    let tally = handle(store, &pipeline(store).await, &[sample], time("2026-10-01T00:00:00Z")).await;
    assert!(tally.span.is_some());
}

/// A deployment: today's binary has made the store and writes; a release beside it reads the same inputs as when it was
/// kept, and today's opens the store again in between. No fact is lost, and today's reads them all.
async fn assert_both_can_write(release: &Release, place: &Place, open: impl AsyncFn() -> Box<dyn Store>) {
    place.open_today(release);
    // Open for as long as the release writes.
    let today = open().await;
    assert_today_writes(&*today).await;
    for args in [&DEMO[..], &PEDS, &MATRIX] {
        place.run(release.command(), release, args);
        place.open_today(release);
    }
    let (store, kept) = (open().await, release.file());
    for table in &kept.tables {
        let (found, expected) = (table.ids(&table.found(&*store).await), table.ids(&table.rows));
        let lost: Vec<_> = expected.difference(&found).collect();
        assert!(lost.is_empty(), "{} lacks {lost:?}", table.name);
        let own = usize::from(WRITTEN_TODAY.contains(&table.name.as_str()));
        assert!(found.len() >= expected.len() + own, "what today's binary wrote into {} is gone", table.name);
    }
    assert_views_answer(&*store, &kept).await;
    place.assert_answers(release);
}

#[test]
fn a_file_of_an_earlier_release_is_read_with_every_row() {
    for release in Release::all() {
        let folder = tempfile::tempdir().expect("a folder");
        let (path, kept) = (release.copy_file(folder.path()), release.file());
        let place = Place::file(&path);
        place.open_today(&release);
        let otherwise = &definitions(&path) ^ &definitions(&new_file(folder.path()));
        assert!(otherwise.is_empty(), "a new file is made otherwise: {otherwise:#?}");
        block_on(async {
            let store = Sqlite::open(&path).expect("a store");
            assert_kept(&store, &kept).await;
            place.assert_answers(&release);
            assert_today_writes(&store).await;
            assert_views_answer(&store, &kept).await;
        });
    }
}

/// A file that today's binary makes.
fn new_file(folder: &Path) -> PathBuf {
    let path = folder.join("new.db");
    drop(Sqlite::open(&path).expect("a store"));
    path
}

/// Columns of every table in a file: table, name, type, whether it may not be null, place in the key. Their order in the
/// table does not matter.
fn definitions(path: &Path) -> BTreeSet<String> {
    let connection = rusqlite::Connection::open(path).expect("a database");
    let sql = "SELECT tables.name, columns.name, columns.type, \"notnull\", pk FROM sqlite_schema AS tables \
               JOIN pragma_table_info(tables.name) AS columns WHERE tables.type = 'table'";
    cells(&connection, sql).1.into_iter().map(|column| json!(column).to_string()).collect()
}

#[test]
fn an_earlier_release_writes_into_today_s_file() {
    for release in Release::all() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("facts.db");
        let open = async || Box::new(Sqlite::open(&path).expect("a store")) as Box<dyn Store>;
        block_on(assert_both_can_write(&release, &Place::file(&path), open));
    }
}

#[test]
fn a_dataset_of_an_earlier_release_is_brought_up_to_date_with_every_row() {
    for release in Release::all() {
        block_on(async {
            let dataset = Dataset::unmade().await;
            release.load(&dataset).await;
            let changes = dataset.store.schema_changes().await.expect("compared");
            let refused = changes.iter().filter(|change| matches!(change, Change::Refused(_)));
            assert_eq!(refused.collect::<Vec<_>>(), [] as [&Change; 0], "facts would be lost");
            let (place, kept) = (Place::dataset(&dataset), release.dataset());
            place.open_today(&release);
            place.run(command(), &release, &["schema", "check"]);
            assert_kept(&dataset.store, &kept).await;
            place.assert_answers(&release);
            assert_today_writes(&dataset.store).await;
            assert_views_answer(&dataset.store, &kept).await;
        });
    }
}

#[test]
fn an_earlier_release_writes_into_today_s_dataset() {
    for release in Release::all() {
        block_on(async {
            let dataset = Dataset::unmade().await;
            let open = async || Box::new(dataset.store.clone()) as Box<dyn Store>;
            assert_both_can_write(&release, &Place::dataset(&dataset), open).await;
        });
    }
}
