//! What changes add to the bill, beside them.

use anyhow::Result;
use rust_decimal::Decimal;
use serde_json::{Value as Json, json};

use crate::billing::cost::written;
use crate::billing::{Price, Prices};
use crate::job::cost::{Added, Changed, added};
use crate::store::Store;
use crate::store::row::{self, Change, RaisedAlert, Row};

/// A row that says what changed, or what that raised.
pub(super) trait Caused: Row {
    fn changed(&self) -> Option<Changed>;
}

impl Caused for Change {
    fn changed(&self) -> Option<Changed> {
        Changed::by_change(self)
    }
}

impl Caused for RaisedAlert {
    fn changed(&self) -> Option<Changed> {
        Changed::by_alert(self)
    }
}

/// What some changes add, by the prices of the configuration.
#[derive(Debug)]
pub(super) struct Costing<'c> {
    prices: &'c Prices,
    added: Added,
}

/// What a row has besides its own columns.
pub(super) const NAMES: [&str; 4] = ["adds_limit", "adds_requested", "adds_highest", "currency"];

impl<'c> Costing<'c> {
    pub(super) async fn of(store: &dyn Store, prices: &'c Prices, changed: Vec<Changed>) -> Result<Self> {
        Ok(Costing { prices, added: added(store, prices, &changed).await? })
    }

    /// What each of some rows adds.
    pub(super) async fn of_rows(store: &dyn Store, prices: &'c Prices, rows: &[impl Caused]) -> Result<Self> {
        Self::of(store, prices, rows.iter().filter_map(Caused::changed).collect()).await
    }

    fn price(&self, changed: &Changed) -> Option<&'c Price> {
        Some(self.prices.of(self.prices.month_at(changed.at)?)?.1)
    }

    /// For people: by the basis that is charged, and by others where they say otherwise.
    pub(super) fn cell(&self, row: &impl Caused) -> String {
        let told = || {
            let changed = row.changed()?;
            let price = self.price(&changed)?;
            let costs = self.added.by(&changed, self.prices);
            Some(
                written(price, &costs)
                    .unwrap_or_else(|| format!("{} {}", price.written(Decimal::ZERO), price.currency)),
            )
        };
        told().unwrap_or_default()
    }

    /// For programs: the row, and what it adds by each basis.
    pub(super) fn objects<R: Caused>(&self, rows: &[R]) -> Vec<Json> {
        let object = |row: &R| {
            let mut object = row::json(row);
            let changed = row.changed();
            let price = changed.as_ref().and_then(|changed| self.price(changed));
            let costs = changed.as_ref().map(|changed| self.added.by(changed, self.prices)).unwrap_or_default();
            let costs = costs.map(|cost| price.map(|price| price.written(cost)));
            for (name, cost) in NAMES.into_iter().zip(costs) {
                object.insert(name.to_owned(), json!(cost));
            }
            object.insert("currency".to_owned(), json!(price.map(|price| &price.currency)));
            Json::Object(object)
        };
        rows.iter().map(object).collect()
    }

    /// What its objects' members are called.
    pub(super) fn names<R: Row>() -> Vec<&'static str> {
        R::COLUMNS.iter().map(|(name, ..)| *name).chain(NAMES).collect()
    }
}
