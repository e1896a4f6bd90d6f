//! Large messages: decoded on a thread of their own, one after the other.
//!
//! Ten megabytes keep a processor busy for a tenth of a second. There are few workers, often one, which all other messages
//! wait for. One thread also means that one processor is left to others, and that memory is allocated in one place.

use std::panic::AssertUnwindSafe;

use anyhow::{Context, Result};
use futures::future::BoxFuture;
use futures::stream::FuturesUnordered;
use futures::{FutureExt, StreamExt};
use tokio::runtime::Handle;
use tokio::sync::{mpsc, oneshot};

/// The thread that large messages are handled on.
pub(super) struct Large {
    work: mpsc::UnboundedSender<BoxFuture<'static, ()>>,
}

impl Large {
    /// Starts it, for as long as this lives. What its work spawns runs on these workers.
    pub(super) fn start(workers: Handle) -> Result<Self> {
        // Its length is bounded by the memory that each message in it holds.
        let (work, jobs) = mpsc::unbounded_channel();
        let run = move || workers.block_on(run_all(jobs));
        std::thread::Builder::new().name("large".to_owned()).spawn(run).context("cannot start a thread")?;
        Ok(Large { work })
    }

    /// Does some work there to its end, whether or not somebody waits for it. `None` when it panicked.
    pub(super) async fn run<T: Send + 'static>(&self, work: impl Future<Output = T> + Send + 'static) -> Option<T> {
        let (done, result) = oneshot::channel();
        // Neither fails in a way that would not show in the result.
        let _ = self.work.send(async move { drop(done.send(work.await)) }.boxed());
        result.await.ok()
    }
}

/// While one waits for the store, the next one is decoded.
async fn run_all(mut jobs: mpsc::UnboundedReceiver<BoxFuture<'static, ()>>) {
    let mut running = FuturesUnordered::new();
    loop {
        tokio::select! {
            job = jobs.recv() => match job {
                Some(job) => running.push(AssertUnwindSafe(job).catch_unwind()),
                None => return,
            },
            Some(_) = running.next() => {}
        }
    }
}
