//! One notice: what one receiver is told of one step, and how far that has come. Pure.

use chrono::{DateTime, Duration, Utc};
use serde::{Deserialize, Serialize};

use crate::id;
use crate::incident::{Deployment, Kind, Reason, Step};
use crate::names::named;
use crate::policy::{AlertType, Severity};

named! {
    /// How far a notice has come.
    pub enum State {
        /// It is to be sent.
        Pending = "pending",
        /// Somebody is sending it, or died of it.
        Sending = "sending",
        /// It was sent.
        Sent = "sent",
        /// Its receiver refused it for good, or could not be reached for too long.
        Failed = "failed",
        /// A silence held it back.
        Silenced = "silenced",
        /// What it tells was over before it was sent.
        Superseded = "superseded",
        /// It waits for the next digest of a day, and is no message of its own.
        Collected = "collected",
        /// A digest tells it.
        Digested = "digested",
    }
}

impl State {
    /// Whether something will still become of it.
    pub fn is_open(self) -> bool {
        matches!(self, State::Pending | State::Sending)
    }
}

/// What is told; it never changes, so that a retry says the same words.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Content {
    /// About which Deployment.
    pub deployment: Deployment,
    /// The rule.
    #[serde(with = "crate::names::text")]
    pub rule: AlertType,
    /// How bad it is.
    #[serde(with = "crate::names::text")]
    pub severity: Severity,
    /// What is told.
    #[serde(with = "crate::names::text")]
    pub kind: Kind,
    /// Why.
    #[serde(with = "crate::names::text")]
    pub reason: Reason,
    /// Since when the condition holds.
    pub began_at: DateTime<Utc>,
    /// When it stopped holding.
    pub ended_at: Option<DateTime<Utc>>,
    /// What is asked for.
    pub value: Option<i64>,
    /// The limit.
    pub limit: Option<i64>,
    /// The silence that holds it back.
    pub silence_id: Option<String>,
    /// Where the receiver sends it, where that is for the team to say; as it was when the notice was made.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub to: Vec<String>,
    /// Who is told instead, should this receiver not be: in words that were made then too.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub instead: Option<Box<Addressed>>,
    /// The message in the receiver's own form, rendered when the notice was made.
    pub body: String,
}

/// Who is told something, in which words, and where.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Addressed {
    /// The name of the receiver.
    pub receiver: String,
    /// See [`Content::to`].
    pub to: Vec<String>,
    /// See [`Content::body`].
    pub body: String,
    /// See [`Content::instead`].
    pub instead: Option<Box<Addressed>>,
}

/// How far it has come. Every change of it is made by a function of this file, whichever ledger keeps it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Progress {
    /// How far.
    pub state: State,
    /// How often it was begun to be sent.
    pub attempts: u32,
    /// When it is to be looked at next: the next attempt, or the end of a lease. `None` when nothing will become of it.
    pub due_at: Option<DateTime<Utc>>,
    /// Who is sending it.
    pub owner: Option<String>,
    /// Whether an earlier attempt may have arrived.
    pub unsure: bool,
    /// What was wrong with the last attempt.
    pub last_error: Option<String>,
    /// What its receiver calls it: a later notice of the incident may refer to it.
    pub provider_ref: Option<String>,
    /// When it was sent.
    pub sent_at: Option<DateTime<Utc>>,
}

/// One notice.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Notice {
    /// Its identity: incident, step, the step's value and receiver; where it stands in for another, see [`Notice::instead`].
    pub notification_id: String,
    /// The incident.
    pub incident_id: String,
    /// The name of its receiver.
    pub receiver: String,
    /// Its place among the notices of its incident.
    pub seq: u32,
    /// When it was made.
    pub created_at: DateTime<Utc>,
    /// What is told.
    pub content: Content,
    /// How far it has come.
    pub progress: Progress,
}

/// What became of an attempt.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// The receiver has it, under this name if it gave one.
    Sent {
        /// See [`Progress::provider_ref`].
        provider_ref: Option<String>,
    },
    /// The receiver will never take it.
    Refused {
        /// Why, without what is secret.
        why: String,
    },
    /// It may work later.
    Later {
        /// Why, without what is secret.
        why: String,
        /// Not earlier than after this time.
        after: Option<Duration>,
        /// Whether it may have arrived all the same.
        unsure: bool,
    },
}

impl Outcome {
    /// What metrics call it.
    pub fn name(&self) -> &'static str {
        match self {
            Outcome::Sent { .. } => "sent",
            Outcome::Refused { .. } => "refused",
            Outcome::Later { .. } => "later",
        }
    }
}

