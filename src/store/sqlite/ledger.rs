//! The ledger in the same file as the facts.

use async_trait::async_trait;
use chrono::{DateTime, Utc};
use rusqlite::{Connection, OptionalExtension, Row, Transaction, TransactionBehavior, params};

use super::Sqlite;
use crate::id;
use crate::names::Named;
use crate::notify::ledger::{Change, Claim, FileId, Ledger, LedgerError, Put, Stored, Wanted};
use crate::notify::notice::{Notice, Outcome, Progress, State, Turn};
use crate::store::StoreError;
use crate::time;

/// Made with the other tables.
pub(super) const TABLES: &str = include_str!("ledger.sql");

const COLUMNS: &str = "notification_id, incident_id, receiver, seq, created_at, content, state, attempts, due_at, owner, \
                       unsure, last_error, provider_ref, sent_at";

impl Sqlite {
    /// Runs something in a transaction of its own, which is committed unless there was a conflict.
    async fn transact<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Transaction<'_>) -> rusqlite::Result<Result<T, LedgerError>> + Send + 'static,
    ) -> Result<T, LedgerError> {
        let done = self.with(&self.writer, &self.writer, move |session| {
            let transaction = session.connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
            let done = work(&transaction)?;
            match &done {
                Ok(_) => transaction.commit()?,
                Err(_) => transaction.rollback()?,
            }
            Ok(done)
        });
        done.await.map_err(ledger_error)?
    }

    async fn read<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Connection) -> rusqlite::Result<T> + Send + 'static,
    ) -> Result<T, LedgerError> {
        self.with(&self.reader, &self.reader, |session| work(&session.connection)).await.map_err(ledger_error)
    }
}

fn ledger_error(error: StoreError) -> LedgerError {
    match error {
        StoreError::Transient(why) => LedgerError::Transient(why),
        StoreError::Missing(why) | StoreError::Permanent(why) => LedgerError::Permanent(why),
    }
}

#[async_trait]
impl Ledger for Sqlite {
    fn file(&self) -> Option<FileId> {
        self.file.as_ref().map(|file| file.id())
    }

    async fn documents(&self, keys: &[String]) -> Result<Vec<Option<Stored>>, LedgerError> {
        let keys = keys.to_vec();
        self.read(move |connection| {
            let mut statement =
                connection.prepare_cached("SELECT key, revision, body FROM ledger_documents WHERE key = ?")?;
            keys.iter().map(|key| statement.query_row([key], stored).optional()).collect()
        })
        .await
    }

    async fn due_documents(&self, now: DateTime<Utc>, most: u32) -> Result<Vec<Stored>, LedgerError> {
        self.read(move |connection| {
            let sql = "SELECT key, revision, body FROM ledger_documents WHERE due_at <= ? ORDER BY due_at LIMIT ?";
            let mut statement = connection.prepare_cached(sql)?;
            statement.query_map(params![id::time(now), most], stored)?.collect()
        })
        .await
    }

    async fn open_documents(&self, place: &str, after: Option<&str>, most: u32) -> Result<Vec<Stored>, LedgerError> {
        let (place, after) = (place.to_owned(), after.unwrap_or_default().to_owned());
        self.read(move |connection| {
            let sql = "SELECT key, revision, body FROM ledger_open_in JOIN ledger_documents USING (key) \
                       WHERE place = ? AND key > ? ORDER BY key LIMIT ?";
            connection.prepare_cached(sql)?.query_map(params![place, after, most], stored)?.collect()
        })
        .await
    }

    async fn count_open(&self, place: &str) -> Result<u64, LedgerError> {
        let place = place.to_owned();
        self.read(move |connection| {
            let sql = "SELECT COUNT(*) FROM ledger_open_in WHERE place = ?";
            let counted: i64 = connection.prepare_cached(sql)?.query_row([place], |row| row.get(0))?;
            Ok(u64::try_from(counted).unwrap_or_default())
        })
        .await
    }

    async fn commit(&self, change: &Change) -> Result<(), LedgerError> {
        let change = change.clone();
        self.transact(move |transaction| apply(transaction, &change)).await
    }

    async fn claim(&self, claim: &Claim<'_>) -> Result<Option<Notice>, LedgerError> {
        let Claim { now, patience, .. } = *claim;
        let (receiver, owner) = (claim.receiver.to_owned(), claim.owner.to_owned());
        self.transact(move |transaction| {
            // Each that is looked at is claimed, or is due later or never.
            while let Some(mut notice) = next_due(transaction, &receiver, now)? {
                let siblings = of_incident(transaction, &notice.incident_id, Some(&receiver))?;
                let turn = notice.take_turn(&siblings, &owner, &patience, now);
                keep(transaction, &notice)?;
                if let Some(instead) = notice.instead(&siblings, now).filter(|_| turn != Turn::Later) {
                    insert(transaction, &instead)?;
                }
                if turn == Turn::Now {
                    return Ok(Ok(Some(notice)));
                }
            }
            Ok(Ok(None))
        })
        .await
    }

