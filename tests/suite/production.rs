//! What BigQuery refuses in production and the tests' server does not, as rules for the proxy in front of it, and held
//! against every view and everything that the program asks.
//!
//! Sources of truth: <https://cloud.google.com/bigquery/docs/reference/standard-sql/subqueries#correlated_subquery_concepts>,
//! <https://cloud.google.com/bigquery/quotas>, <https://cloud.google.com/bigquery/docs/streaming-data-into-bigquery>,
//! <https://cloud.google.com/bigquery/docs/data-manipulation-language>.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::net::SocketAddr;
use std::process::Output;
use std::time::{Duration, Instant};

use chrono::{DateTime, Utc};
use pedwatch::store::schema::{self, BIGQUERY, VIEWS};
use pedwatch::store::{Registry, Store, query};
use serde_json::{Value as Json, json};

use crate::cli::{DEMO, command, run, stderr, stdout};
use crate::faults::metadata_server;
use crate::limits::{consumer, deliver};
use crate::proxy::{Call, Fault, Proxy, Refusal};
use crate::pubsub::eventually;
use crate::servers::{Dataset, bigquery_at};
use crate::support::{Sample, block_on, contents, ped};

/// Tables that one query may read, each counted as often as it is read once all views stand in it.
const TABLES_READ_MAX: usize = 1_000;

/// Characters of one query.
const QUERY_MAX: usize = 1 << 20;

/// Tables that one statement of the program reads, each counted as often as it is named: from some hundreds on, planning may
/// end with "too many subqueries or query is too complex".
const STATEMENT_READS_MAX: usize = 60;

/// Queries within each other: far more than ours, and far fewer than where BigQuery finds a query too complex.
const NESTING_MAX: usize = 12;

/// A word, a sign or what stands in parentheses.
#[derive(Debug, Clone, PartialEq)]
enum Node {
    Word(String),
    Sign(char),
    Text,
    Group(Vec<Node>),
}

impl Node {
    fn is(&self, word: &str) -> bool {
        matches!(self, Node::Word(own) if own.eq_ignore_ascii_case(word))
    }
}

/// Reads SQL as nested lists, without comments and what texts say.
fn read(sql: &str) -> Vec<Node> {
    let mut open: Vec<Vec<Node>> = vec![Vec::new()];
    let mut rest = sql;
    while let Some(first) = rest.chars().next() {
        let node;
        (node, rest) = match first {
            '-' if rest.starts_with("--") => (None, rest.split_once('\n').map_or("", |(_, rest)| rest)),
            '\'' | '"' => (Some(Node::Text), rest[1..].split_once(first).expect("an end of a text").1),
            '`' => {
                let (name, rest) = rest[1..].split_once('`').expect("an end of a name");
                // What is quoted is no word of the language.
                (Some(Node::Word(format!("`{name}`"))), rest)
            }
            '(' => {
                open.push(Vec::new());
                (None, &rest[1..])
            }
            ')' => {
                let group = open.pop().expect("open");
                (Some(Node::Group(group)), &rest[1..])
            }
            first if first.is_alphanumeric() || first == '_' || first == '@' => {
                let end = rest.find(|c: char| !(c.is_alphanumeric() || c == '_' || c == '@')).unwrap_or(rest.len());
                (Some(Node::Word(rest[..end].to_owned())), &rest[end..])
            }
            // At most, at least, unequal: no equality.
            '<' | '>' | '!' if rest[1..].starts_with(['=', '>']) => (Some(Node::Sign('<')), &rest[2..]),
            first if first.is_whitespace() => (None, &rest[first.len_utf8()..]),
            first => (Some(Node::Sign(first)), &rest[first.len_utf8()..]),
        };
        open.last_mut().expect("open").extend(node);
    }
    assert_eq!(open.len(), 1, "parentheses of {sql}");
    open.remove(0)
}

fn is_query(nodes: &[Node]) -> bool {
    nodes.first().is_some_and(|first| first.is("SELECT") || first.is("WITH"))
}

/// The questions of a script: what its temporary tables are made of, and the last.
fn questions(sql: &str) -> Vec<&str> {
    let question = |statement| match str::strip_prefix(statement, "CREATE TEMP TABLE ") {
        Some(made) => made.split_once(" AS\n").map_or("", |(_, question)| question),
        None => statement,
    };
    sql.split(";\n").map(question).filter(|question| is_query(&read(question))).collect()
}

