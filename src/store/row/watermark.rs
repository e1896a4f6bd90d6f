//! `watermarks`: how far what is done again and again has come.

use chrono::{DateTime, Utc};

use super::row;

row! {
    /// Everything known before `through` has been done, at `at`.
    Watermark in "watermarks" {
        name: String,
        through: DateTime<Utc>,
        at: DateTime<Utc>,
    }
}
