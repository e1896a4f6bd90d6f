//! What goes to standard output: tables for people, JSON for programs.

use std::fmt::Display;
use std::io::{BufWriter, IsTerminal, Write, stdout};

use anyhow::Result;
use chrono::{DateTime, Utc};
use comfy_table::{ContentArrangement, LineStyle, TableStyle};
use serde_json::{Map, Value as Json, json};

use super::Format;
use crate::audit::ObjectKind;
use crate::pipeline::Tally;
use crate::policy::Verdict;
use crate::shown::{self, Lines, Shown};
use crate::store::Store;
use crate::store::query::{self, Counts, RunReport};
use crate::store::row::{self, Change, QuarantineHead, Row};
use crate::telemetry::redact::without_secrets;

/// How many rows of each kind a report shows; the store holds the rest.
pub(super) const ROWS_MAX: usize = 100;

/// Writes text for people. That nobody reads it any more is no failure: what a command tells by its exit code stands.
pub(super) fn text(text: &str) -> Result<()> {
    is_read(text).map(drop)
}

/// As [`text`]; tells whether somebody may read more.
pub(super) fn is_read(text: &str) -> Result<bool> {
    print(Lines(text))
}

/// As [`text`], for JSON.
pub(super) fn json_text(json: &impl Display) -> Result<()> {
    print(shown::Json(json)).map(drop)
}

fn print(text: impl Display) -> Result<bool> {
    let mut out = BufWriter::new(stdout().lock());
    is_heard(write!(out, "{text}").and_then(|()| out.flush()))
}

fn is_heard(written: std::io::Result<()>) -> Result<bool> {
    match written {
        Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => Ok(false),
        written => Ok(written.map(|()| true)?),
    }
}

/// As [`text`], for what came from outside: as it came, unless a terminal would obey it.
pub(super) fn bytes(bytes: &[u8]) -> Result<()> {
    if stdout().is_terminal() {
        return text(&String::from_utf8_lossy(bytes));
    }
    let mut out = stdout().lock();
    is_heard(out.write_all(bytes).and_then(|()| out.flush())).map(drop)
}

/// Tells a person something, who may not listen any more.
pub(super) fn note(text: &str) {
    let _ = writeln!(std::io::stderr(), "pedwatch: {}", Lines(without_secrets(text)));
}

/// A table for people, whose cells are one line each, whatever they hold.
pub(super) struct Table(comfy_table::Table);

impl Table {
    pub(super) fn new(headings: &[&str]) -> Self {
        let mut table = comfy_table::Table::new();
        let style = TableStyle::new().header_separator(LineStyle::none().fill('─').junction('─'));
        table.load_style(style).set_content_arrangement(ContentArrangement::Dynamic);
        table.set_header(headings);
        Table(table)
    }

    pub(super) fn add_row(&mut self, cells: impl IntoIterator<Item = impl Display>) {
        self.0.add_row(cells.into_iter().map(|cell| Shown(cell).to_string()));
    }
}

impl Display for Table {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.fmt(f)
    }
}

/// A time for people: UTC, to the second.
pub(super) fn short(time: DateTime<Utc>) -> String {
    time.format("%Y-%m-%d %H:%M:%S").to_string()
}

/// Rows as JSON objects of their columns: in one array, or one a line.
pub(super) fn rows<R: Row>(rows: &[R], format: Format) -> Result<()> {
    let objects: Vec<Json> = rows.iter().map(|row| Json::Object(row::json(row))).collect();
    if format == Format::Json {
        return json_text(&format_args!("{}\n", Json::Array(objects)));
    }
    json_text(&objects.iter().map(|object| format!("{object}\n")).collect::<String>())
}

/// What is in quarantine, whole, as [`rows`] prints it; it is read page by page.
pub(super) async fn quarantined(store: &dyn Store, heads: &[QuarantineHead], format: Format) -> Result<()> {
    let is_array = format == Format::Json;
    let (mut separator, between, end) = if is_array { ("[", ",", "") } else { ("", "", "\n") };
    query::in_quarantine(store, heads, async |rows| {
        for row in rows {
            json_text(&format_args!("{separator}{}{end}", Json::Object(row::json(&row))))?;
            separator = between;
        }
        anyhow::Ok(())
    })
    .await?;
    match (is_array, separator) {
        (true, ",") => text("]\n"),
        (true, _) => text("[]\n"),
        (false, _) => Ok(()),
    }
}

/// The figures of a replay.
pub(super) fn summary(tally: &Tally, counts: &Counts, elapsed_seconds: f64) -> Json {
    let ignored: Map<String, Json> =
        tally.ignored.iter().map(|(reason, count)| (reason.to_string(), (*count).into())).collect();
    json!({
        "entries": tally.entries,
        "events": counts.events,
        "out_of_scope": counts.out_of_scope,
        "duplicates": tally.duplicates(counts),
        "ignored": ignored,
        "quarantined": counts.quarantined,
        "alerts": counts.alerts,
        "bytes": tally.bytes,
        "elapsed_seconds": elapsed_seconds,
    })
}