/// How many tables a question reads, where what stands before it is computed wherever it is named.
fn reads(nodes: &[Node], known: &BTreeMap<String, usize>) -> usize {
    let (mut known, mut rest) = (known.clone(), nodes);
    if let [first, behind @ ..] = rest
        && first.is("WITH")
    {
        rest = behind;
        while let [Node::Word(name), _, Node::Group(text), behind @ ..] = rest {
            known.insert(name.clone(), reads(text, &known));
            rest = behind.strip_prefix(&[Node::Sign(',')]).unwrap_or(behind);
            if rest.len() == behind.len() {
                break;
            }
        }
    }
    let named = rest.windows(2).filter_map(|pair| match pair {
        [before, Node::Word(name)] if before.is("FROM") || before.is("JOIN") => Some(*known.get(name).unwrap_or(&1)),
        _ => None,
    });
    let within =
        rest.iter().filter_map(|node| if let Node::Group(inner) = node { Some(reads(inner, &known)) } else { None });
    named.sum::<usize>() + within.sum::<usize>()
}

/// Words that end the list of what a query reads.
const BEHIND_FROM: [&str; 7] = ["WHERE", "GROUP", "HAVING", "QUALIFY", "WINDOW", "ORDER", "LIMIT"];

/// What production refuses of a query, or would find too complex.
pub fn refused(sql: &str) -> Vec<String> {
    let mut found = Vec::new();
    let nodes = read(sql);
    if sql.len() > QUERY_MAX {
        found.push(format!("{} characters", sql.len()));
    }
    if !is_query(&nodes) {
        found.push("it is no question".to_owned());
    }
    look(&nodes, 1, &mut found);
    found
}

/// GoogleSQL's words that are no names where they are not quoted, of those that somebody may take for one; SQLite and the tests'
/// server do. <https://cloud.google.com/bigquery/docs/reference/standard-sql/lexical#reserved_keywords>
const RESERVED: [&str; 32] = [
    "ALL",
    "AT",
    "BY",
    "CONTAINS",
    "CROSS",
    "CUBE",
    "CURRENT",
    "DEFAULT",
    "END",
    "ENUM",
    "ESCAPE",
    "FETCH",
    "FOLLOWING",
    "FOR",
    "FROM",
    "GROUP",
    "GROUPING",
    "HASH",
    "IGNORE",
    "INTERVAL",
    "LATERAL",
    "LOOKUP",
    "MERGE",
    "NEW",
    "NO",
    "OF",
    "ORDER",
    "OVER",
    "PARTITION",
    "RANGE",
    "SET",
    "TO",
];

fn reserved(nodes: &[Node], found: &mut Vec<String>) {
    for (at, node) in nodes.iter().enumerate() {
        let Node::Word(word) = node else { continue };
        let before = at.checked_sub(1).and_then(|before| nodes.get(before));
        let is_alias = before.is_some_and(|before| before.is("AS")) && RESERVED.iter().any(|name| node.is(name));
        // Neither AT TIME ZONE nor a window is meant.
        let is_column = node.is("AT") && before != Some(&Node::Sign('.'))
            || node.is("OVER") && !matches!(nodes.get(at + 1), Some(Node::Group(_) | Node::Word(_)));
        if is_alias || is_column {
            found.push(format!("{word} is a reserved word"));
        }
    }
}

fn look(nodes: &[Node], depth: usize, found: &mut Vec<String>) {
    reserved(nodes, found);
    if depth > NESTING_MAX {
        found.push(format!("more than {NESTING_MAX} queries within each other"));
    }
    if is_query(nodes) {
        outer_joins(nodes, found);
    }
    let mut from = false;
    for (at, node) in nodes.iter().enumerate() {
        match node {
            Node::Word(word) if word.eq_ignore_ascii_case("FROM") || word.eq_ignore_ascii_case("JOIN") => from = true,
            Node::Word(word) if word.eq_ignore_ascii_case("ON") || word.eq_ignore_ascii_case("USING") => from = false,
            Node::Word(word) if BEHIND_FROM.iter().any(|end| word.eq_ignore_ascii_case(end)) => from = false,
            Node::Word(word) if word.eq_ignore_ascii_case("SELECT") => from = false,
            Node::Group(inner) => {
                let before = at.checked_sub(1).and_then(|before| nodes.get(before));
                let is_table = from || before.is_none_or(|before| before.is("AS") || before.is("ALL"));
                if is_query(inner) && !is_table {
                    in_expression(before, inner, found);
                }
                look(inner, depth + usize::from(is_query(inner)), found);
            }
            _ => {}
        }
    }
}

