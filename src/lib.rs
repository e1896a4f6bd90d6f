//! pedwatch
#![allow(missing_docs)]
pub mod audit;