/// Changes, alerts and quarantined inputs, one object a line, each with its table.
pub(super) async fn ndjson(store: &dyn Store, report: &RunReport) -> Result<()> {
    fn line<R: Row>(row: &R) -> Result<()> {
        json_text(&format_args!("{}\n", json!({ "table": R::TABLE, "row": row::json(row) })))
    }
    report.changes.iter().try_for_each(line)?;
    report.alerts.iter().try_for_each(line)?;
    query::in_quarantine(store, &report.quarantined, async |rows| rows.iter().try_for_each(line)).await
}

/// The report that a person wants to see.
pub(super) fn story(report: &RunReport, tally: &Tally, counts: &Counts, elapsed_seconds: f64) -> Result<()> {
    let mut out = String::new();
    section(&mut out, "Changes", "nothing changed", &changes(report), report.changes.len());
    section(&mut out, "Alerts", "no alerts", &alerts(report), report.alerts.len());
    if !tally.ignored.is_empty() {
        let mut ignored = Table::new(&["entries", "why they are not changes"]);
        for (reason, count) in &tally.ignored {
            ignored.add_row([count.to_string(), format!("{reason}: {}", reason.explain())]);
        }
        section(&mut out, "Ignored", "", &ignored, 1);
    }
    if !report.quarantined.is_empty() {
        section(&mut out, "Quarantined", "", &put_aside(report), report.quarantined.len());
    }
    let (Tally { entries, bytes, .. }, Counts { events, quarantined, .. }) = (tally, counts);
    let (alerts, duplicates): (u64, u64) = (counts.alerts.values().sum(), tally.duplicates(counts));
    let ignored: u64 = tally.ignored.values().sum();
    let scope = match counts.out_of_scope {
        0 => String::new(),
        events => format!("; {events} of the events out of scope (--out-of-scope shows them)"),
    };
    out.push_str(&format!(
        "{entries} entries ({bytes} bytes) in {elapsed_seconds:.2} s: {events} events, {alerts} alerts, {ignored} ignored, \
         {duplicates} duplicates, {quarantined} quarantined{scope}\n",
    ));
    text(&out)
}

fn section(out: &mut String, title: &str, nothing: &str, table: &Table, rows: usize) {
    if rows == 0 {
        out.push_str(&format!("{title}: {nothing}\n\n"));
    } else {
        out.push_str(&format!("{title}\n{}\n", table.0.trim_fmt()));
        if rows >= ROWS_MAX {
            out.push_str(&format!("only the first {ROWS_MAX}: the store has them all\n"));
        }
        out.push('\n');
    }
}

fn changes(report: &RunReport) -> Table {
    let mut changes = Table::new(&["when (UTC)", "deployment", "from → to", "limit", "verdict", "how", "who"]);
    for change in &report.changes {
        let number = |replicas: Option<i64>| replicas.map_or_else(|| "?".to_owned(), |replicas| replicas.to_string());
        let to = if change.verdict == Verdict::Removed { "removed".to_owned() } else { number(change.replicas) };
        let missed = match change.missed_writes {
            0 => String::new(),
            missed => format!(" ({missed} missed before)"),
        };
        changes.add_row([
            short(change.event_time),
            subject(change),
            format!(
                "{} → {to}{missed}",
                change.previous_replicas.map_or_else(|| "·".to_owned(), |from| from.to_string())
            ),
            change.limit_max_replicas.map_or_else(|| "none".to_owned(), |limit| limit.to_string()),
            change.verdict.to_string(),
            format!("{} ({})", change.operation, change.route),
            who(&change.actor, change.on_behalf_of.as_deref()),
        ]);
    }
    changes
}

fn subject(change: &Change) -> String {
    let object = change.object_name.as_deref().unwrap_or("(unnamed)");
    match change.object_kind {
        ObjectKind::Deployment => format!("{}/{object}", change.namespace),
        _ => format!("{}/{} (HPA {object})", change.namespace, change.deployment_name.as_deref().unwrap_or("?")),
    }
}

fn alerts(report: &RunReport) -> Table {
    let mut alerts = Table::new(&["when (UTC)", "severity", "alert", "what", "who"]);
    for alert in &report.alerts {
        alerts.add_row([
            short(alert.alert_time),
            alert.severity.map_or_else(String::new, |severity| severity.to_string()),
            alert.alert_type.to_string(),
            alert.message.clone().unwrap_or_default(),
            who(alert.actor.as_deref().unwrap_or_default(), alert.on_behalf_of.as_deref()),
        ]);
    }
    alerts
}

fn who(actor: &str, on_behalf_of: Option<&str>) -> String {
    on_behalf_of.map_or_else(|| actor.to_owned(), |behalf| format!("{behalf} (by {actor})"))
}

fn put_aside(report: &RunReport) -> Table {
    let mut quarantined = Table::new(&["where", "reason", "what is wrong"]);
    for row in &report.quarantined {
        quarantined.add_row([row.source.clone().unwrap_or_default(), row.reason.clone(), row.detail.clone()]);
    }
    quarantined
}