/// A query as a value: BigQuery takes one that names nothing from outside it. Others it takes only where it can make a join
/// of them, which nobody wants to rely on. What values are looked for in has to show it: each of its columns is named with its table.
fn in_expression(before: Option<&Node>, inner: &[Node], found: &mut Vec<String>) {
    let is = |word: &str| before.is_some_and(|before| before.is(word));
    let compares = is("EXISTS") || matches!(before, Some(Node::Sign('=' | '<' | '>')));
    let own = named(inner);
    let mut outside: Vec<&String> = qualifiers(inner).into_iter().filter(|name| !own.contains(name)).collect();
    if is("IN") {
        outside.extend(bare(inner).into_iter().filter(|name| !own.contains(name)));
    }
    if compares || !outside.is_empty() {
        found.push(format!("a correlated subquery: {outside:?} stand outside of it"));
    }
}

/// Columns of a query that are named without their table; those of the tables that it is made of are their own.
fn bare(nodes: &[Node]) -> Vec<&String> {
    const KEYS: [&str; 13] =
        ["SELECT", "DISTINCT", "FROM", "WHERE", "AND", "OR", "NOT", "IS", "NULL", "AS", "IN", "TRUE", "FALSE"];
    let mut found = Vec::new();
    for (at, node) in nodes.iter().enumerate() {
        let before = at.checked_sub(1).and_then(|before| nodes.get(before));
        match (node, nodes.get(at + 1)) {
            // A function, or what stands before a dot.
            (Node::Word(_), Some(Node::Group(_) | Node::Sign('.'))) => {}
            (Node::Word(word), _) => {
                let is_value = word.starts_with(|first: char| first == '@' || first.is_ascii_digit());
                let is_column = before != Some(&Node::Sign('.')) && !KEYS.iter().any(|key| node.is(key)) && !is_value;
                found.extend(is_column.then_some(word));
            }
            (Node::Group(inner), _) if !is_query(inner) => found.extend(bare(inner)),
            _ => {}
        }
    }
    found
}

/// Names of what a query reads, with their aliases, at any depth.
fn named(nodes: &[Node]) -> BTreeSet<&String> {
    let mut names = BTreeSet::new();
    for (at, node) in nodes.iter().enumerate() {
        match node {
            Node::Group(inner) => names.extend(named(inner)),
            Node::Word(word) if ["FROM", "JOIN", "AS"].iter().any(|key| word.eq_ignore_ascii_case(key)) => {
                let rest = nodes[at + 1..].iter();
                // The last part of a name is what it is called by.
                let parts = rest.take_while(|node| matches!(node, Node::Word(_) | Node::Sign('.')));
                names.extend(parts.filter_map(|node| if let Node::Word(name) = node { Some(name) } else { None }));
            }
            _ => {}
        }
    }
    names
}

/// What stands before a dot, but for functions' and datasets' names.
fn qualifiers(nodes: &[Node]) -> Vec<&String> {
    let mut found = Vec::new();
    for (at, node) in nodes.iter().enumerate() {
        match (node, nodes.get(at + 1), nodes.get(at + 2)) {
            (Node::Word(name), Some(Node::Sign('.')), Some(Node::Word(_)))
                if !name.chars().next().is_some_and(|first| first.is_ascii_digit()) =>
            {
                found.push(name);
            }
            (Node::Group(inner), ..) => found.extend(qualifiers(inner)),
            _ => {}
        }
    }
    found
}