    async fn settle(&self, claimed: &Notice, outcome: &Outcome, claim: &Claim<'_>) -> Result<bool, LedgerError> {
        let (claimed, outcome) = (claimed.clone(), outcome.clone());
        let (owner, Claim { now, patience, .. }) = (claim.owner.to_owned(), *claim);
        self.transact(move |transaction| {
            let mut siblings = of_incident(transaction, &claimed.incident_id, Some(&claimed.receiver))?;
            let own = siblings.iter_mut().find(|notice| notice.notification_id == claimed.notification_id);
            let Some(own) = own.filter(|own| own.is_owned_by(&owner, claimed.progress.attempts)) else {
                return Ok(Ok(false));
            };
            own.settle(&outcome, &patience, now);
            keep(transaction, own)?;
            let instead = Some(&*own).filter(|own| own.progress.state == State::Failed);
            if let Some(instead) = instead.and_then(|own| own.instead(&[], now)) {
                insert(transaction, &instead)?;
            }
            if !own.progress.state.is_open() {
                for waiting in siblings.iter_mut().filter(|notice| notice.seq > claimed.seq) {
                    if waiting.wake(now) {
                        keep(transaction, waiting)?;
                    }
                }
            }
            Ok(Ok(true))
        })
        .await
    }

    async fn due_notices(&self, receiver: &str, now: DateTime<Utc>, most: u32) -> Result<Vec<Notice>, LedgerError> {
        let receiver = receiver.to_owned();
        self.read(move |connection| due(connection, &receiver, now, most)).await
    }

    async fn gather(&self, digest: &Notice, told: &[Notice]) -> Result<(), LedgerError> {
        let (digest, told) = (digest.clone(), told.to_vec());
        self.transact(move |transaction| {
            if by_id(transaction, &digest.notification_id)?.is_some() {
                return Ok(Ok(()));
            }
            insert(transaction, &digest)?;
            for mut notice in told {
                if by_id(transaction, &notice.notification_id)?.as_ref() != Some(&notice) {
                    return Ok(Err(LedgerError::Conflict));
                }
                notice.gathered();
                keep(transaction, &notice)?;
            }
            Ok(Ok(()))
        })
        .await
    }

    async fn retry(&self, id: &str, now: DateTime<Utc>) -> Result<Option<Notice>, LedgerError> {
        let id = id.to_owned();
        self.transact(move |transaction| {
            let Some(mut notice) = by_id(transaction, &id)? else { return Ok(Ok(None)) };
            let has_failed = notice.retry(now);
            keep(transaction, &notice)?;
            Ok(Ok(Some(notice).filter(|_| has_failed)))
        })
        .await
    }

    async fn notices(&self, wanted: Wanted<'_>, most: u32) -> Result<Vec<Notice>, LedgerError> {
        let (column, value, order) = match wanted {
            Wanted::Notice(id) => ("notification_id", id.to_owned(), "seq"),
            Wanted::Incident(incident) => ("incident_id", incident.to_owned(), "receiver, seq"),
            Wanted::State(state) => ("state", state.to_string(), "created_at, notification_id"),
        };
        self.read(move |connection| {
            let sql = format!("SELECT {COLUMNS} FROM notifications WHERE {column} = ? ORDER BY {order} LIMIT ?");
            connection.prepare_cached(&sql)?.query_map(params![value, most], notice)?.collect()
        })
        .await
    }
}

fn stored(row: &Row<'_>) -> rusqlite::Result<Stored> {
    let revision: i64 = row.get(1)?;
    Ok(Stored { key: row.get(0)?, revision: revision.to_string(), body: row.get(2)? })
}

/// Writes a change, unless a document is not as it was read.
pub(super) fn apply(transaction: &Connection, change: &Change) -> rusqlite::Result<Result<(), LedgerError>> {
    for document in &change.documents {
        if !put(transaction, document)? {
            return Ok(Err(LedgerError::Conflict));
        }
    }
    for incident in &change.over {
        for mut notice in of_incident(transaction, incident, None)? {
            if notice.supersede() {
                keep(transaction, &notice)?;
            }
        }
    }
    change.notices.iter().try_for_each(|notice| insert(transaction, notice))?;
    Ok(Ok(()))
}

/// Adds a notice, unless it is there already.
fn insert(transaction: &Connection, notice: &Notice) -> rusqlite::Result<()> {
    let sql = format!(
        "INSERT INTO notifications ({COLUMNS}) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT DO NOTHING"
    );
    let Notice { notification_id, incident_id, receiver, seq, created_at, content, progress } = notice;
    // Names, numbers and times: this cannot fail.
    let content = serde_json::to_string(content).unwrap_or_default();
    let Progress { state, attempts, unsure, owner, last_error, provider_ref, .. } = progress;
    transaction.prepare_cached(&sql)?.execute(params![
        notification_id,
        incident_id,
        receiver,
        seq,
        id::time(*created_at),
        content,
        state.as_str(),
        attempts,
        progress.due_at.map(id::time),
        owner,
        unsure,
        last_error,
        provider_ref,
        progress.sent_at.map(id::time),
    ])?;
    Ok(())
}

