//! The start of a subscriber: what may be on its way is waited for, and said once.
//!
//! Terraform makes a service beside its tables and grants, and IAM is eventually consistent: a grant counts within two
//! minutes as a rule (<https://cloud.google.com/iam/docs/access-change-propagation>).

use std::sync::Arc;
use std::time::Duration;

use tokio::time::{Instant, sleep};

use super::health::Starting;
use crate::pipeline::consumer::Consumer;
use crate::store::StoreError;

/// How soon a start is tried again: each asks for the dataset and its tables, which costs nothing.
const AGAIN: Duration = Duration::from_secs(3);

/// What is left of the time for a start.
pub struct Patience {
    until: Instant,
    told: Option<String>,
    health: Starting,
}

impl Patience {
    /// Waits so long in all, while `/readyz` says for what.
    pub fn new(wait: Duration, health: Starting) -> Self {
        Patience { until: Instant::now() + wait, told: None, health }
    }

    /// Waits a while, if there is still time; otherwise it is to be given up. What is missing is logged once.
    pub async fn again(&mut self, missing: &str) -> bool {
        let left = self.until.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return false;
        }
        self.health.lacks(missing);
        if self.told.as_deref() != Some(missing) {
            let seconds = left.as_secs_f32().ceil();
            tracing::warn!(missing, "waiting for what may be on its way, for at most {seconds} s");
            self.told = Some(missing.to_owned());
        }
        sleep(AGAIN.min(left)).await;
        true
    }

    /// The consumer, when its store has what it needs.
    ///
    /// # Errors
    /// [`StoreError`] of the last attempt.
    pub async fn consumer(
        &mut self,
        mut start: impl AsyncFnMut() -> Result<Consumer, StoreError>,
    ) -> Result<Arc<Consumer>, StoreError> {
        loop {
            match start().await {
                Ok(consumer) => return Ok(Arc::new(consumer)),
                Err(StoreError::Permanent(why)) => return Err(StoreError::Permanent(why)),
                Err(error) if !self.again(&error.to_string()).await => return Err(error),
                Err(_) => {}
            }
        }
    }

    /// It has started.
    pub fn over(self) -> Starting {
        self.health
    }
}