/// "LEFT OUTER JOIN cannot be used without a condition that is an equality of fields from both sides of the join."
fn outer_joins(nodes: &[Node], found: &mut Vec<String>) {
    for (at, node) in nodes.iter().enumerate() {
        if !["LEFT", "RIGHT", "FULL"].iter().any(|side| node.is(side))
            || !nodes[at + 1..].iter().take(2).any(|node| node.is("JOIN"))
        {
            continue;
        }
        let rest = nodes[at + 1..].iter().skip_while(|node| !node.is("ON") && !node.is("USING"));
        let ends = |node: &&Node| {
            ["JOIN", "LEFT", "RIGHT", "FULL", "INNER", "CROSS", "UNION"]
                .iter()
                .chain(&BEHIND_FROM)
                .any(|end| node.is(end))
        };
        let condition: Vec<Node> = rest.take_while(|node| !ends(node)).cloned().collect();
        let by_or = condition.iter().any(|node| node.is("OR"));
        let equality = condition.split(|node| node.is("AND")).any(|part| part.contains(&Node::Sign('=')));
        let using = condition.first().is_some_and(|first| first.is("USING"));
        if !using && (by_or || !equality) {
            found.push(format!("an outer join without an equality: {condition:?}"));
        }
    }
}

/// How often at least a question reads a table, once each view stands where it is named: BigQuery makes every use of one anew.
fn tables_read(sql: &str, views: &mut BTreeMap<String, usize>) -> usize {
    let names = sql
        .split("${dataset}.")
        .skip(1)
        .map(|rest| rest.chars().take_while(|c| c.is_ascii_alphanumeric() || *c == '_').collect::<String>());
    let mut all = 0;
    for name in names {
        let of = match (views.get(&name), VIEWS.iter().find(|(view, _)| *view == name)) {
            (Some(&known), _) => known,
            (None, Some((_, sql))) => tables_read(sql, views),
            (None, None) => 1,
        };
        views.insert(name, of);
        all += of;
    }
    all
}

#[test]
fn no_view_is_refused_by_production() {
    let mut views = BTreeMap::new();
    for (name, sql) in VIEWS {
        for text in [BIGQUERY.fill(sql), BIGQUERY.fill(&schema::view(name))] {
            assert_eq!(refused(&text), [] as [String; 0], "{name}");
        }
        let read = tables_read(sql, &mut views);
        println!("{name}: {read} tables, {} characters", schema::view(name).len());
        assert!(read <= TABLES_READ_MAX, "{name} reads {read} tables");
    }
}

#[test]
fn the_lint_finds_what_it_is_for() {
    for (sql, part) in [
        ("SELECT a, (SELECT MAX(v.at) FROM v WHERE v.id = e.id AND v.at <= e.at) FROM e", "correlated"),
        ("SELECT a FROM e WHERE EXISTS (SELECT 1 FROM v WHERE v.id = e.id)", "correlated"),
        ("SELECT a FROM e WHERE e.at IN (SELECT at FROM v)", "correlated"),
        ("SELECT a FROM e WHERE e.at NOT IN (SELECT v.at FROM v WHERE COALESCE(id, 1) = 2)", "correlated"),
        ("SELECT a FROM e WHERE e.at IN (SELECT v.at FROM v WHERE v.id = e.id)", "correlated"),
        ("SELECT a FROM e LEFT JOIN v ON v.at <= e.at WHERE e.x = 1", "outer join"),
        ("SELECT a FROM e LEFT JOIN v ON v.id = e.id OR v.at < e.at", "outer join"),
        ("WITH x AS (SELECT (SELECT w.a FROM w WHERE w.b = y.b) FROM y) SELECT * FROM x", "correlated"),
        ("SELECT at FROM e", "reserved"),
        ("SELECT MAX(a) AS over FROM e", "reserved"),
        ("SELECT a FROM e WHERE over = 1", "reserved"),
        ("UPDATE t SET a = 1 WHERE TRUE", "no question"),
        ("DELETE FROM t WHERE TRUE", "no question"),
    ] {
        assert!(refused(sql).iter().any(|found| found.contains(part)), "{sql}: {:?}", refused(sql));
    }
    let deep = (0..NESTING_MAX + 1).fold("SELECT 1".to_owned(), |sql, _| format!("SELECT * FROM ({sql}) AS t"));
    assert!(refused(&deep).iter().any(|found| found.contains("within each other")));
    for sql in [
        "SELECT a, (SELECT MAX(v.at) FROM v) AS most FROM e LEFT JOIN v ON v.id = e.id AND v.at <= e.at",
        "SELECT day FROM UNNEST(GENERATE_DATE_ARRAY((SELECT MIN(first_day) FROM periods), CURRENT_DATE())) AS day",
        "WITH a AS (SELECT 1), b AS (SELECT * FROM (SELECT 'it''s -- (') AS x) SELECT * FROM a JOIN b USING (id)",
    ] {
        assert_eq!(refused(sql), [] as [String; 0], "{sql}");
    }
}

