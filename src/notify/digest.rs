//! Digests: one message that stands for many. Instead of a storm, where too many notices are due for one receiver; and once a
//! day, of what is open and of what was no message of its own. Pure, but for what reads the ledger.

use std::collections::BTreeMap;

use chrono::{DateTime, Duration, NaiveTime, Utc};
use chrono_tz::Tz;
use serde::Serialize;

use super::channel::{Channel, Channels};
use super::ledger::{Ledger, LedgerError};
use super::notice::{Addressed, Content, Notice, Progress, State};
use crate::id;
use crate::incident::{Deployment, Kind, Reason};
use crate::names;
use crate::policy::{AlertType, Severity};

/// Lines that a digest shows; it says how many more there are. A section of Slack holds 3,000 characters.
const LINES_MAX: usize = 20;

/// Notices that one digest stands for at most.
pub const NOTICES_MAX: u32 = 200;

/// A day's digest that nobody could make by then is left out: who was switched on late is told of now, not of this morning.
const LATE: Duration = Duration::hours(12);

/// One thing that a digest tells.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Line {
    /// What happened; `repeated` is what is still open.
    #[serde(with = "names::text")]
    pub kind: Kind,
    /// The rule.
    #[serde(with = "names::text")]
    pub rule: AlertType,
    /// How bad it is.
    #[serde(with = "names::text")]
    pub severity: Severity,
    /// Name of the cluster.
    pub cluster: String,
    /// Kubernetes namespace.
    pub namespace: String,
    /// Name of the Deployment.
    pub deployment: String,
    /// What is asked for, where that is known.
    pub value: Option<i64>,
    /// What it is held against.
    pub limit: Option<i64>,
    /// Since when, RFC 3339.
    pub began_at: String,
    /// Until when.
    pub ended_at: Option<String>,
}

impl From<&Content> for Line {
    fn from(content: &Content) -> Self {
        let Content { deployment, rule, severity, kind, value, limit, began_at, ended_at, .. } = content;
        Line {
            kind: *kind,
            rule: *rule,
            severity: *severity,
            cluster: deployment.cluster.clone(),
            namespace: deployment.namespace.clone(),
            deployment: deployment.name.clone(),
            value: *value,
            limit: *limit,
            began_at: id::time(*began_at),
            ended_at: ended_at.map(id::time),
        }
    }
}

/// What a digest says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Digest {
    /// Why it is one: `storm` or `daily`.
    #[serde(with = "names::text")]
    pub reason: Reason,
    /// As of when, RFC 3339.
    pub at: String,
    /// What is open, began, got worse or happened, with the gravest first.
    pub lines: Vec<Line>,
    /// Lines that are not shown.
    pub more: usize,
    /// How many things are open, in a day's digest; of a storm, how many notices it stands for.
    pub count: usize,
}

impl Digest {
    /// One of these lines.
    pub fn new(reason: Reason, mut lines: Vec<Line>, at: DateTime<Utc>) -> Self {
        let is_counted = |line: &&Line| reason == Reason::Storm || line.kind == Kind::Repeated;
        let count = lines.iter().filter(is_counted).count();
        lines.sort_by(|left, right| {
            let order = |line: &Line| (line.kind == Kind::Digest, std::cmp::Reverse(line.severity));
            order(left).cmp(&order(right)).then_with(|| left.began_at.cmp(&right.began_at))
        });
        let more = lines.len().saturating_sub(LINES_MAX);
        lines.truncate(LINES_MAX);
        Digest { reason, at: id::time(at), lines, more, count }
    }

    /// One that says nothing.
    pub fn is_empty(&self) -> bool {
        self.lines.is_empty()
    }

    /// One of each kind of line, for trying templates.
    pub fn sample() -> Self {
        let (step, deployment) = super::message::sample();
        let line = |kind| {
            let notice = Notice::new(&step, &deployment, "", String::new(), step.began_at);
            Line { kind, ..Line::from(&notice.content) }
        };
        Digest::new(Reason::Daily, vec![line(Kind::Repeated), line(Kind::Digest)], step.began_at)
    }
}

/// The notice that carries a digest, in words of its receiver. The same one has the same id, whoever makes it.
pub fn notice(addressed: Addressed, digest: &Digest, id: String, now: DateTime<Utc>) -> Notice {
    let Addressed { receiver, to, body, instead } = addressed;
    Notice {
        notification_id: id.clone(),
        // A conversation of its own.
        incident_id: id,
        receiver,
        seq: 1,
        created_at: now,
        content: Content {
            deployment: Deployment::default(),
            rule: digest.lines.first().map_or(AlertType::OverLimit, |line| line.rule),
            severity: digest.lines.iter().map(|line| line.severity).max().unwrap_or(Severity::Info),
            kind: Kind::Digest,
            reason: digest.reason,
            began_at: now,
            ended_at: None,
            value: i64::try_from(digest.count).ok(),
            limit: None,
            silence_id: None,
            to,
            instead,
            body,
        },
        // Of a day on which there is nothing to say, the record says that it was looked at.
        progress: Progress::new(if digest.is_empty() { State::Superseded } else { State::Pending }, now),
    }
}

