//! Times in all the ways in which they are written; each is exact, or refused.

use chrono::{DateTime, NaiveDateTime, SecondsFormat, Utc};
use serde_json::value::RawValue;

use super::members::{self, Members};
use crate::audit::DecodeError;
use crate::time;

const EXPECTED: &str =
    "a time such as 2026-09-04T20:41:03.889214Z, one with an offset, {seconds, nanos}, or seconds since 1970";

/// What a form promises of its times.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Precision {
    /// BigQuery's TIMESTAMP: UTC, whether or not that is written, and whole microseconds.
    Microseconds,
    /// Protobuf's: to the nanosecond, and only with an offset.
    Nanoseconds,
}

/// A time as Logging writes it; `None` when there is none.
pub(super) fn canonical(
    place: &'static str,
    raw: &RawValue,
    precision: Precision,
) -> Result<Option<String>, DecodeError> {
    if members::is_null(raw) {
        return Ok(None);
    }
    let text = members::text(raw);
    let time = match (&text, Members::parse(raw.get())) {
        (Some(text), _) => calendar(text.trim(), precision).or_else(|| epoch(text.trim(), precision)),
        (None, Some(members)) => protobuf(&members),
        (None, None) => epoch(raw.get(), precision),
    };
    let shown = || match &text {
        Some(text) => text.chars().take(64).collect(),
        None => raw.get().split_ascii_whitespace().flat_map(str::chars).take(64).collect(),
    };
    let time = time.ok_or_else(|| DecodeError::BadTime { place, value: shown(), expected: EXPECTED })?;
    Ok(Some(time.to_rfc3339_opts(SecondsFormat::AutoSi, true)))
}

/// RFC 3339, also with a space or in lower case, and as BigQuery writes it: `2026-11-20 09:00:04.123456 UTC`.
fn calendar(text: &str, precision: Precision) -> Option<DateTime<Utc>> {
    // Letters of several bytes are in no time, and have no middle to insert anything at.
    if !text.is_ascii() {
        return None;
    }
    let upper = text.to_ascii_uppercase();
    let utc = upper.strip_suffix("UTC").map(|time| format!("{}Z", time.trim_end()));
    let mut text = utc.unwrap_or(upper);
    if text.as_bytes().get(10) == Some(&b' ') {
        text.replace_range(10..11, "T");
    }
    // `+00` and `+0000`, as PostgreSQL and C write offsets.
    let zone = text.get(19..)?.rfind(['+', '-']).map(|at| text.len() - at - 19);
    match zone {
        Some(3) => text.push_str(":00"),
        Some(5) => text.insert(text.len() - 2, ':'),
        _ => {}
    }
    if let Some(time) = time::read(&text) {
        return Some(time);
    }
    let naive = NaiveDateTime::parse_from_str(&text, "%Y-%m-%dT%H:%M:%S%.f").ok()?;
    time::keep(naive.and_utc()).filter(|_| precision == Precision::Microseconds)
}

/// The years in which Logging can have logged: from Google Cloud's first to one that none of us will replay.
const FIRST_SECOND: i128 = 1_199_145_600;
const LAST_SECOND: i128 = 4_102_444_800;

const NANOS: i128 = 1_000_000_000;

/// A number since 1970. In these years seconds, milliseconds, microseconds and nanoseconds cannot be taken for each
/// other: each is a thousand times the one before, and the years are a factor of four.
fn epoch(text: &str, precision: Precision) -> Option<DateTime<Utc>> {
    let scaled = scaled(text)?;
    let nanos = [1, 1_000, 1_000_000, NANOS]
        .into_iter()
        .map(|parts_of_a_second| scaled / parts_of_a_second)
        .find(|nanos| (FIRST_SECOND * NANOS..LAST_SECOND * NANOS).contains(nanos))?;
    let nanos = match precision {
        // A float of seconds has more digits than it means.
        Precision::Microseconds => (nanos + 500) / 1_000 * 1_000,
        Precision::Nanoseconds => nanos,
    };
    instant(nanos.div_euclid(NANOS), nanos.rem_euclid(NANOS))
}

/// A decimal number, also in scientific notation, times 10^9: exact, whatever a float would make of it.
fn scaled(text: &str) -> Option<i128> {
    let (digits, exponent) = match text.split_once(['e', 'E']) {
        Some((digits, exponent)) => (digits, exponent.parse::<i32>().ok()?),
        None => (text, 0),
    };
    let (whole, fraction) = digits.split_once('.').unwrap_or((digits, ""));
    let all = format!("{whole}{fraction}");
    // 20 digits hold every nanosecond of these years; a float's text has 17, and BigQuery's 16.
    if whole.is_empty() || all.len() > 25 || !all.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let shift = exponent.checked_add(9)?.checked_sub(i32::try_from(fraction.len()).ok()?)?;
    let number: i128 = all.parse().ok()?;
    let power = 10_i128.checked_pow(shift.unsigned_abs())?;
    if shift >= 0 { number.checked_mul(power) } else { Some(number / power) }
}

