//! The times that there can be. Whatever comes from outside is read here, so that no store ever holds a time that
//! another cannot keep, and that nothing is calculated from one that cannot have been.

use std::ops::Range;

use chrono::{DateTime, Duration, NaiveDate, NaiveDateTime, NaiveTime, Utc};

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

/// No two clocks that anybody sets are further apart.
pub const CLOCKS_APART: Duration = Duration::minutes(5);

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

/// Reads when a version of a PED begins or ends, as people write it: RFC 3339, or a date for its midnight in UTC.
///
/// # Errors
/// What is wrong with it, and what would be right.
pub fn read_effect(text: &str) -> Result<DateTime<Utc>, &'static str> {
    let date = || Some(text.parse::<chrono::NaiveDate>().ok()?.and_time(chrono::NaiveTime::MIN).and_utc());
    match read(text).or_else(date) {
        Some(time) if can_take_effect(time) => Ok(time),
        Some(_) => Err("is out of range; expected a time from 2000 to 2100"),
        None => Err("is not a time; expected one like 2026-09-11 or 2026-09-11T08:00:00Z"),
    }
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

/// The forms in which a person may write a time, for help and errors.
pub const FORMS: &str =
    "2026-09-11, 2026-09-11T08:00Z, \"2026-09-11 08:00:05\" (UTC), today, yesterday, now, -7d, -12h or -30m";

/// Reads a time as a person types it at `now`: one of [`FORMS`], or as reports print it. Days are days in UTC, and so is
/// what names no zone; `-7d` is that long ago, and `7d` says the same.
///
/// # Errors
/// With the forms there are, when it is none of them or a time that a store cannot keep.
pub fn typed(text: &str, now: DateTime<Utc>) -> Result<DateTime<Utc>, String> {
    let midnight = |date: NaiveDate| date.and_time(NaiveTime::MIN).and_utc();
    let time = match text {
        "now" => Some(now),
        "today" => Some(midnight(now.date_naive())),
        "yesterday" => now.date_naive().pred_opt().map(midnight),
        _ => ago(text, now).or_else(|| on_the_clock(text)).or_else(|| text.parse().ok().map(midnight)),
    };
    time.and_then(keep).ok_or_else(|| format!("{text:?} is not a time; expected one like {FORMS}"))
}

/// A whole number and a unit: so long before `now`.
fn ago(text: &str, now: DateTime<Utc>) -> Option<DateTime<Utc>> {
    let text = text.strip_prefix('-').unwrap_or(text);
    let (number, unit) = text.split_at(text.find(|c: char| !c.is_ascii_digit())?);
    let number = i64::from(number.parse::<u32>().ok()?);
    let long = match unit {
        "m" => Duration::try_minutes(number),
        "h" => Duration::try_hours(number),
        "d" => Duration::try_days(number),
        "w" => Duration::try_weeks(number),
        _ => None,
    };
    now.checked_sub_signed(long?)
}

/// A date and a time of day, with or without its seconds and a zone.
fn on_the_clock(text: &str) -> Option<DateTime<Utc>> {
    let text = text.replacen(' ', "T", 1);
    let in_a_zone = || Some(DateTime::parse_from_str(&text, "%Y-%m-%dT%H:%M%#z").ok()?.to_utc());
    let in_utc = |form| Some(NaiveDateTime::parse_from_str(&text, form).ok()?.and_utc());
    read(&text).or_else(in_a_zone).or_else(|| in_utc("%Y-%m-%dT%H:%M:%S%.f")).or_else(|| in_utc("%Y-%m-%dT%H:%M"))
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
    fn a_time_is_read_as_people_type_it() {
        let now = read("2026-11-20T09:15:04.5Z").expect("a time");
        for (text, expected) in [
            ("2026-09-11", "2026-09-11T00:00:00.000000Z"),
            ("2026-09-11T08:00Z", "2026-09-11T08:00:00.000000Z"),
            ("2026-09-11T08:00+02:00", "2026-09-11T06:00:00.000000Z"),
            ("2026-09-11T08:00:05.25+02:00", "2026-09-11T06:00:05.250000Z"),
            ("2026-09-11T08:00", "2026-09-11T08:00:00.000000Z"),
            // As a report prints it.
            ("2026-09-11 08:00:05", "2026-09-11T08:00:05.000000Z"),
            ("2026-09-11 08:00Z", "2026-09-11T08:00:00.000000Z"),
            ("now", "2026-11-20T09:15:04.500000Z"),
            ("today", "2026-11-20T00:00:00.000000Z"),
            ("yesterday", "2026-11-19T00:00:00.000000Z"),
            ("-7d", "2026-11-13T09:15:04.500000Z"),
            ("7d", "2026-11-13T09:15:04.500000Z"),
            ("-12h", "2026-11-19T21:15:04.500000Z"),
            ("-30m", "2026-11-20T08:45:04.500000Z"),
            ("-2w", "2026-11-06T09:15:04.500000Z"),
        ] {
            assert_eq!(typed(text, now).map(crate::id::time).as_deref(), Ok(expected), "{text}");
        }
        for text in [
            "",
            "-",
            "d",
            "-d",
            "7",
            "-7",
            "--7d",
            "+7d",
            "7dd",
            "7 d",
            "-7d ",
            "1.5h",
            "-7é",
            "4294967296d",
            "-4294967295d",
            "noon",
            "2026",
            "2026-09",
            "2026-09-31",
            "2026-09-11T",
            "2026-09-11T24:00Z",
            "2026-09-11T08:00Mars",
            "+10000-01-01",
            "0000-12-31",
            "１d",
        ] {
            let error = typed(text, now).expect_err(text);
            assert!(error.contains("is not a time") && error.contains("yesterday, now, -7d"), "{error}");
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
