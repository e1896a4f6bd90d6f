//! What goes to standard output: tables for people, JSON for programs.

use std::collections::{HashMap, HashSet};
use std::fmt::Display;
use std::io::{BufWriter, IsTerminal, Write, stdout};

use anyhow::Result;
use chrono::{DateTime, Utc};
use serde_json::{Map, Value as Json, json};

use super::cost::Costing;
use super::table::{Column, Screen, Table, by_severity};
use super::{Format, RowsFormat};
use crate::audit::ObjectKind;
use crate::ped::{Cluster, Clusters};
use crate::pipeline::Tally;
use crate::policy::Verdict;
use crate::shown::{self, Lines};
use crate::store::Store;
use crate::store::query::{self, Counts, Recorded, RunReport};
use crate::store::row::{self, Change, QuarantineHead, RaisedAlert, Row};
use crate::telemetry::redact::without_secrets;
use crate::telemetry::{self, LogFormat};
use crate::timeline::SNAPSHOT;

/// How many rows of each kind a report shows; the store holds the rest.
pub(super) const ROWS_MAX: usize = 100;

/// Writes text for people. That nobody reads it any more is no failure: what a command tells by its exit code stands.
pub(super) fn text(text: &str) -> Result<()> {
    print(Lines(text)).map(drop)
}

/// As [`text`], for sentences, wrapped where they do not fit; tells whether somebody may read more.
pub(super) fn sentences(text: &str, screen: Screen) -> Result<bool> {
    print(screen.fit(&Lines(text).to_string()))
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

/// Tells why a command fails: a person, or whoever reads the logs of one that serves.
pub(super) fn failed(why: &str, format: LogFormat) {
    match format {
        LogFormat::Text => note(why),
        LogFormat::Json => drop(std::io::stderr().write_all(telemetry::last_word(why).as_bytes())),
    }
}

/// Tells a person something, who may not listen any more.
pub(super) fn note(text: &str) {
    let text = format!("pedwatch: {}\n", Lines(without_secrets(text)));
    let _ = std::io::stderr().write_all(Screen::of_stderr().fit(&text).as_bytes());
}

/// A table under nothing else.
pub(super) fn table(table: &Table, screen: Screen) -> Result<()> {
    drawn(&table.on(screen))
}

/// As [`text`], for what has been made safe and may hold our own colours.
fn drawn(text: &str) -> Result<()> {
    print(text).map(drop)
}

/// A time for people: UTC, to the second.
pub(super) fn short(time: DateTime<Utc>) -> String {
    time.format("%Y-%m-%d %H:%M:%S").to_string()
}

/// Rows as data: an array, an object a line, or CSV with its head.
pub(super) fn rows<R: Row>(rows: &[R], format: RowsFormat) -> Result<()> {
    objects(&names::<R>(), &rows.iter().map(|row| Json::Object(row::json(row))).collect::<Vec<_>>(), format)
}

/// Objects as data, with what their members are called.
pub(super) fn objects(names: &[&str], objects: &[Json], format: RowsFormat) -> Result<()> {
    let mut printed = Rows::new(format);
    printed.print(names, objects)?;
    printed.end(names)
}

/// Rows as data, printed page by page.
pub(super) struct Rows {
    format: RowsFormat,
    has_begun: bool,
}

impl Rows {
    pub(super) fn new(format: RowsFormat) -> Self {
        Rows { format, has_begun: false }
    }

    /// Prints a page of objects, with what their members are called.
    pub(super) fn print(&mut self, names: &[&str], objects: &[Json]) -> Result<()> {
        if objects.is_empty() {
            return Ok(());
        }
        let is_first = !std::mem::replace(&mut self.has_begun, true);
        match self.format {
            RowsFormat::Json => {
                let objects: Vec<String> = objects.iter().map(Json::to_string).collect();
                json_text(&format_args!("{}{}", if is_first { "[" } else { "," }, objects.join(",")))
            }
            RowsFormat::Ndjson => json_text(&objects.iter().map(|object| format!("{object}\n")).collect::<String>()),
            RowsFormat::Csv | RowsFormat::Table => {
                let head = if is_first { names.join(",") + "\n" } else { String::new() };
                text(&(head + &csv(names, objects)))
            }
        }
    }

    /// Ends what was printed; where nothing was, that can be read too.
    pub(super) fn end(self, names: &[&str]) -> Result<()> {
        match (self.format, self.has_begun) {
            (RowsFormat::Json, true) => text("]\n"),
            (RowsFormat::Json, false) => text("[]\n"),
            (RowsFormat::Csv, false) => text(&(names.join(",") + "\n")),
            _ => Ok(()),
        }
    }
}

/// What the members of a row are called.
pub(super) fn names<R: Row>() -> Vec<&'static str> {
    R::COLUMNS.iter().map(|(name, ..)| *name).collect()
}