/// What is counted for the rules.
struct Production {
    /// For how long a DML statement counts.
    dml_window: Duration,
    /// When DML statements of a table came.
    dml: BTreeMap<String, VecDeque<Instant>>,
    /// Tables that were streamed into: their rows stay in the buffer for longer than any test.
    streamed: BTreeSet<String>,
}

/// DML statements of a table in ten seconds.
const DML_MAX: usize = 25;

impl Production {
    fn new(dml_window: Duration) -> Self {
        Production { dml_window, dml: BTreeMap::new(), streamed: BTreeSet::new() }
    }

    fn refuse(&mut self, call: &Call<'_>) -> Option<Refusal> {
        let body: Json = serde_json::from_slice(call.body).unwrap_or_default();
        match call.line.split_once("/tables/").and_then(|(_, rest)| rest.split_once("/insertAll")) {
            Some((table, _)) => self.rows(table, &body),
            None if call.line.starts_with("POST") && call.line.contains("/queries") => {
                self.statement(body["query"].as_str().unwrap_or_default())
            }
            None => None,
        }
    }

    /// Rows that are too old, or too far ahead, for the partitions that there are; their neighbours are stopped.
    fn rows(&mut self, table: &str, body: &Json) -> Option<Refusal> {
        self.streamed.insert(table.to_owned());
        let column = &schema::table(table).expect("a table").properties.partition;
        let days = |row: &Json| {
            let at = row["json"][column].as_str().map(|text| text.parse::<DateTime<Utc>>().expect("a time"));
            at.map_or(0, |at| (at - Utc::now()).num_days())
        };
        let rows = body["rows"].as_array().expect("rows");
        if rows.iter().all(|row| (-1825..=366).contains(&days(row))) {
            return None;
        }
        let error = |(index, row): (usize, &Json)| match (-1825..=366).contains(&days(row)) {
            true => json!({"index": index, "errors": [{"reason": "stopped"}]}),
            false => json!({"index": index, "errors": [{"reason": "invalid", "location": column, "message": format!(
                "Value {} for partition column {column} of the destination table {table} is outside the allowed bounds. You \
                 can only stream to partitions of date range within 1825 days in the past and 366 days in the future \
                 relative to the current date.", row["json"][column])}]}),
        };
        let errors: Vec<Json> = rows.iter().enumerate().map(error).collect();
        Some(Refusal { code: 200, body: json!({"insertErrors": errors}).to_string() })
    }

    fn statement(&mut self, sql: &str) -> Option<Refusal> {
        let nodes = read(sql);
        let first = nodes.first()?;
        let changes = ["UPDATE", "DELETE", "MERGE"].iter().any(|word| first.is(word));
        if !changes && !first.is("INSERT") {
            // Anybody may make, change and drop tables.
            let refused: Vec<String> = questions(sql).into_iter().flat_map(refused).collect();
            return (!refused.is_empty()).then(|| error(400, "invalidQuery", &refused.join("; ")));
        }
        let words = nodes.iter().filter_map(|node| if let Node::Word(word) = node { Some(word) } else { None });
        let mut names = words.filter(|word| schema::SCHEMAS.iter().any(|(table, _)| table == word));
        let table = names.next().cloned().unwrap_or_default();
        let recent = self.dml.entry(table.clone()).or_default();
        recent.retain(|at| at.elapsed() < self.dml_window);
        if recent.len() == DML_MAX {
            let why = "Exceeded rate limits: too many DML statements for this table";
            return Some(error(403, "rateLimitExceeded", why));
        }
        recent.push_back(Instant::now());
        let buffered = changes && self.streamed.contains(&table);
        let why = "UPDATE or DELETE statement would affect rows in the streaming buffer, which is not supported";
        buffered.then(|| error(400, "invalidQuery", why))
    }
}

