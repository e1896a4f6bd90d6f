//! What a Deployment costs in a month: prices with the dates from which they hold, the fee, and the lines of a bill with
//! the reasons for each. Exact decimals; pure.
//!
//! ```text
//!  timeline ─▶ stages ─▶ charges (by a basis) ─▶ steps (where the fee rises) ─▶ Line ─▶ sentences
//!                                                                                └▶ next (against what is kept) ─▶ bills
//! ```
//!
//! Billing and alerting are independent of each other: what a breach would cost is told with it, and charged by what was in
//! force.

pub mod bill;
mod charge;
pub mod cost;
mod explain;
mod fee;
mod line;
mod price;

pub use charge::{Begun, Charge, Step, charges, steps};
pub use explain::{Registered, Told, resources};
pub use fee::{Fee, Replicas, Rise, TooMuch, climb, fee};
pub use line::{Dated, Forecast, Line, Note, Unpriced};
pub use price::{Basis, Month, Price, PriceFault, Prices, Rounding};
