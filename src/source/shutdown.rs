//! Stopping: the first SIGTERM (or Ctrl-C) stops taking, a second one ends the process at once.

use std::time::Duration;

use anyhow::{Context, Result};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;

/// How long what was taken may still need. Cloud Run kills after 10 s
/// (<https://cloud.google.com/run/docs/container-contract#instance-shutdown>), of which [`FINISH`] and some room are left.
pub const DRAIN: Duration = Duration::from_secs(6);

/// How long judging what was left for the next reading of limits may take then. What is not done, the next instance does.
pub const FINISH: Duration = Duration::from_millis(1_500);

/// Exit code of a process that was told twice: 128 and SIGTERM's number, as shells tell it.
const TWICE: i32 = 143;

/// Tells when to stop; a clone tells the same.
#[derive(Debug, Clone)]
pub struct Shutdown {
    begun: watch::Receiver<bool>,
}

impl Shutdown {
    /// Listens for the signals from now on.
    ///
    /// # Errors
    /// When the system does not let us.
    pub fn on_signal() -> Result<Self> {
        let mut terminate = signal(SignalKind::terminate()).context("cannot listen for SIGTERM")?;
        let mut interrupt = signal(SignalKind::interrupt()).context("cannot listen for SIGINT")?;
        let (begin, begun) = watch::channel(false);
        tokio::spawn(async move {
            let mut next = async || {
                tokio::select! { _ = terminate.recv() => {}, _ = interrupt.recv() => {} }
            };
            next().await;
            tracing::info!("stopping: what was taken is finished first");
            // Nobody waits any more when it fails.
            let _ = begin.send(true);
            next().await;
            tracing::warn!("stopping at once: what was taken and not answered for comes again");
            std::process::exit(TWICE);
        });
        Ok(Shutdown { begun })
    }

    /// Returns when it is time to stop.
    pub async fn begun(&self) {
        // It fails when the listener is gone, and then it is time as well.
        let _ = self.begun.clone().wait_for(|begun| *begun).await;
    }

    /// Whether it is.
    pub fn has_begun(&self) -> bool {
        *self.begun.borrow()
    }
}