fn error(code: u16, reason: &str, message: &str) -> Refusal {
    let errors = json!([{"reason": reason, "message": message}]);
    let body = json!({"error": {"code": code, "message": message, "errors": errors, "status": ""}});
    Refusal { code, body: body.to_string() }
}

/// The server behind it answers one call at a time, and may be busy with other tests.
const PATIENCE: Duration = Duration::from_secs(180);

fn patient(proxy: &Proxy) -> pedwatch::store::bigquery::BigQueryConfig {
    pedwatch::store::bigquery::BigQueryConfig { deadline: PATIENCE, ..bigquery_at(proxy.address) }
}

/// A server that answers as production does.
pub fn production(upstream: SocketAddr) -> Proxy {
    strict(upstream, Production::new(Duration::from_secs(10)))
}

fn strict(upstream: SocketAddr, mut rules: Production) -> Proxy {
    Proxy::strict(upstream, "", &[], move |call| rules.refuse(call))
}

#[test]
fn the_stricter_server_refuses_what_production_refuses() {
    block_on(async {
        let Dataset { name, server, .. } = Dataset::new().await;
        // On a busy machine the server behind it takes longer than ten seconds for so many.
        let proxy = strict(server, Production::new(PATIENCE));
        let store = pedwatch::store::bigquery::BigQuery::open(name, &patient(&proxy)).await.expect("a client");
        let ask =
            async |sql: &str| store.fetch(&query::Query::new(sql, Vec::new())).await.map_err(|error| error.to_string());
        let insert = "INSERT INTO ${dataset}.watermarks (name, through, at) VALUES ('x', CURRENT_TIMESTAMP(), CURRENT_TIMESTAMP())";
        for _ in 0..DML_MAX {
            ask(insert).await.expect("inserted");
        }
        // It is worth trying again, for as long as an append may take.
        let hasty = tokio::time::timeout(Duration::from_millis(500), ask(insert)).await;
        assert!(!matches!(hasty, Ok(Ok(_))), "{hasty:?}");
        let rows = [Sample::patch("a", &pedwatch::id::time(Utc::now()), 5)];
        crate::support::record(&store, &rows).await;
        let error = ask("DELETE FROM ${dataset}.replica_events WHERE TRUE").await.expect_err("refused");
        assert!(error.contains("streaming buffer"), "{error}");
        let correlated = "SELECT e.event_id, (SELECT MAX(c.timestamp) FROM ${dataset}.deployment_config AS c WHERE c.timestamp <= \
                          e.event_time) AS latest FROM ${dataset}.replica_events AS e";
        assert!(ask(correlated).await.expect_err("refused").contains("correlated"));
    });
}

/// Runs a command over this dataset through this server.
fn pedwatch(args: &[&str], store: &str, server: SocketAddr, input: &[u8]) -> Output {
    let mut command = command();
    command.args(args).arg(store).env("BIGQUERY_EMULATOR_HOST", server.to_string());
    command.env("PEDWATCH_BIGQUERY__DEADLINE_SECONDS", PATIENCE.as_secs().to_string());
    run(&mut command, input)
}

/// Every command, and a subscriber that judges again: nothing of it would be refused in production.
#[test]
fn production_refuses_nothing_that_the_program_asks() {
    block_on(async {
        let Dataset { name, server, .. } = Dataset::new().await;
        let proxy = production(server);
        let url = format!("--store=bigquery:{name}");
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("a.yaml");
        std::fs::write(&file, ped("payments", "late-api", None, 3)).expect("written");
        let file = file.display().to_string();
        for args in [
            &DEMO[..],
            &["ped", "register", &file, "--updated-by=ci", "--reason=test"],
            &["ped", "list"],
            &["ped", "history", "payments/late-api"],
            &["quarantine", "list"],
            &["quarantine", "replay"],
        ] {
            let output = pedwatch(args, &url, proxy.address, b"");
            // What is in quarantine is unreadable for good.
            assert!(output.status.success() || args[0] == "quarantine", "{args:?}: {}", stderr(&output));
        }
        let store: std::sync::Arc<dyn Store> = std::sync::Arc::new(
            pedwatch::store::bigquery::BigQuery::open(name, &patient(&proxy)).await.expect("a client"),
        );
        let consumer = consumer(&store).await;
        let now = Utc::now();
        deliver(&consumer, &Sample::patch("now", &pedwatch::id::time(now), 50).version(9_000, 9_000), now).await;
        consumer.refresh(now + chrono::Duration::minutes(2)).await.expect("refreshed");
        for (view, _) in VIEWS {
            query::dump(&*store, view).await.expect(view);
        }
        assert_eq!(proxy.refused(), [] as [String; 0]);
        let mut most = 0;
        for body in proxy.asked() {
            let body: Json = serde_json::from_str(&body).expect("JSON");
            for question in questions(body["query"].as_str().expect("SQL")) {
                let tables = reads(&read(question), &BTreeMap::new());
                assert!(tables <= STATEMENT_READS_MAX, "{tables} tables are read by {question}");
                most = most.max(tables);
            }
        }
        println!("at most {most} tables are read by one statement");
        println!("{} questions, {} appends, none refused", proxy.asked().len(), proxy.calls("insertAll"));
    });
}

