//! Answers of any length, page by page, so that memory does not depend on how many rows there are.

use tokio::sync::mpsc;

use crate::store::row::Row;
use crate::store::{Store, StoreError};

use super::{Query, Rows};

/// Rows that are in memory at once.
const PAGE_ROWS: usize = 5_000;

/// Reads the rows of a question page by page; it is asked, and computed, once.
///
/// # Errors
/// [`StoreError`] when the store cannot be read, or as `take` gives it.
pub(super) async fn streamed<R: Row, E: From<StoreError>>(
    store: &dyn Store,
    query: Query,
    mut take: impl AsyncFnMut(Vec<R>) -> Result<(), E>,
) -> Result<(), E> {
    let (sender, mut pages) = mpsc::channel::<Rows>(1);
    let take_all = async move {
        while let Some(page) = pages.recv().await {
            take(page.read()).await?;
        }
        Ok::<(), E>(())
    };
    let (fetched, taken) = tokio::join!(store.fetch_pages(&query, PAGE_ROWS, sender), take_all);
    taken?;
    Ok(fetched?)
}

/// What a question's SQL ends with, so that it gives so many rows at most.
pub(super) fn limit(at_most: usize) -> String {
    if at_most == usize::MAX { String::new() } else { format!("LIMIT {at_most}") }
}

/// As [`streamed`], but asks for each page anew, so that the store may be asked about its rows meanwhile: `query` takes what its
/// SQL ends with. Its order has to leave no two rows of one place.
///
/// # Errors
/// [`StoreError`] when the store cannot be read, or as `take` gives it.
pub(super) async fn paged<R: Row, E: From<StoreError>>(
    store: &dyn Store,
    query: impl Fn(&str) -> Query,
    at_most: usize,
    mut take: impl AsyncFnMut(Vec<R>) -> Result<(), E>,
) -> Result<(), E> {
    let mut told = 0;
    while told < at_most {
        let page = PAGE_ROWS.min(at_most - told);
        let found = store.fetch(&query(&format!("LIMIT {page} OFFSET {told}"))).await?;
        told += found.rows.len();
        let is_last = found.rows.len() < page;
        take(found.read()).await?;
        if is_last {
            break;
        }
    }
    Ok(())
}