/// `{"seconds": "1795165200", "nanos": 565396000}`, the seconds as a text, a number, or JavaScript's two halves of one.
fn protobuf(members: &Members) -> Option<DateTime<Utc>> {
    let whole = |raw: &RawValue| members::text(raw).unwrap_or_else(|| raw.get().to_owned()).parse::<i64>().ok();
    let seconds = members.get("seconds")?;
    let seconds = match Members::parse(seconds.get()) {
        Some(halves) => {
            let (low, high) = (whole(halves.get("low")?)?, whole(halves.get("high")?)?);
            i64::from(i32::try_from(high).ok()?) << 32 | low & 0xffff_ffff
        }
        None => whole(seconds)?,
    };
    let nanos = members.get("nanos").filter(|raw| !members::is_null(raw)).map_or(Some(0), whole)?;
    instant(seconds.into(), nanos.into())
}

fn instant(seconds: i128, nanos: i128) -> Option<DateTime<Utc>> {
    if !(FIRST_SECOND..LAST_SECOND).contains(&seconds) || !(0..NANOS).contains(&nanos) {
        return None;
    }
    DateTime::from_timestamp(i64::try_from(seconds).ok()?, u32::try_from(nanos).ok()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(json: &str, precision: Precision) -> Option<String> {
        canonical("timestamp", &RawValue::from_string(json.to_owned()).expect("JSON"), precision).ok().flatten()
    }

    #[test]
    fn each_way_of_writing_a_time_is_the_same_time() {
        for json in [
            r#""2026-11-20T09:00:04.123456Z""#,
            r#""2026-11-20t09:00:04.123456z""#,
            r#""2026-11-20 09:00:04.123456Z""#,
            r#""2026-11-20T10:30:04.123456+01:30""#,
            r#""2026-11-20T10:00:04.123456+0100""#,
            r#""2026-11-20 09:00:04.123456 UTC""#,
            r#""2026-11-20 09:00:04.123456+00""#,
            r#""1.795165204123456E9""#,
            r#""1795165204.123456""#,
            "1795165204.123456",
            "1.795165204123456e+9",
            "1795165204123456",
            r#""1795165204123456000""#,
            r#"{"seconds": "1795165204", "nanos": 123456000}"#,
            r#"{"seconds": 1795165204, "nanos": "123456000"}"#,
            r#"{"seconds": {"low": 1795165204, "high": 0, "unsigned": false}, "nanos": 123456000}"#,
        ] {
            for precision in [Precision::Microseconds, Precision::Nanoseconds] {
                assert_eq!(read(json, precision).as_deref(), Some("2026-11-20T09:00:04.123456Z"), "{json}");
            }
        }
    }

    #[test]
    fn nanoseconds_are_kept_where_the_form_has_them() {
        let nanos = r#"{"seconds": "1795165204", "nanos": 123456789}"#;
        assert_eq!(read(nanos, Precision::Nanoseconds).as_deref(), Some("2026-11-20T09:00:04.123456789Z"));
        assert_eq!(
            read("1795165204.1234560013", Precision::Microseconds).as_deref(),
            Some("2026-11-20T09:00:04.123456Z")
        );
    }

    #[test]
    fn a_time_without_a_zone_is_only_one_in_bigquery() {
        let bare = r#""2026-11-20 09:00:04""#;
        assert_eq!(read(bare, Precision::Microseconds).as_deref(), Some("2026-11-20T09:00:04Z"));
        assert_eq!(read(bare, Precision::Nanoseconds), None);
    }

    #[test]
    fn what_is_no_time_is_refused() {
        for json in [
            "0",
            "-1",
            "true",
            "[]",
            "{}",
            r#""""#,
            r#""noon""#,
            "12",
            "1e40",
            "1e-40",
            r#""é-11-20 09:00:04""#,
            r#""2026-11-20é09:00:04Z""#,
            r#""2026-11-20T09:00:04+aéb""#,
            r#"{"seconds": "1795165204", "nanos": 1000000000}"#,
            r#"{"nanos": 1}"#,
            r#"{"seconds": 9223372036854775807}"#,
            r#""2026-13-20T09:00:04Z""#,
            r#""1e2147483647""#,
        ] {
            assert_eq!(read(json, Precision::Microseconds), None, "{json}");
        }
        assert_eq!(read("null", Precision::Microseconds), None);
    }
}
