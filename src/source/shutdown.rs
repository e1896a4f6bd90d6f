//! Stopping: the first SIGTERM (or Ctrl-C) stops taking, a second one ends the process at once.

use std::sync::Arc;
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
    begun: Arc<watch::Sender<bool>>,
}

impl Shutdown {
    /// Listens for the signals from now on.
    ///
    /// # Errors
    /// When the system does not let us.
    pub fn on_signal() -> Result<Self> {
        let mut terminate = signal(SignalKind::terminate()).context("cannot listen for SIGTERM")?;
        let mut interrupt = signal(SignalKind::interrupt()).context("cannot listen for SIGINT")?;
        let shutdown = Self::never();
        let begun = Arc::clone(&shutdown.begun);
        tokio::spawn(async move {
            let mut next = async || {
                tokio::select! { _ = terminate.recv() => {}, _ = interrupt.recv() => {} }
            };
            next().await;
            tracing::info!("stopping: what was taken is finished first");
            begun.send_replace(true);
            next().await;
            tracing::warn!("stopping at once: what was taken and not answered for comes again");
            std::process::exit(TWICE);
        });
        Ok(shutdown)
    }

    /// For what goes on until the process ends.
    pub fn never() -> Self {
        Shutdown { begun: Arc::new(watch::Sender::new(false)) }
    }

    /// Returns when it is time to stop.
    pub async fn begun(&self) {
        // It cannot fail: we hold the sender.
        let _ = self.begun.subscribe().wait_for(|begun| *begun).await;
    }

    /// What is true when it is time to stop.
    pub fn watch(&self) -> watch::Receiver<bool> {
        self.begun.subscribe()
    }

    /// Returns when what was taken before it was time to stop has had its time as well.
    pub async fn is_over(&self) {
        self.begun().await;
        tokio::time::sleep(DRAIN).await;
    }

    /// Whether it is time to stop.
    pub fn has_begun(&self) -> bool {
        *self.begun.borrow()
    }
}
