//! Appending with `tabledata.insertAll`: requests within the quotas, and an answer for each row.
//!
//! The row's own id is its `insertId`, so that BigQuery drops most of what is sent twice within a minute; the views drop
//! the rest. Source of truth: <https://cloud.google.com/bigquery/docs/streaming-data-into-bigquery>.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use futures::future::{BoxFuture, FutureExt, try_join_all};
use gcp_bigquery_client::model::error_proto::ErrorProto;
use gcp_bigquery_client::model::table_data_insert_all_request::TableDataInsertAllRequest;
use gcp_bigquery_client::model::table_data_insert_all_request_rows::TableDataInsertAllRequestRows;
use gcp_bigquery_client::model::table_data_insert_all_response::TableDataInsertAllResponse;
use serde_json::Value as Json;

use super::super::Appended;
use super::super::row::{DeploymentConfig, Record, Row};
use super::client::{Failure, Kind};
use super::store::{BigQuery, Shared};

/// Rows of one request. 50,000 are allowed, 500 are recommended:
/// <https://cloud.google.com/bigquery/quotas#streaming_inserts>.
const REQUEST_ROWS: usize = 500;

/// The same for versions: all that a repository of PEDs holds comes at once and seldom, and is wanted in few requests. They
/// are as large as they may be, so they go one by one, for each to be up within an attempt's time.
const REQUEST_VERSIONS: usize = 50_000;

/// Size of one request. 10 MB are allowed (same page); the rest is room for what is around the rows.
const REQUEST_BYTES: usize = 9_000_000;

/// A row on its way, with its place in the append.
#[derive(Debug, Clone)]
struct Sent {
    at: usize,
    row: TableDataInsertAllRequestRows,
    size_bytes: usize,
}

impl BigQuery {
    /// Appends rows to their tables, in as many requests as the quotas ask for, some of them at once.
    pub(super) async fn stream(&self, records: &[Record]) -> Result<Vec<Appended>, Failure> {
        let mut tables: BTreeMap<&'static str, Vec<Sent>> = BTreeMap::new();
        for (at, record) in records.iter().enumerate() {
            let json = Json::Object(record.json().into_iter().map(|(name, value)| (name, whole(value))).collect());
            let size_bytes = json.to_string().len();
            let row = TableDataInsertAllRequestRows { insert_id: Some(record.id().into_owned()), json };
            tables.entry(record.table()).or_default().push(Sent { at, row, size_bytes });
        }
        let lanes = tables.into_iter().flat_map(|(table, rows)| {
            let lanes = match table == DeploymentConfig::TABLE {
                true => vec![in_requests(rows, REQUEST_VERSIONS)],
                false => in_requests(rows, REQUEST_ROWS).into_iter().map(|request| vec![request]).collect(),
            };
            lanes.into_iter().map(move |requests| insert_in_turn(Arc::clone(&self.shared), table, requests))
        });
        let mut outcomes = vec![Appended::Stored; records.len()];
        for (at, outcome) in try_join_all(lanes).await?.into_iter().flatten() {
            if let Some(place) = outcomes.get_mut(at) {
                *place = outcome;
            }
        }
        Ok(outcomes)
    }
}

/// Numbers go as strings: a JSON number is read as a double, which is exact to 2^53 only.
fn whole(value: Json) -> Json {
    if value.is_number() { value.to_string().into() } else { value }
}

fn in_requests(rows: Vec<Sent>, most: usize) -> Vec<Vec<Sent>> {
    let mut requests: Vec<Vec<Sent>> = Vec::new();
    let mut size_bytes = 0;
    for row in rows {
        size_bytes += row.size_bytes;
        match requests.last_mut() {
            Some(last) if last.len() < most && size_bytes <= REQUEST_BYTES => last.push(row),
            _ => {
                size_bytes = row.size_bytes;
                requests.push(vec![row]);
            }
        }
    }
    requests
}

/// Inserts the rows of several requests, one after the other, and tells which of them are refused.
async fn insert_in_turn(
    shared: Arc<Shared>,
    table: &'static str,
    requests: Vec<Vec<Sent>>,
) -> Result<Vec<(usize, Appended)>, Failure> {
    let mut refused = Vec::new();
    for rows in requests {
        refused.extend(insert(Arc::clone(&shared), table, rows).await?);
    }
    Ok(refused)
}