/// Makes one digest of what is due for a receiver, where that is more than so many. What somebody is sending, or what may have
/// arrived, goes its own way. How many are due behind that.
///
/// # Errors
/// [`LedgerError`] when the ledger does not work, or somebody else was faster; trying again is safe.
pub async fn gather(
    ledger: &dyn Ledger,
    channels: &Channels,
    channel: &Channel,
    now: DateTime<Utc>,
) -> Result<usize, LedgerError> {
    let due = ledger.due_notices(&channel.name, now, NOTICES_MAX).await?;
    let (count, above) = (due.len(), channels.digest_above);
    if !channel.is_read_by_people() || above == 0 || count <= above {
        return Ok(count);
    }
    let mut gathered = 0;
    for ((to, fallbacks), notices) in by_address(due) {
        if notices.len() > above {
            let lines = notices.iter().map(|notice| Line::from(&notice.content)).collect();
            let ids: Vec<&str> = notices.iter().map(|notice| notice.notification_id.as_str()).collect();
            let id = id::id(&["storm", &channel.name, &ids.join(",")]);
            let digest = Digest::new(Reason::Storm, lines, now);
            let mut addressed = channels.digest(channel, to, &digest);
            if !fallbacks.is_empty() {
                addressed.instead = channels.digest_instead(&fallbacks, &digest);
            }
            let digest = notice(addressed, &digest, id, now);
            match ledger.gather(&digest, &notices).await {
                Ok(()) => gathered += notices.len() - 1,
                // Somebody else is at some of them; what is left is looked at again.
                Err(LedgerError::Conflict) => {}
                Err(error) => return Err(error),
            }
        }
    }
    Ok(count - gathered)
}

/// Who stands in, and where that is told.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Fallback {
    /// The name of the receiver.
    pub receiver: String,
    /// See [`Content::to`].
    pub to: Vec<String>,
}

/// Those that a digest may stand for, by whom they go to; where a team stands in, by that too.
fn by_address(notices: Vec<Notice>) -> BTreeMap<(Vec<String>, Vec<Fallback>), Vec<Notice>> {
    let mut groups: BTreeMap<_, Vec<Notice>> = BTreeMap::new();
    for notice in notices.into_iter().filter(Notice::may_be_gathered) {
        let chain = std::iter::successors(notice.content.instead.as_deref(), |addressed| addressed.instead.as_deref());
        let fallback = |one: &Addressed| Fallback { receiver: one.receiver.clone(), to: one.to.clone() };
        let mut fallbacks: Vec<Fallback> = chain.map(fallback).collect();
        if fallbacks.iter().all(|fallback| fallback.to.is_empty()) {
            // They are as the configuration has them.
            fallbacks.clear();
        }
        groups.entry((notice.content.to.clone(), fallbacks)).or_default().push(notice);
    }
    groups
}

/// When the last digest of a day was due, unless that is too long ago.
pub fn last_due(at: NaiveTime, timezone: Tz, now: DateTime<Utc>) -> Option<DateTime<Utc>> {
    let today = now.with_timezone(&timezone).date_naive();
    // Where clocks are put forward over that time, it is the time behind the gap.
    let on = |date: chrono::NaiveDate| {
        let local = date.and_time(at);
        let exact = local.and_local_timezone(timezone).earliest();
        exact.or_else(|| (local + Duration::hours(1)).and_local_timezone(timezone).earliest()).map(|time| time.to_utc())
    };
    let days = [Some(today), today.pred_opt()];
    let due = days.into_iter().flatten().filter_map(on).find(|due| *due <= now)?;
    (now - due < LATE).then_some(due)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_day_s_digest_is_due_by_the_clock_of_its_zone_and_for_half_a_day() {
        let time = |text: &str| crate::time::read(text).expect("a time");
        let at = NaiveTime::from_hms_opt(8, 30, 0).expect("a time");
        let berlin: Tz = "Europe/Berlin".parse().expect("a zone");
        for (now, expected) in [
            ("2026-09-04T06:29:59Z", None),
            ("2026-09-04T06:30:00Z", Some("2026-09-04T06:30:00Z")),
            ("2026-09-04T18:29:59Z", Some("2026-09-04T06:30:00Z")),
            ("2026-09-04T18:30:00Z", None),
            // Winter time.
            ("2026-12-04T07:30:00Z", Some("2026-12-04T07:30:00Z")),
        ] {
            assert_eq!(last_due(at, berlin, time(now)), expected.map(time), "{now}");
        }
        // Clocks are put forward from 2 to 3.
        let gap = NaiveTime::from_hms_opt(2, 30, 0).expect("a time");
        assert_eq!(last_due(gap, berlin, time("2026-03-29T05:00:00Z")), Some(time("2026-03-29T01:30:00Z")));
    }

    #[test]
    fn a_digest_shows_the_gravest_and_says_how_many_more_there_are() {
        let line = Digest::sample().lines.remove(0);
        let lines = (0..30).map(|number| Line {
            severity: if number == 29 { Severity::Critical } else { Severity::Info },
            ..line.clone()
        });
        let digest = Digest::new(Reason::Storm, lines.collect(), DateTime::UNIX_EPOCH);
        assert_eq!((digest.lines.len(), digest.more, digest.count), (20, 10, 30));
        assert_eq!(digest.lines.first().map(|line| line.severity), Some(Severity::Critical));
    }
}
