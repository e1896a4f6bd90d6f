//! Telling people: what is to be told lies in a ledger before anybody sends it, and is marked there when it was sent.
//!
//! ```text
//!  step of an incident ─▶ commit (document and notices, one transaction) ─▶ claim ─▶ send ─▶ settle
//!                                                                            ▲ lease          │ later, with backoff
//!                                                                            └────────────────┘
//! ```
//!
//! A kill between sending and settling may send twice, and the second copy then says that it is not known whether the first
//! arrived. Nothing is lost, and nobody waits for a receiver.

pub mod channel;
pub mod digest;
pub mod ledger;
pub mod matcher;
pub mod message;
pub mod notice;
pub mod open;
pub mod receiver;
pub mod route;
pub mod sealed;
pub mod sender;
pub mod silence;
pub mod stepping;
pub mod template;
