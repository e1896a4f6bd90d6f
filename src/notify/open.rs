//! What is open, and what a person does about it.

use chrono::{DateTime, Utc};

use super::ledger::{Change, Ledger, LedgerError, Stored};
use super::stepping::{put, read};
use crate::incident::{Deployment, Document, Settings};

/// Documents that are read at once.
const PAGE: u32 = 100;

/// How often a change is tried while others change the same document.
const MAX_ATTEMPTS: u32 = 50;

/// The documents of which something is open.
///
/// # Errors
/// [`LedgerError`] when they cannot be read.
pub async fn documents(ledger: &dyn Ledger) -> Result<Vec<Document>, LedgerError> {
    Ok(stored(ledger).await?.into_iter().map(|(document, _)| document).collect())
}

/// Changes the first document that a change finds something in, such as an incident. Whether there is one.
///
/// # Errors
/// [`LedgerError`] when it may not be kept; changing it again is safe.
pub async fn change(
    ledger: &dyn Ledger,
    settings: &Settings,
    now: DateTime<Utc>,
    change: impl Fn(&mut Document) -> bool,
) -> Result<bool, LedgerError> {
    for _ in 0..MAX_ATTEMPTS {
        let mut stored = stored(ledger).await?.into_iter();
        let changed = stored.find_map(|(mut document, stored)| change(&mut document).then_some((document, stored)));
        let Some((document, stored)) = changed else { return Ok(false) };
        let documents = vec![put(&document, Some(stored.revision), settings, now)?];
        match ledger.commit(&Change { documents, ..Change::default() }).await {
            Err(LedgerError::Conflict) => {}
            done => return done.map(|()| true),
        }
    }
    Err(LedgerError::Conflict)
}

async fn stored(ledger: &dyn Ledger) -> Result<Vec<(Document, Stored)>, LedgerError> {
    let (mut documents, mut after) = (Vec::new(), None);
    loop {
        let page = ledger.open_documents(&Deployment::open_anywhere(), after.as_deref(), PAGE).await?;
        let Some(last) = page.last() else { return Ok(documents) };
        after = Some(last.key.clone());
        for stored in page {
            documents.push((read(&stored)?, stored));
        }
    }
}