/// Inserts rows, and tells which of them are refused.
///
/// A request that is refused as a whole is halved, until the row that BigQuery does not even parse stands alone.
fn insert(
    shared: Arc<Shared>,
    table: &'static str,
    rows: Vec<Sent>,
) -> BoxFuture<'static, Result<Vec<(usize, Appended)>, Failure>> {
    async move {
        match insert_once(&shared, table, rows.clone()).await {
            Err(failure) if failure.kind == Kind::Invalid => match rows.as_slice() {
                [] => Ok(Vec::new()),
                [row] => Ok(vec![(row.at, Appended::Refused(failure.message))]),
                rows => {
                    let (left, right) = rows.split_at(rows.len() / 2);
                    let mut refused = insert(Arc::clone(&shared), table, left.to_vec()).await?;
                    refused.extend(insert(shared, table, right.to_vec()).await?);
                    Ok(refused)
                }
            },
            answer => answer,
        }
    }
    .boxed()
}

/// Sends rows until each is taken or refused.
async fn insert_once(
    shared: &Arc<Shared>,
    table: &'static str,
    rows: Vec<Sent>,
) -> Result<Vec<(usize, Appended)>, Failure> {
    // What is still to be sent, and what is refused; an attempt moves rows out of the first.
    let progress = Arc::new(Mutex::new((rows, Vec::new())));
    let _room = shared.requests.acquire().await.map_err(|_| Failure::transient("pedwatch is stopping"))?;
    shared
        .client
        .retry(|api| {
            let (shared, progress) = (Arc::clone(shared), Arc::clone(&progress));
            async move {
                let request = {
                    let progress = progress.lock().unwrap_or_else(PoisonError::into_inner);
                    let mut request = TableDataInsertAllRequest::new();
                    request.skip_invalid_rows();
                    request.add_rows(progress.0.iter().map(|sent| sent.row.clone()).collect())?;
                    request
                };
                let name = &shared.name;
                let answer = api.tabledata().insert_all(&name.project, &name.dataset, table, request).await?;
                let mut progress = progress.lock().unwrap_or_else(PoisonError::into_inner);
                let (pending, refused) = &mut *progress;
                let again = settle(std::mem::take(pending), answer, refused);
                *pending = again;
                match pending.len() {
                    0 => Ok(()),
                    rows => Err(Failure::transient(format!("{rows} rows of {table} were not taken for now"))),
                }
            }
        })
        .await?;
    let mut progress = progress.lock().unwrap_or_else(PoisonError::into_inner);
    Ok(std::mem::take(&mut progress.1))
}

/// Reads the answer row by row: adds to `refused` what will never be taken, and returns what is worth sending again.
fn settle(sent: Vec<Sent>, answer: TableDataInsertAllResponse, refused: &mut Vec<(usize, Appended)>) -> Vec<Sent> {
    // A row may have several errors. One that says that it is invalid is final; `stopped` (a neighbour was invalid),
    // `backendError`, `timeout` say nothing about the row.
    let mut errors: BTreeMap<usize, Vec<ErrorProto>> = BTreeMap::new();
    for error in answer.insert_errors.unwrap_or_default() {
        let Some(index) = error.index.and_then(|index| usize::try_from(index).ok()) else {
            // It is about one of them, and nobody knows which.
            return sent;
        };
        errors.entry(index).or_default().extend(error.errors.unwrap_or_default());
    }
    let mut again = Vec::new();
    for (index, row) in sent.into_iter().enumerate() {
        match errors.remove(&index) {
            None => {}
            Some(said) if said.iter().any(|error| error.reason.as_deref() == Some("invalid")) => {
                refused.push((row.at, Appended::Refused(text(said))));
            }
            Some(_) => again.push(row),
        }
    }
    again
}

fn text(errors: Vec<ErrorProto>) -> String {
    let said = errors.into_iter().map(|error| {
        let [reason, location, message] = [error.reason, error.location, error.message].map(Option::unwrap_or_default);
        format!("{reason} {location}: {message}")
    });
    said.collect::<Vec<_>>().join("; ")
}
