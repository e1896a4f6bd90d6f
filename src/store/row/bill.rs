//! `bills`: what a Deployment costs in a month, as it was computed then.

use chrono::{DateTime, NaiveDate, Utc};
use rust_decimal::Decimal;
use rust_decimal::prelude::ToPrimitive;

use super::{Place, row};
use crate::billing::bill::{Draft, Entry, State};
use crate::billing::{Basis, Month, Price, Told};
use crate::id;
use crate::names::Named;

row! {
    /// One line of a bill.
    Bill in "bills" {
        line_id: String,
        month: NaiveDate,
        timezone: String,
        project_id: Option<String>,
        location: Option<String>,
        cluster_name: String,
        namespace: String,
        deployment_name: String,
        user_id: Option<String>,
        vcpu_millis: Option<i64>,
        memory_bytes: Option<i64>,
        peak: Option<i64>,
        basis: Basis,
        peak_from: Option<DateTime<Utc>>,
        peak_to: Option<DateTime<Utc>>,
        peak_source: Option<String>,
        base_micros: Option<i64>,
        resource_micros: Option<i64>,
        fee_micros: i64,
        currency: String,
        price_version: String,
        state: State,
        corrects: Option<String>,
        explanation: String,
        inputs_hash: String,
        computed_at: DateTime<Utc>,
    }
}

/// What all lines of a month have in common.
#[derive(Debug, Clone, Copy)]
pub struct Billing<'b> {
    /// The month.
    pub month: Month,
    /// The price that holds for it.
    pub price: &'b Price,
    /// The price's [version](Price::version).
    pub price_version: &'b str,
}

/// What a number of money is in millionths; `None` for more than a column holds.
pub fn micros(amount: Decimal) -> Option<i64> {
    (amount.checked_mul(Decimal::from(1_000_000))?).round().to_i64()
}

impl Bill {
    /// The line of a Deployment, not kept yet; `None` where it costs more than a column holds.
    pub fn new(billing: Billing<'_>, place: Place<'_>, told: Told<'_>) -> Option<Self> {
        let line = told.line;
        let (peak, fee) = (line.peak(), line.fee());
        let micros_of = |amount: Option<Decimal>| amount.map_or(Some(None), |amount| micros(amount).map(Some));
        let of_peak = |of: fn(&crate::billing::Replicas) -> i64| peak.map(|peak| of(&peak.replicas));
        let bill = Bill {
            user_id: line.owner().map(str::to_owned),
            vcpu_millis: of_peak(|replicas| replicas.vcpu_millis),
            memory_bytes: of_peak(|replicas| replicas.memory_bytes),
            peak: of_peak(|replicas| replicas.max),
            peak_from: peak.map(|peak| peak.charge.from),
            peak_to: peak.map(|peak| peak.charge.to).filter(|to| *to < told.until),
            peak_source: peak.and_then(|peak| peak.charge.source()).map(str::to_owned),
            base_micros: micros_of(fee.map(|fee| fee.base))?,
            resource_micros: micros_of(fee.map(|fee| fee.resources))?,
            fee_micros: micros_of(fee.map(|fee| fee.total))?.unwrap_or(0),
            state: if fee.is_some() { State::Preliminary } else { State::Unpriced },
            explanation: as_json(&told.sentences()),
            ..Bill::nothing(billing, place)
        };
        Some(bill.hashed())
    }

    /// The line of a Deployment that is not billed, though it once was.
    pub fn none(billing: Billing<'_>, place: Place<'_>) -> Self {
        let sentence = "not billed: by what is known now it was not there in this month".to_owned();
        let inputs_hash = crate::billing::bill::NOTHING.to_owned();
        Bill { explanation: as_json(&[sentence]), inputs_hash, ..Bill::nothing(billing, place) }
    }

    fn nothing(Billing { month, price, price_version }: Billing<'_>, place: Place<'_>) -> Self {
        Bill {
            line_id: String::new(),
            month: month.first_day(),
            timezone: price.timezone.to_string(),
            project_id: place.project_id.map(str::to_owned),
            location: place.location.map(str::to_owned),
            cluster_name: place.cluster_name.to_owned(),
            namespace: place.namespace.to_owned(),
            deployment_name: place.deployment_name.to_owned(),
            user_id: None,
            vcpu_millis: None,
            memory_bytes: None,
            peak: None,
            basis: price.basis,
            peak_from: None,
            peak_to: None,
            peak_source: None,
            base_micros: None,
            resource_micros: None,
            fee_micros: 0,
            currency: price.currency.clone(),
            price_version: price_version.to_owned(),
            state: State::Preliminary,
            corrects: None,
            explanation: String::new(),
            inputs_hash: String::new(),
            computed_at: DateTime::UNIX_EPOCH,
        }
    }

    fn hashed(self) -> Self {
        Bill { inputs_hash: id::id(&[&format!("{self:?}")]), ..self }
    }

    /// Which Deployment it is about.
    pub fn place(&self) -> [&str; 5] {
        let [project, location] = [&self.project_id, &self.location].map(|part| part.as_deref().unwrap_or_default());
        [project, location, &self.cluster_name, &self.namespace, &self.deployment_name]
    }

    /// As it is kept: what it is beside the lines before it.
    pub fn kept_as(self, Draft { state, corrects, fee_micros }: Draft, now: DateTime<Utc>) -> Self {
        let [project, location, cluster, namespace, deployment] = self.place();
        let (month, corrected) = (self.month.to_string(), corrects.as_deref().unwrap_or_default());
        let parts =
            [&month, project, location, cluster, namespace, deployment, state.as_str(), corrected, &self.inputs_hash];
        let line_id = id::id(&parts);
        Bill { line_id, state, corrects, fee_micros, computed_at: now, ..self }
    }

    /// What the next line goes by.
    pub fn entry(&self) -> Entry {
        Entry {
            id: self.line_id.clone(),
            state: self.state,
            corrects: self.corrects.clone(),
            fee_micros: self.fee_micros,
            inputs: self.inputs_hash.clone(),
            computed_at: self.computed_at,
        }
    }

    /// Its sentences.
    pub fn sentences(&self) -> Vec<String> {
        serde_json::from_str(&self.explanation).unwrap_or_default()
    }
}

/// As every store keeps JSON.
fn as_json(sentences: &[String]) -> String {
    serde_json::Value::from(sentences.to_vec()).to_string()
}
