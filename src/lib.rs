//! pedwatch tells a platform team at once who changed a Deployment's replicas on GKE, and whether that exceeds the
//! limit its team applied for (its *PED*) that was in force at that moment.
//!
//! ```text
//!  source            audit              limits, policy            store
//!  ───────           ─────              ──────────────            ─────
//!  push  ┐                                                     ┌ sqlite   (embedded default)
//!  pull  ├─ bytes ─▶ decode ─▶ Write ─▶ judge(limit as of t) ─▶│
//!  replay┘           pure      pure     pure                   └ bigquery (at scale)
//!     ▲                                                             │
//!     └────────────── ack / nack  ◀── only after the append is durable
//! ```
//!
//! Facts are append-only and carry deterministic ids; whatever depends on order (previous value, current value, peaks)
//! is derived by views. So any order and any duplication of the input give the same tables.

pub mod audit;
pub mod backtest;
pub mod billing;
pub mod bucket;
pub mod cli;
pub mod cluster;
pub mod config;
#[cfg(feature = "cloud")]
pub mod credentials;
pub mod id;
pub mod incident;
pub mod job;
pub mod names;
pub mod notify;
pub mod ped;
pub mod pipeline;
pub mod policy;
pub mod remote;
pub mod report;
pub mod shown;
pub mod source;
pub mod store;
pub mod telemetry;
pub mod time;
pub mod timeline;
