//! What every client of another service says alike: an error with its causes, when to come again, a text in a URL.

use std::error::Error;

use chrono::{DateTime, TimeDelta, Utc};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC};

/// All but what never has a meaning in a URL: <https://www.rfc-editor.org/rfc/rfc3986#section-2.3>.
pub const IN_A_URL: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

/// An error with its causes: those that HTTP clients have say nothing at their top.
pub fn chain(error: &(dyn Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let said = error.to_string();
        if !text.contains(&said) {
            text.push_str(": ");
            text.push_str(&said);
        }
        cause = error.source();
    }
    text
}

/// How long from now `Retry-After` asks to wait, in seconds or until a date, which may be past; `None` where it is neither:
/// <https://www.rfc-editor.org/rfc/rfc9110#field.retry-after>.
pub fn retry_after(value: &str, now: DateTime<Utc>) -> Option<TimeDelta> {
    let seconds = || TimeDelta::try_seconds(value.trim().parse::<u32>().ok()?.into());
    seconds().or_else(|| Some(DateTime::parse_from_rfc2822(value).ok()?.to_utc() - now))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_refuses_says_when_to_come_again_in_seconds_or_as_a_date() {
        let now = crate::time::read("2026-09-04T20:41:00Z").expect("a time");
        for (value, seconds) in [
            ("120", Some(120)),
            (" 3 ", Some(3)),
            ("Fri, 04 Sep 2026 20:42:00 GMT", Some(60)),
            ("Fri, 04 Sep 2026 20:40:00 GMT", Some(-60)),
            ("soon", None),
            ("-1", None),
            ("99999999999", None),
        ] {
            assert_eq!(retry_after(value, now), seconds.map(TimeDelta::seconds), "{value}");
        }
    }
}
