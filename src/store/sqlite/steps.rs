//! What stands for views while questions are answered.
//!
//! SQLite computes a view again wherever it is named, and ours are made of each other. So each view that a question uses
//! becomes a table first; and since who asks one thing mostly asks more about the same rows (a run's report, a day's closing),
//! the tables stay until something is written, or other rows are asked about.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use rusqlite::Connection;

use super::{bind, fetch};
use crate::store::query::{Query, Rows};
use crate::store::reach::Reach;
use crate::store::schema;

/// What a question may hold in memory, in KiB: each of its many sorts may hold as much before it goes to the disk.
const SORT_KIB: u32 = 2 << 10;

/// Views tell what is in force now. What was computed is taken for the present for as long as it took, and so long at least.
const FRESH: Duration = Duration::from_secs(1);

/// The tables of one connection, which are its own.
#[derive(Debug, Default)]
pub(super) struct Steps {
    made: Option<Made>,
}

/// Views that are tables.
#[derive(Debug)]
struct Made {
    /// The rows that they are made of, and in which state the database was.
    reach: Reach,
    state: (i64, u64),
    views: BTreeSet<&'static str>,
    begun: Instant,
    ended: Instant,
}

impl Made {
    fn is_of(&self, reach: &Reach, state: (i64, u64)) -> bool {
        let fresh = self.begun.elapsed() <= FRESH.max(2 * (self.ended - self.begun));
        fresh && self.reach == *reach && self.state == state
    }
}

impl Steps {
    /// Gives the answer in pages of so many rows, until one of them is not wanted. It has to be asked in a transaction, which
    /// is rolled back when it fails.
    pub(super) fn fetch(
        &mut self,
        connection: &Connection,
        query: &Query,
        page_rows: usize,
        take: &mut dyn FnMut(Rows) -> bool,
    ) -> rusqlite::Result<()> {
        let (views, question) = query.steps();
        if views.is_empty() {
            return fetch(connection, &local(&question), &query.parameters, page_rows, take);
        }
        let cache: i64 = connection.pragma_query_value(None, "cache_size", |row| row.get(0))?;
        connection.pragma_update(None, "cache_size", -i64::from(SORT_KIB))?;
        let answered = self.make(connection, query, &views).and_then(|made| {
            fetch(connection, &local(&question), &query.parameters, page_rows, take)?;
            self.made = Some(made);
            Ok(())
        });
        connection.pragma_update(None, "cache_size", cache)?;
        answered
    }

    /// Makes the tables that are not there.
    fn make(
        &mut self,
        connection: &Connection,
        query: &Query,
        views: &[(&'static str, String)],
    ) -> rusqlite::Result<Made> {
        // What other connections have committed, and what this one has changed.
        let committed = connection.query_row("PRAGMA data_version", [], |row| row.get(0))?;
        let state = (committed, connection.total_changes());
        let reach = query.rows();
        let mut made = match self.made.take().filter(|made| made.is_of(reach, state)) {
            Some(made) => made,
            None => {
                drop_all(connection)?;
                let (begun, reach) = (Instant::now(), reach.clone());
                Made { reach, state, views: BTreeSet::new(), begun, ended: begun }
            }
        };
        let before = made.views.len();
        for (view, text) in views {
            if made.views.insert(view) {
                let mut statement = connection.prepare(&format!("CREATE TEMP TABLE step_{view} AS {}", local(text)))?;
                bind(&mut statement, &query.parameters)?;
                statement.raw_execute()?;
            }
        }
        // Not where they are only used again: else what is asked often would stay for ever.
        if made.views.len() > before {
            made.ended = Instant::now();
        }
        // What was made is a change, too.
        made.state.1 = connection.total_changes();
        Ok(made)
    }
}

/// Those too that are forgotten, because a question failed.
fn drop_all(connection: &Connection) -> rusqlite::Result<()> {
    let mut made =
        connection.prepare_cached("SELECT name FROM temp.sqlite_schema WHERE name LIKE 'step\\_%' ESCAPE '\\'")?;
    let names: Vec<String> = made.query_map([], |row| row.get(0))?.collect::<rusqlite::Result<_>>()?;
    let dropped: String = names.iter().map(|name| format!("DROP TABLE temp.{name};")).collect();
    connection.execute_batch(&dropped)
}

fn local(sql: &str) -> String {
    schema::SQLITE.fill(&schema::named_as(sql, "step_"))
}
