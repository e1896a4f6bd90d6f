//! What a person is told: one document for each Deployment, and the step from what is known and what was told to what is to
//! be told next. Pure; `now` is an argument.
//!
//! ```text
//!  sightings of the Deployment ─▶ Known ┐              ┌ over_limit, unregistered, …: opened ─▶ worsened ─▶ recovered
//!  standings of its HPAs ───────────────┼─ conditions ─┤
//!  the limit in force now ──────────────┘              └ bypass, over_initial: once in a while
//! ```
//!
//! The document moves forward only: what is older than the newest known state changes facts, and is told to nobody. So in
//! whichever order entries arrive, and however often, what was told last agrees with the newest state that is known.

mod condition;
mod document;
mod hpa;
mod known;
mod once;
mod order;
mod step;

pub use document::{Acknowledged, Deployment, Document, Incident, Told};
pub use hpa::{Hpa, HpaStanding, Turn};
pub use known::{Known, Standing};
pub use order::{Place, Says, Sighting, State};
pub use step::{Context, Ended, Input, Kind, Reason, Settings, Silence, Step};