/// Lines of CSV as RFC 4180 has them, but for their ends, which are those of all that is printed here.
fn csv(names: &[&str], objects: &[Json]) -> String {
    let cell = |text: &str| match text.contains(['"', ',', '\n', '\r']) {
        true => format!("\"{}\"", text.replace('"', "\"\"")),
        false => text.to_owned(),
    };
    let value = |object: &Json, name: &str| match object.get(name) {
        None | Some(Json::Null) => String::new(),
        Some(Json::String(text)) => cell(&harmless(text)),
        Some(value) => cell(&value.to_string()),
    };
    let line = |object| names.iter().map(|name| value(object, name)).collect::<Vec<_>>().join(",") + "\n";
    objects.iter().map(line).collect()
}

/// A text that no spreadsheet takes for a formula: what would be one begins with an apostrophe. Numbers stay.
fn harmless(text: &str) -> std::borrow::Cow<'_, str> {
    let is_formula = text.starts_with(['=', '+', '-', '@', '\t', '\r']) && text.parse::<f64>().is_err();
    if is_formula { format!("'{text}").into() } else { text.into() }
}

/// What is in quarantine, whole, as [`objects`] prints it; it is read page by page.
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

/// What a run recorded, one object a line, each with its table: changes, alerts and quarantined inputs, page by page.
pub(super) async fn ndjson(store: &dyn Store, recorded: Recorded<'_>) -> Result<()> {
    fn lines<R: Row>(rows: &[R]) -> Result<()> {
        let line = |row: &R| format!("{}\n", json!({ "table": R::TABLE, "row": row::json(row) }));
        json_text(&rows.iter().map(line).collect::<String>())
    }
    recorded.changes(store, usize::MAX, async |page| lines(&page)).await?;
    recorded.alerts(store, usize::MAX, async |page| lines(&page)).await?;
    let inputs = async |page: Vec<QuarantineHead>| query::in_quarantine(store, &page, async |rows| lines(&rows)).await;
    recorded.quarantined(store, usize::MAX, inputs).await
}

/// The report that a person wants to see; `earlier` is the command that shows what was recorded before.
pub(super) fn story(
    report: &RunReport,
    tally: &Tally,
    counts: &Counts,
    costing: &Costing<'_>,
    earlier: Option<&str>,
    elapsed_seconds: f64,
    screen: Screen,
) -> Result<()> {
    let mut out = String::new();
    // What an earlier run recorded stands as it did, and is not told again.
    let (nothing, none) = match tally.duplicates(counts) {
        0 => ("nothing changed", "no alerts"),
        _ => ("nothing new changed", "no new alerts"),
    };
    let none = match earlier.filter(|_| tally.duplicates(counts) > 0) {
        Some(earlier) => format!("{none} ({earlier} shows those that were recorded before)"),
        None => none.to_owned(),
    };
    section(&mut out, "Changes", nothing, &changes(&report.changes, costing).on(screen), report.changes.len());
    section(&mut out, "Alerts", &none, &alerts(&report.alerts, costing, false).on(screen), report.alerts.len());
    if !tally.ignored.is_empty() {
        let mut ignored = Table::new([Column::new("entries"), Column::new("why they are not changes").prose()]);
        for (reason, count) in &tally.ignored {
            ignored.add_row([count.to_string(), format!("{reason}: {}", reason.explain())]);
        }
        section(&mut out, "Ignored", "", &ignored.on(screen), 1);
    }
    if !report.quarantined.is_empty() {
        section(&mut out, "Quarantined", "", &put_aside(report).on(screen), report.quarantined.len());
    }
    let (Tally { entries, bytes, .. }, Counts { events, quarantined, .. }) = (tally, counts);
    let (alerts, duplicates): (u64, u64) = (counts.alerts.values().sum(), tally.duplicates(counts));
    let ignored: u64 = tally.ignored.values().sum();
    let joined = match tally.joined() {
        0 => String::new(),
        pieces => format!(", {pieces} joined to others (pieces of split entries)"),
    };
    let scope = match counts.out_of_scope {
        0 => String::new(),
        events => format!("; {events} of the events out of scope (--out-of-scope shows them)"),
    };
    out.push_str(&screen.fit(&format!(
        "{entries} entries ({bytes} bytes) in {elapsed_seconds:.2} s: {events} events, {alerts} alerts, {ignored} ignored, \
         {duplicates} duplicates, {quarantined} quarantined{joined}{scope}\n",
    )));
    drawn(&out)
}

fn section(out: &mut String, title: &str, nothing: &str, table: &str, rows: usize) {
    if rows == 0 {
        out.push_str(&format!("{title}: {nothing}\n\n"));
    } else {
        out.push_str(&format!("{title}\n{table}"));
        if rows >= ROWS_MAX {
            out.push_str(&format!("only the first {ROWS_MAX}: the store has them all\n"));
        }
        out.push('\n');
    }
}

