//! What is in quarantine: its heads, and page by page the inputs themselves.

use std::collections::BTreeSet;

use chrono::{DateTime, Utc};

use super::super::reach::one_of;
use super::super::row::{Quarantine, QuarantineHead};
use super::super::{Store, StoreError};
use super::{NAMES_MAX, Query, Value, select};

/// What is in quarantine, oldest first, without the inputs themselves: everything, or the rows of these ids.
///
/// # Errors
/// [`StoreError`] when it cannot be read.
pub async fn quarantined(store: &dyn Store, ids: &[String]) -> Result<Vec<QuarantineHead>, StoreError> {
    let (wanted, parameters) = one_of("one", "quarantine_id", ids);
    let wanted = if ids.is_empty() { String::new() } else { format!("WHERE {wanted}") };
    Ok(store.fetch(&heads(&wanted, IN_ORDER, parameters)).await?.read())
}

/// What came into quarantine since a time and before another, as [`quarantined`].
///
/// # Errors
/// [`StoreError`] when it cannot be read.
pub async fn quarantined_in(
    store: &dyn Store,
    (since, until): (Option<DateTime<Utc>>, Option<DateTime<Utc>>),
) -> Result<Vec<QuarantineHead>, StoreError> {
    let bounds = [("begin", ">=", since), ("finish", "<", until)];
    let bounds: Vec<_> = bounds.into_iter().filter_map(|(name, is, time)| Some((name, is, time?))).collect();
    let conditions: Vec<String> = bounds.iter().map(|(name, is, _)| format!("quarantined_at {is} @{name}")).collect();
    let wanted = if bounds.is_empty() { String::new() } else { format!("WHERE {}", conditions.join(" AND ")) };
    let parameters = bounds.into_iter().map(|(name, _, time)| (name.to_owned(), Value::Time(time))).collect();
    Ok(store.fetch(&heads(&wanted, IN_ORDER, parameters)).await?.read())
}

const IN_ORDER: &str = "WHERE copy = 1 ORDER BY quarantined_at, quarantine_id";

/// Not by the view, which holds the inputs.
pub(super) fn heads(wanted: &str, rest: &str, parameters: Vec<(String, Value)>) -> Query {
    let sql = format!(
        "SELECT quarantine_id, quarantined_at, message_id, reason, detail, source, raw_length FROM (
           SELECT quarantine_id, quarantined_at, message_id, reason, detail, source, LENGTH(raw) AS raw_length,
             ROW_NUMBER() OVER (PARTITION BY quarantine_id ORDER BY quarantined_at) AS copy
           FROM ${{dataset}}.quarantine {wanted}) AS numbered
         {rest}"
    );
    Query::new(sql, parameters)
}

/// Inputs that are read together are about as long as this, so that memory does not depend on how many there are. One
/// alone may be half as long.
const PAGE_CHARACTERS: i64 = 8 << 20;

/// The whole rows of some that are in quarantine, in order, page by page. One that its store spoilt is left out.
///
/// # Errors
/// [`StoreError`] when the store cannot be read, or as `take` gives it.
pub async fn in_quarantine<E: From<StoreError>>(
    store: &dyn Store,
    heads: &[QuarantineHead],
    mut take: impl AsyncFnMut(Vec<Quarantine>) -> Result<(), E>,
) -> Result<(), E> {
    let mut rest = heads;
    while !rest.is_empty() {
        let mut characters = 0;
        let fits = |head: &&QuarantineHead| {
            characters += head.raw_length;
            characters <= PAGE_CHARACTERS
        };
        let (page, behind) = rest.split_at(rest.iter().take(NAMES_MAX).take_while(fits).count().max(1));
        let ids: Vec<String> = page.iter().map(|head| head.quarantine_id.clone()).collect();
        let (wanted, parameters) = one_of("one", "quarantine_id", &ids);
        let wanted = format!("WHERE {wanted} ORDER BY quarantined_at, quarantine_id");
        let mut rows: Vec<Quarantine> =
            store.fetch(&select::<Quarantine>("quarantine", &wanted, parameters)).await?.read();
        // A table may hold a row twice.
        let mut seen = BTreeSet::new();
        rows.retain(|row| seen.insert(row.quarantine_id.clone()));
        take(rows).await?;
        rest = behind;
    }
    Ok(())
}