/// How long attempts go on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Patience {
    /// How long an attempt is its owner's. After a kill it takes as long until another goes on.
    pub lease: Duration,
    /// How long after it was made a notice fails that cannot be sent.
    pub give_up_after: Duration,
}

/// The first wait; each is twice as long as the one before.
const BACKOFF_FIRST: Duration = Duration::seconds(5);

/// The longest wait.
const BACKOFF_MAX: Duration = Duration::minutes(10);

/// How much is kept of what a receiver says.
const ERROR_MAX_CHARS: usize = 300;

impl Notice {
    /// The notice of a step for one receiver.
    pub fn new(step: &Step, deployment: &Deployment, receiver: &str, body: String, now: DateTime<Utc>) -> Self {
        let kind = step.kind.to_string();
        let state = match step.kind {
            _ if step.silenced_by.is_some() => State::Silenced,
            Kind::Digest => State::Collected,
            _ => State::Pending,
        };
        Notice {
            notification_id: id::id(&[&step.incident_id, &kind, &step.step_value, receiver]),
            incident_id: step.incident_id.clone(),
            receiver: receiver.to_owned(),
            seq: step.seq,
            created_at: now,
            content: Content {
                deployment: deployment.clone(),
                rule: step.rule,
                severity: step.severity,
                kind: step.kind,
                reason: step.reason,
                began_at: step.began_at,
                ended_at: step.ended_at,
                value: step.value,
                limit: step.limit,
                silence_id: step.silenced_by.clone(),
                to: Vec::new(),
                instead: None,
                body,
            },
            progress: Progress::new(state, now),
        }
    }

    /// The notice of a step for somebody, wherever that is.
    pub fn addressed(step: &Step, deployment: &Deployment, addressed: Addressed, now: DateTime<Utc>) -> Self {
        let Addressed { receiver, to, body, instead } = addressed;
        let mut notice = Notice::new(step, deployment, &receiver, body, now);
        notice.content.to = to;
        notice.content.instead = instead;
        notice
    }

    /// What the receiver that stands in is told, given all notices of the incident and this receiver: where this one failed;
    /// and of an end, where one of those before failed, so that who heard of the beginning hears of it.
    pub fn instead(&self, siblings: &[Notice], now: DateTime<Utc>) -> Option<Notice> {
        let has_failed = |notice: &Notice| notice.progress.state == State::Failed;
        let is_known_there = || {
            self.content.kind == Kind::Recovered
                && siblings.iter().any(|other| other.seq < self.seq && has_failed(other))
        };
        let addressed = self.content.instead.as_deref().filter(|_| has_failed(self) || is_known_there())?;
        let Addressed { receiver, to, body, instead } = addressed.clone();
        // Of the step, not of this notice: two that fail tell who stands in for both once.
        let (kind, seq) = (self.content.kind.to_string(), self.seq.to_string());
        let began_at = id::time(self.content.began_at);
        Some(Notice {
            notification_id: id::id(&["instead", &self.incident_id, &kind, &seq, &began_at, &receiver, &to.join(",")]),
            incident_id: self.incident_id.clone(),
            receiver,
            seq: self.seq,
            created_at: now,
            content: Content { to, body, instead, ..self.content.clone() },
            progress: Progress::new(State::Pending, now),
        })
    }

    /// Whether a digest may tell it: nobody is at it, and it has not arrived. An end that somebody who stands in may have to
    /// hear is told by itself.
    pub fn may_be_gathered(&self) -> bool {
        let is_of_its_own = match self.content.kind {
            Kind::Digest => true,
            Kind::Recovered => self.content.instead.is_some(),
            _ => false,
        };
        self.progress.state == State::Pending && !self.progress.unsure && !is_of_its_own
    }

    /// A digest tells it.
    pub fn gathered(&mut self) {
        self.progress.close(State::Digested);
    }

    /// Whether it is time to do something about it.
    pub fn is_due(&self, now: DateTime<Utc>) -> bool {
        self.progress.state.is_open() && self.progress.due_at.is_some_and(|due| due <= now)
    }