/// What is too old for streaming is in quarantine with BigQuery's reason, and its neighbours are stored; a PED "from the
/// beginning" begins as early as rows are taken.
#[test]
fn rows_too_old_for_streaming_cost_only_themselves() {
    block_on(async {
        let Dataset { name, server, store } = Dataset::new().await;
        let proxy = production(server);
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("a.yaml");
        std::fs::write(&file, ped("payments", "orders-api", None, 3)).expect("written");
        let samples = [("old", "2016-02-01T00:00:00Z", 9), ("new", "2026-09-04T20:41:03Z", 9)];
        let input =
            samples.map(|(id, at, replicas)| Sample::patch(id, at, replicas).uid(id).entry.to_string()).join("\n");
        let args = ["--config=fixtures/pedwatch.toml", "replay", &format!("--ped={}", file.display()), "-"];
        for round in 0..2 {
            let output = pedwatch(&args, &format!("--store=bigquery:{name}"), proxy.address, input.as_bytes());
            assert!(output.status.success(), "{}{}", stdout(&output), stderr(&output));
            let versions = store.versions(None).await.expect("readable");
            assert_eq!(versions.len(), 1, "round {round}: {versions:?}");
        }
        let tables = contents(&store, &["replica_events", "quarantined", "judged_events"]).await;
        let column =
            |table: usize, column: &str| tables[table].1.iter().map(|row| row[column].clone()).collect::<Vec<_>>();
        // The table may hold a row twice: it was replayed twice.
        assert!(column(0, "insert_id").iter().all(|id| id == "new"), "{tables:?}");
        assert_eq!(column(2, "verdict"), [json!("over_limit")]);
        assert!(column(1, "reason").iter().all(|reason| reason == "refused_row"), "{tables:?}");
        assert!(
            column(1, "detail").iter().all(|why| why.as_str().is_some_and(|why| why.contains("1825 days"))),
            "{tables:?}"
        );
        assert!(proxy.refused().len() >= 2);
    });
}

/// What one identity may do: stream into these tables, and ask about these. Nothing else: no table's or dataset's properties,
/// and nobody's jobs but the results of its own questions.
struct Grants {
    token: &'static str,
    writes: &'static [&'static str],
    reads: &'static [&'static str],
}

/// As Terraform grants them; `dataEditor` reads too.
const REGISTRARS: [Grants; 2] = [
    Grants {
        token: "Bearer registrar-",
        writes: &["deployment_config", "alert_log", "watermarks"],
        reads: &["deployment_config", "alert_log", "watermarks", "replica_events", "carried_writes"],
    },
    Grants {
        token: "Bearer other-",
        writes: &["deployment_config", "alert_log", "watermarks"],
        reads: &["deployment_config", "alert_log", "watermarks", "replica_events", "carried_writes"],
    },
];

impl Grants {
    fn allow(&self, call: &Call<'_>, dataset: &str) -> bool {
        let (method, path) = call.line.split_once(' ').expect("a request");
        let path = path.split([' ', '?']).next().unwrap_or_default();
        if let Some((table, _)) = path.split_once("/tables/").and_then(|(_, rest)| rest.split_once("/insertAll")) {
            return method == "POST" && self.writes.contains(&table);
        }
        let body: Json = serde_json::from_slice(call.body).unwrap_or_default();
        let dataset = format!("{dataset}.");
        let mut read = body["query"].as_str().unwrap_or_default().split(&dataset).skip(1);
        let name = |rest: &str| rest.chars().take_while(|c| c.is_ascii_alphanumeric() || *c == '_').collect::<String>();
        path.contains("/queries") && read.all(|rest| self.reads.contains(&name(rest).as_str()))
    }
}

