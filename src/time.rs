//! The times that there can be. Whatever comes from outside is read here, so that no store ever holds a time that
//! another cannot keep, and that nothing is calculated from one that cannot have been.

use std::ops::Range;

use chrono::{DateTime, Duration, Utc};

/// A second of those that chrono counts: 262,000 years in both directions.
const fn second(since_1970: i64) -> DateTime<Utc> {
    match DateTime::from_timestamp(since_1970, 0) {
        Some(time) => time,
        None => DateTime::UNIX_EPOCH,
    }
}

/// What BigQuery's `TIMESTAMP` holds, the narrowest of all: the years 1 to 9999.
const KEPT: Range<DateTime<Utc>> = second(-62_135_596_800)..second(253_402_300_800);

/// 2015: GKE was opened, and nothing that it logs is older.
const FIRST: DateTime<Utc> = second(1_420_070_400);

/// The years in which a version of a PED can begin or end: what else would be a slip of the pen.
const EFFECTS: Range<DateTime<Utc>> = second(946_684_800)..second(4_102_444_800);

/// Reads RFC 3339. `None` when it is none, or a time that a store cannot keep.
pub fn read(text: &str) -> Option<DateTime<Utc>> {
    keep(DateTime::parse_from_rfc3339(text).ok()?.to_utc())
}

/// A time as every store keeps it; `None` when one cannot. A leap second is the first of the next minute, as POSIX
/// counts: stores have none.
pub fn keep(time: DateTime<Utc>) -> Option<DateTime<Utc>> {
    const NANOS: u32 = 1_000_000_000;
    let nanos = time.timestamp_subsec_nanos();
    let time = DateTime::from_timestamp(time.timestamp() + i64::from(nanos / NANOS), nanos % NANOS)?;
    KEPT.contains(&time).then_some(time)
}

/// Whether something can have happened then, as far as is known at `now`: from 2015 to a day ahead. No two clocks are
/// further apart.
pub fn can_have_happened(time: DateTime<Utc>, now: DateTime<Utc>) -> bool {
    FIRST <= time && time - now <= Duration::days(1)
}

/// Whether a version of a PED can begin or end then: from 2000 to 2100.
pub fn can_take_effect(time: DateTime<Utc>) -> bool {
    EFFECTS.contains(&time)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(text: &str) -> Option<String> {
        read(text).map(crate::id::time)
    }

    #[test]
    fn a_time_is_read_in_utc_or_not_at_all() {
        for (text, expected) in [
            ("2026-11-20T10:30:04.123456+01:30", "2026-11-20T09:00:04.123456Z"),
            ("0001-01-01T00:00:00Z", "0001-01-01T00:00:00.000000Z"),
            ("9999-12-31T23:59:59.999999999Z", "9999-12-31T23:59:59.999999Z"),
            // A leap second has a second to itself, which no store has.
            ("2016-12-31T23:59:60Z", "2017-01-01T00:00:00.000000Z"),
            ("2016-12-31T23:59:60.25Z", "2017-01-01T00:00:00.250000Z"),
        ] {
            assert_eq!(written(text).as_deref(), Some(expected), "{text}");
        }
        for text in [
            "",
            "noon",
            "2026-11-20",
            "2026-11-20T10:30:04",
            "0000-12-31T23:59:59Z",
            "0001-01-01T00:00:00+00:01",
            "9999-12-31T23:59:59-23:59",
            "9999-12-31T23:59:60Z",
            "10000-01-01T00:00:00Z",
            "+10000-01-01T00:00:00Z",
        ] {
            assert_eq!(written(text), None, "{text}");
        }
    }

    #[test]
    fn what_cannot_have_happened_is_told_apart() {
        let now = second(1_795_165_204);
        let time = |text: &str| read(text).expect("a time");
        for (text, can) in [
            ("2014-12-31T23:59:59Z", false),
            ("2015-01-01T00:00:00Z", true),
            ("2026-11-21T09:00:04Z", true),
            ("2026-11-21T09:00:05Z", false),
            ("0001-01-01T00:00:00Z", false),
            ("9999-12-31T23:59:59Z", false),
        ] {
            assert_eq!(can_have_happened(time(text), now), can, "{text}");
        }
        for (text, can) in [
            ("1999-12-31T23:59:59Z", false),
            ("2000-01-01T00:00:00Z", true),
            ("2099-12-31T23:59:59Z", true),
            ("2100-01-01T00:00:00Z", false),
        ] {
            assert_eq!(can_take_effect(time(text)), can, "{text}");
        }
    }
}