fn by_id(connection: &Connection, id: &str) -> rusqlite::Result<Option<Notice>> {
    let sql = format!("SELECT {COLUMNS} FROM notifications WHERE notification_id = ?");
    connection.prepare_cached(&sql)?.query_row([id], notice).optional()
}

/// Whether it was written: a revision that is not the one that was read belongs to somebody else.
fn put(transaction: &Connection, document: &Put) -> rusqlite::Result<bool> {
    let Put { key, revision, due_at, open_in, body } = document;
    let due_at = due_at.map(id::time);
    let written = match revision {
        None => transaction
            .prepare_cached("INSERT INTO ledger_documents (key, revision, due_at, body) VALUES (?, 1, ?, ?) ON CONFLICT DO NOTHING")?
            .execute(params![key, due_at, body])?,
        Some(revision) => transaction
            .prepare_cached("UPDATE ledger_documents SET revision = revision + 1, due_at = ?, body = ? WHERE key = ? AND revision = ?")?
            .execute(params![due_at, body, key, revision.parse::<i64>().unwrap_or_default()])?,
    };
    transaction.prepare_cached("DELETE FROM ledger_open_in WHERE key = ?")?.execute([key])?;
    let mut open =
        transaction.prepare_cached("INSERT INTO ledger_open_in (place, key) VALUES (?, ?) ON CONFLICT DO NOTHING")?;
    for place in open_in {
        open.execute([place, key])?;
    }
    Ok(written == 1)
}

fn next_due(connection: &Connection, receiver: &str, now: DateTime<Utc>) -> rusqlite::Result<Option<Notice>> {
    Ok(due(connection, receiver, now, 1)?.pop())
}

fn due(connection: &Connection, receiver: &str, now: DateTime<Utc>, most: u32) -> rusqlite::Result<Vec<Notice>> {
    let sql =
        format!("SELECT {COLUMNS} FROM notifications WHERE receiver = ? AND due_at <= ? ORDER BY due_at, seq LIMIT ?");
    connection.prepare_cached(&sql)?.query_map(params![receiver, id::time(now), most], notice)?.collect()
}

fn of_incident(connection: &Connection, incident: &str, receiver: Option<&str>) -> rusqlite::Result<Vec<Notice>> {
    let sql = format!(
        "SELECT {COLUMNS} FROM notifications WHERE incident_id = ?1 AND receiver = COALESCE(?2, receiver) ORDER BY receiver, seq"
    );
    connection.prepare_cached(&sql)?.query_map(params![incident, receiver], notice)?.collect()
}

/// Writes how far a notice has come.
fn keep(connection: &Connection, notice: &Notice) -> rusqlite::Result<()> {
    let Progress { state, attempts, due_at, owner, unsure, last_error, provider_ref, sent_at } = &notice.progress;
    let sql = "UPDATE notifications SET state = ?, attempts = ?, due_at = ?, owner = ?, unsure = ?, last_error = ?, \
               provider_ref = ?, sent_at = ? WHERE notification_id = ?";
    connection.prepare_cached(sql)?.execute(params![
        state.as_str(),
        attempts,
        due_at.map(id::time),
        owner,
        unsure,
        last_error,
        provider_ref,
        sent_at.map(id::time),
        notice.notification_id,
    ])?;
    Ok(())
}

fn notice(row: &Row<'_>) -> rusqlite::Result<Notice> {
    let when = |column: usize| {
        let text: Option<String> = row.get(column)?;
        text.map(|text| time::read(&text).ok_or_else(|| unreadable(column, "a time"))).transpose()
    };
    let content: String = row.get(5)?;
    let state: String = row.get(6)?;
    Ok(Notice {
        notification_id: row.get(0)?,
        incident_id: row.get(1)?,
        receiver: row.get(2)?,
        seq: row.get(3)?,
        created_at: when(4)?.ok_or_else(|| unreadable(4, "a time"))?,
        content: serde_json::from_str(&content).map_err(|_| unreadable(5, "what a notice tells"))?,
        progress: Progress {
            state: State::from_name(&state).ok_or_else(|| unreadable(6, "the name of a state"))?,
            attempts: row.get(7)?,
            due_at: when(8)?,
            owner: row.get(9)?,
            unsure: row.get(10)?,
            last_error: row.get(11)?,
            provider_ref: row.get(12)?,
            sent_at: when(13)?,
        },
    })
}

fn unreadable(column: usize, expected: &str) -> rusqlite::Error {
    let what = format!("expected {expected} in the notice's column {column}");
    rusqlite::Error::FromSqlConversionFailure(column, rusqlite::types::Type::Text, what.into())
}