/// Two identities register at once and after each other, whatever happened to the other: nothing of one waits for, or asks
/// about, anything of another, and each needs no more than it is granted.
#[test]
fn registrars_of_two_identities_need_no_lock_and_no_more_than_their_grants() {
    block_on(async {
        let Dataset { name, server, store } = Dataset::new().await;
        let dataset = name.quoted();
        let rules = move |call: &Call<'_>| {
            let grants = REGISTRARS.iter().find(|grants| call.token.starts_with(grants.token));
            let allowed = grants.is_some_and(|grants| grants.allow(call, &dataset));
            (!allowed).then(|| error(403, "accessDenied", "Access Denied"))
        };
        // The first append hangs, and the answers to the next two are lost.
        let proxy = Proxy::strict(server, "insertAll", &[Fault::Hang, Fault::LostAnswer, Fault::LostAnswer], rules);
        let identities =
            ["registrar", "other"].map(|name| (tempfile::tempdir().expect("a folder"), metadata_server(name)));
        let file = |max: i64| {
            let file = identities[0].0.path().join(format!("{max}.yaml"));
            std::fs::write(&file, ped("payments", "orders-api", None, max)).expect("written");
            file
        };
        let register = |identity: usize, max: i64| {
            let (home, metadata) = &identities[identity];
            let mut command = command();
            command.args(["--config=fixtures/pedwatch.toml", "ped", "register"]).arg(file(max));
            command.args(["--updated-by=ci", "--reason=test", &format!("--store=bigquery:{name}")]);
            command.env("HOME", home.path()).env("GCE_METADATA_HOST", metadata.to_string());
            command.env_remove("GOOGLE_APPLICATION_CREDENTIALS").env_remove("BIGQUERY_EMULATOR_HOST");
            command.env("PEDWATCH_BIGQUERY__ENDPOINT", format!("http://{}", proxy.address));
            command.env("PEDWATCH_BIGQUERY__DEADLINE_SECONDS", PATIENCE.as_secs().to_string());
            command.stdin(std::process::Stdio::null());
            command
        };
        let done = |output: &Output| assert!(output.status.success(), "{}{}", stdout(output), stderr(output));
        // One is killed in the middle of its append.
        let mut killed = register(0, 3).spawn().expect("started");
        eventually("it appends", async || proxy.calls("insertAll") == 1).await;
        killed.kill().expect("killed");
        killed.wait().expect("dead");
        let begun = Instant::now();
        done(&run(&mut register(1, 4), b""));
        println!("another identity registers in {:.1?} after a registrar was killed", begun.elapsed());
        // Two at once.
        std::thread::scope(|scope| {
            let both = [register(0, 5), register(1, 6)];
            let both = both.map(|mut command| scope.spawn(move || command.output().expect("ran")));
            both.into_iter().for_each(|one| done(&one.join().expect("joined")));
        });
        let mut registered: Vec<Option<i64>> =
            store.versions(None).await.expect("readable").iter().map(|version| version.terms.max_replicas).collect();
        registered.sort_unstable();
        registered.dedup();
        assert_eq!(registered, [Some(4), Some(5), Some(6)], "both are kept");
        // Somebody deletes a version, and then the table is dropped and made again.
        for sql in [
            "DELETE FROM ${dataset}.deployment_config WHERE max_replicas = 6",
            "DROP TABLE ${dataset}.deployment_config",
        ] {
            store.fetch(&query::Query::new(sql, Vec::new())).await.expect("done");
            for change in store.schema_changes().await.expect("compared") {
                if matches!(change, pedwatch::store::bigquery::Change::CreateTable(_)) {
                    store.apply(&change).await.expect("made");
                }
            }
            done(&run(&mut register(0, 7), b""));
            done(&run(&mut register(1, 8), b""));
        }
        assert_eq!(proxy.refused(), [] as [String; 0], "no more than they are granted");
        assert_eq!(proxy.calls("/jobs/"), 0);
    });
}
