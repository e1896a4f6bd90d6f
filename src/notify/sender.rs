//! Sends what is due: claims a notice, sends it, notes what became of it.

use std::sync::Arc;

use chrono::{DateTime, Utc};

use super::ledger::{Claim, Ledger, LedgerError, Wanted};
use super::notice::{Notice, Outcome, Patience, State};
use super::receiver::Receiver;

/// Notices of an incident that are looked at: a day has few, and each receiver its own.
const NOTICES_MAX: u32 = 10_000;

/// Sends the notices of one receiver, one after the other.
pub struct Sender {
    /// Where they lie.
    pub ledger: Arc<dyn Ledger>,
    /// The receiver's name.
    pub name: String,
    /// The receiver.
    pub receiver: Arc<dyn Receiver>,
    /// Whose attempts they are: no two that live at once have one name.
    pub owner: String,
    /// How long attempts go on. A lease is longer than any attempt takes.
    pub patience: Patience,
}

impl Sender {
    /// Sends the notice that is due longest. `None` where none is due.
    ///
    /// # Errors
    /// [`LedgerError`] when the ledger does not work: what was claimed is claimed again when its lease ends.
    pub async fn send_one(&self, clock: impl Fn() -> DateTime<Utc>) -> Result<Option<(Notice, Outcome)>, LedgerError> {
        let claim = self.claim(clock());
        let Some(notice) = self.ledger.claim(&claim).await? else { return Ok(None) };
        let earlier = self.sent_before(&notice).await?;
        let outcome = self.receiver.send(&notice, &earlier, clock()).await;
        let is_noted = self.ledger.settle(&notice, &outcome, &self.claim(clock())).await?;
        let id = &notice.notification_id;
        match &outcome {
            _ if !is_noted => tracing::warn!(id, receiver = self.name, "an attempt took longer than its lease"),
            Outcome::Sent { .. } => tracing::info!(id, receiver = self.name, "a notice was sent"),
            Outcome::Refused { .. } => tracing::error!(id, receiver = self.name, "a notice was refused"),
            Outcome::Later { .. } => tracing::warn!(id, receiver = self.name, "a notice could not be sent yet"),
        }
        Ok(Some((notice, outcome)))
    }

    /// What the receiver was sent of the incident before. Where that cannot be read, the lease ends.
    async fn sent_before(&self, notice: &Notice) -> Result<Vec<Notice>, LedgerError> {
        if notice.seq <= 1 {
            return Ok(Vec::new());
        }
        let mut found = self.ledger.notices(Wanted::Incident(&notice.incident_id), NOTICES_MAX).await?;
        let is_before = |other: &Notice| other.seq < notice.seq && other.progress.state == State::Sent;
        found.retain(|other| other.receiver == self.name && is_before(other));
        found.sort_by_key(|other| other.seq);
        Ok(found)
    }

    fn claim(&self, now: DateTime<Utc>) -> Claim<'_> {
        Claim { receiver: &self.name, owner: &self.owner, now, patience: self.patience }
    }
}