/// Changes as a table; their clusters where there are several.
pub(super) fn changes(rows: &[Change], costing: &Costing<'_>) -> Table {
    let mut changes = Table::new([
        Column::new("when (UTC)"),
        Column::new("cluster").only_if_several(),
        Column::new("deployment"),
        Column::new("from → to"),
        Column::new("limit").named(),
        Column::new("verdict").styled(by_severity),
        Column::new("adds").named(),
        Column::new("how"),
        Column::new("who"),
    ]);
    let cluster_name = cluster_names(rows, cluster_of_change);
    for change in rows {
        let number = |replicas: Option<i64>| replicas.map_or_else(|| "?".to_owned(), |replicas| replicas.to_string());
        let to = if change.verdict == Verdict::Removed { "removed".to_owned() } else { number(change.replicas) };
        let missed = match change.missed_writes {
            0 => String::new(),
            missed => format!(" ({missed} missed before)"),
        };
        let inert = if change.effective { "" } else { " (finds no target)" };
        // What a snapshot sees first was there before.
        let none = if change.actor == SNAPSHOT { "?" } else { "·" };
        let from = change.previous_replicas.map_or_else(|| none.to_owned(), |from| from.to_string());
        changes.add_row([
            short(change.event_time),
            cluster_name(cluster_of_change(change)),
            subject(change),
            format!("{from} → {to}{missed}{inert}"),
            change.limit_max_replicas.map_or_else(|| "none".to_owned(), |limit| limit.to_string()),
            change.verdict.to_string(),
            costing.cell(change),
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

/// Alerts as a table; their clusters where there are several. `some_fell` says that some may stand no more.
pub(super) fn alerts(rows: &[RaisedAlert], costing: &Costing<'_>, some_fell: bool) -> Table {
    let mut alerts = Table::new([
        Column::new("when (UTC)"),
        Column::new("cluster").only_if_several(),
        Column::new("severity").styled(by_severity),
        Column::new("alert"),
        Column::new("what").prose(),
        Column::new("adds").named(),
        Column::new("who"),
        Column::new("stands").named().only_if_any(),
    ]);
    let cluster_name = cluster_names(rows, cluster_of_alert);
    for alert in rows {
        alerts.add_row([
            short(alert.alert_time),
            cluster_name(cluster_of_alert(alert)),
            alert.severity.map_or_else(String::new, |severity| severity.to_string()),
            alert.alert_type.to_string(),
            alert.message.clone().unwrap_or_default(),
            costing.cell(alert),
            who(alert.actor.as_deref().unwrap_or_default(), alert.on_behalf_of.as_deref()),
            if !some_fell {
                String::new()
            } else if alert.stands {
                "yes".to_owned()
            } else {
                "no".to_owned()
            },
        ]);
    }
    alerts
}

fn cluster_of_change(change: &Change) -> Cluster<'_> {
    cluster(change.project_id.as_deref(), change.location.as_deref(), &change.cluster_name)
}

fn cluster_of_alert(alert: &RaisedAlert) -> Cluster<'_> {
    cluster(alert.project_id.as_deref(), alert.location.as_deref(), &alert.cluster_name)
}

fn cluster<'c>(project: Option<&'c str>, location: Option<&'c str>, name: &'c str) -> Cluster<'c> {
    Cluster { project: project.unwrap_or_default(), location: location.unwrap_or_default(), name }
}

/// What to call the clusters of some rows: by their names, but one of several of one name as a PED would name it.
pub(super) fn cluster_names<'r, R>(
    rows: &'r [R],
    cluster: impl Fn(&'r R) -> Cluster<'r>,
) -> impl Fn(Cluster<'_>) -> String {
    let mut places: HashMap<&str, HashSet<(&str, &str)>> = HashMap::new();
    for Cluster { project, location, name } in rows.iter().map(cluster) {
        places.entry(name).or_default().insert((project, location));
    }
    move |Cluster { project, location, name }| {
        if places.get(name).is_some_and(|places| places.len() > 1) {
            Clusters::One { project: project.into(), location: location.into(), name: name.into() }.to_string()
        } else {
            name.to_owned()
        }
    }
}

pub(super) fn who(actor: &str, on_behalf_of: Option<&str>) -> String {
    on_behalf_of.map_or_else(|| actor.to_owned(), |behalf| format!("{behalf} (by {actor})"))
}

fn put_aside(report: &RunReport) -> Table {
    let columns = [Column::new("where"), Column::new("reason"), Column::new("what is wrong").prose()];
    let mut quarantined = Table::new(columns);
    for row in &report.quarantined {
        quarantined.add_row([row.source.clone().unwrap_or_default(), row.reason.clone(), row.detail.clone()]);
    }
    quarantined
}