    /// Makes somebody its owner for the time of the lease, where it is their turn: given all notices of its incident and
    /// receiver, one is sent after the other.
    pub fn take_turn(&mut self, siblings: &[Notice], owner: &str, patience: &Patience, now: DateTime<Utc>) -> Turn {
        let earlier = || siblings.iter().filter(|other| other.seq < self.seq);
        let before = earlier().filter(|other| other.progress.state.is_open()).min_by_key(|other| other.seq);
        if let Some(before) = before {
            let due_at = before.progress.due_at.unwrap_or(now);
            self.progress.due_at = Some(due_at.max(now + Duration::seconds(1)));
            return Turn::Later;
        }
        // Nobody was told that it began.
        let is_told = |other: &Notice| matches!(other.progress.state, State::Sent | State::Digested);
        let is_news = self.content.kind != Kind::Recovered || earlier().any(is_told);
        if !is_news {
            self.progress.close(State::Superseded);
            return Turn::Never;
        }
        self.progress.unsure |= self.progress.state == State::Sending;
        self.progress.state = State::Sending;
        self.progress.attempts += 1;
        self.progress.owner = Some(owner.to_owned());
        self.progress.due_at = Some(now + patience.lease);
        Turn::Now
    }

    /// Whether this owner may still say what became of its attempt.
    pub fn is_owned_by(&self, owner: &str, attempt: u32) -> bool {
        let Progress { state, attempts, owner: owned_by, .. } = &self.progress;
        *state == State::Sending && *attempts == attempt && owned_by.as_deref() == Some(owner)
    }

    /// Notes what became of an attempt.
    pub fn settle(&mut self, outcome: &Outcome, patience: &Patience, now: DateTime<Utc>) {
        let shortened = |why: &str| Some(why.chars().take(ERROR_MAX_CHARS).collect());
        match outcome {
            Outcome::Sent { provider_ref } => {
                self.progress.close(State::Sent);
                self.progress.provider_ref.clone_from(provider_ref);
                self.progress.sent_at = Some(now);
            }
            Outcome::Refused { why } => {
                self.progress.close(State::Failed);
                self.progress.last_error = shortened(why);
            }
            Outcome::Later { why, after, unsure } => {
                self.progress.unsure |= unsure;
                self.progress.last_error = shortened(why);
                let due_at = now + self.backoff().max(after.unwrap_or_default());
                if due_at - self.created_at > patience.give_up_after {
                    self.progress.close(State::Failed);
                } else {
                    self.progress.state = State::Pending;
                    self.progress.owner = None;
                    self.progress.due_at = Some(due_at);
                }
            }
        }
    }

    /// What it tells is over: it need not be sent, unless it may have arrived already. Whether it was taken back.
    pub fn supersede(&mut self) -> bool {
        let is_unsent = self.progress.state == State::Pending && !self.progress.unsure;
        if is_unsent {
            self.progress.close(State::Superseded);
        }
        is_unsent
    }

    /// The one before it is done.
    pub fn wake(&mut self, now: DateTime<Utc>) -> bool {
        let waits = self.progress.state == State::Pending && self.progress.attempts == 0;
        if waits {
            self.progress.due_at = Some(now);
        }
        waits
    }

    /// Begins anew with what failed. Whether it had.
    pub fn retry(&mut self, now: DateTime<Utc>) -> bool {
        let has_failed = self.progress.state == State::Failed;
        if has_failed {
            self.progress.state = State::Pending;
            self.progress.attempts = 0;
            self.progress.due_at = Some(now);
        }
        has_failed
    }

    /// How long to wait after the last attempt: up to a quarter less than twice the time before, so that those who failed
    /// together do not come back together.
    fn backoff(&self) -> Duration {
        let doublings = self.progress.attempts.saturating_sub(1).min(16);
        let full = (BACKOFF_FIRST * 2_i32.pow(doublings)).min(BACKOFF_MAX);
        let chance = id::id(&[&self.notification_id, &self.progress.attempts.to_string()]);
        let share = chance.get(..2).and_then(|digits| i32::from_str_radix(digits, 16).ok()).unwrap_or_default();
        full - full / 4 * share / 255
    }
}

impl Progress {
    /// At the beginning.
    pub fn new(state: State, now: DateTime<Utc>) -> Self {
        Progress {
            state,
            attempts: 0,
            due_at: state.is_open().then_some(now),
            owner: None,
            unsure: false,
            last_error: None,
            provider_ref: None,
            sent_at: None,
        }
    }

    fn close(&mut self, state: State) {
        self.state = state;
        self.due_at = None;
        self.owner = None;
    }
}

/// Whether a notice's turn has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Turn {
    /// It is its owner's now.
    Now,
    /// An earlier one of its incident is not done yet.
    Later,
    /// There is nothing to tell any more.
    Never,
}
