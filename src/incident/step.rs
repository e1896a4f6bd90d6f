//! The step: from what is known, what was told and what came, to what is to be told next.

use chrono::{DateTime, Duration, Utc};

use super::condition::{Asks, Condition, has_end};
use super::document::{Document, Incident, Told};
use super::hpa::HpaStanding;
use super::known::Standing;
use super::once::tell_once;
use super::order::Sighting;
use crate::id;
use crate::names::{Named, named};
use crate::ped::limits::Limit;
use crate::policy::{AlertType, Policy, Severity};

/// How long things are waited for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Settings {
    /// A condition has to hold so long before it is told.
    pub hold: Duration,
    /// It has to be over so long before that is told; again within that time, the incident goes on.
    pub flap: Duration,
    /// A rule without an end is told once in this time.
    pub suppress: Duration,
    /// What is open and acknowledged by nobody is told again after this time; `None`: never.
    pub repeat_every: Option<Duration>,
    /// What is older when it arrives is no news.
    pub max_age: Duration,
}

/// How long what lies behind lies still before it is looked at: a backlog has passed by then.
const SWEEP_AFTER: Duration = Duration::hours(1);

/// What a step goes by besides the document.
#[derive(Debug, Clone, Copy)]
pub struct Context<'c> {
    /// The present.
    pub now: DateTime<Utc>,
    /// The limit in force now; `None` where no version of the PED is.
    pub limit: Option<&'c Limit>,
    /// The rules, with their severities.
    pub policy: &'c Policy,
    /// How long things are waited for.
    pub settings: &'c Settings,
    /// The silences in force now that match the Deployment.
    pub silences: &'c [Silence],
    /// The last ends of what the Deployment is in.
    pub ended: Ended,
}

/// When all objects of a kind in a namespace ended, or its cluster with everything in it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Ended {
    /// The Deployments.
    pub deployments: Option<DateTime<Utc>>,
    /// The HPAs.
    pub hpas: Option<DateTime<Utc>>,
}

/// A silence that is in force and matches a Deployment, for the rules and severities that it names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Silence {
    /// Its identity.
    pub silence_id: String,
    /// What it holds back.
    pub rules: Vec<(AlertType, Severity)>,
}

impl Context<'_> {
    /// The silence that holds a rule back.
    pub(super) fn silence(&self, rule: AlertType, severity: Severity) -> Option<&str> {
        let found = self.silences.iter().find(|silence| silence.rules.contains(&(rule, severity)));
        found.map(|silence| silence.silence_id.as_str())
    }
}

/// What comes to a document.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Input {
    /// An entry, or a row of a snapshot, about the Deployment's own object.
    Own(Sighting),
    /// An entry about an HPA that aims at it, or did: what that asks for now, `None` where it is gone or turned away.
    Hpa {
        /// The HPA's name.
        name: String,
        /// What it asks for.
        standing: Option<Box<HpaStanding>>,
        /// The entry.
        by: Sighting,
    },
    /// The limits, or the silences, are others: a version was registered, begins or ends.
    Limits,
    /// Something may be due.
    Timer,
    /// The hourly look at what lies still.
    Sweep,
}

impl Input {
    /// The entry, where one came.
    fn sighting(&self) -> Option<&Sighting> {
        match self {
            Input::Own(sighting) | Input::Hpa { by: sighting, .. } => Some(sighting),
            Input::Limits | Input::Timer | Input::Sweep => None,
        }
    }
}

named! {
    /// What is told.
    pub enum Kind {
        /// The condition holds.
        Opened = "opened",
        /// It is further over than was told, or more severe.
        Worsened = "worsened",
        /// It is over.
        Recovered = "recovered",
        /// It still holds, and nobody took it on.
        Repeated = "repeated",
        /// A rule without an end.
        Once = "once",
        /// A line in the next digest.
        Digest = "digest",
    }
}

named! {
    /// Why it is told.
    pub enum Reason {
        /// It has just begun.
        Began = "began",
        /// It holds since long before anybody could be told.
        HeldSince = "held_since",
        /// A silence is over that held it back.
        SilenceEnded = "silence_ended",
        /// It is further over than was told.
        FurtherOver = "further_over",
        /// It is more severe than was told.
        MoreSevere = "more_severe",
        /// It is over, and was for as long as was to be waited.
        Over = "over",
        /// It was over before it was told.
        Healed = "healed",
        /// It has been open for so long.
        StillOpen = "still_open",
        /// Somebody wrote something.
        Written = "written",
        /// So much was to be told at once that one message tells it.
        Storm = "storm",
        /// It is the time of the day for it.
        Daily = "daily",
    }
}

/// Something that is to be told, or that a silence holds back.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Step {
    /// The incident.
    pub incident_id: String,
    /// Its rule.
    pub rule: AlertType,
    /// How bad it is.
    pub severity: Severity,
    /// What is told.
    pub kind: Kind,
    /// Why.
    pub reason: Reason,
    /// Tells it from other steps of its kind in its incident; of what is repeated and told once, when it was due.
    pub step_value: String,
    /// Its place among the steps of its incident, from 1.
    pub seq: u32,
    /// Since when the condition holds.
    pub began_at: DateTime<Utc>,
    /// When it stopped holding.
    pub ended_at: Option<DateTime<Utc>>,
    /// What is asked for, where that is known.
    pub value: Option<i64>,
    /// The limit that it is held against.
    pub limit: Option<i64>,
    /// The highest value since it began.
    pub highest: Option<i64>,
    /// Who set the number, and from what.
    pub standing: Option<Standing>,
    /// The silence that holds it back: it is kept for the count, and not sent.
    pub silenced_by: Option<String>,
}

impl Document {
    /// Takes in what came, and says what is to be told. Taking it in again says nothing.
    pub fn step(&mut self, input: &Input, context: &Context<'_>) -> Vec<Step> {
        let news = self.take(input);
        let age = input.sighting().map(|sighting| context.now - sighting.state.place.time);
        if age.is_some_and(|age| age > context.settings.max_age) {
            self.is_behind = true;
        } else if *input != Input::Timer {
            self.is_behind = false;
        }
        if self.is_behind {
            return Vec::new();
        }
        let rules = AlertType::ALL.iter().copied().filter(|rule| has_end(*rule));
        let came = input.sighting().map(|sighting| sighting.state.place.time);
        let mut steps: Vec<Step> = rules.flat_map(|rule| self.step_rule(rule, came, context)).collect();
        if let Some(news) = news {
            steps.extend(tell_once(self, news, context));
        }
        steps
    }

    /// When something is due next, if nothing else comes; at a time that is past: at once. Of what lies behind, the sweep.
    pub fn due_at(&self, settings: &Settings, now: DateTime<Utc>) -> Option<DateTime<Utc>> {
        if self.is_behind {
            return Some(now + SWEEP_AFTER);
        }
        let due = |incident: &Incident| match (&incident.told, incident.over_at) {
            (_, Some(over_at)) => Some(over_at + settings.flap),
            (None, None) => Some(incident.holds_since + settings.hold),
            (Some(_), None) if incident.acknowledged.is_some() => None,
            (Some(told), None) => Some(told.at + settings.repeat_every?),
        };
        self.incidents.iter().filter(|incident| incident.held_back.is_none()).filter_map(due).min()
    }

    /// Keeps what came. An entry that is now the newest state of its object, and was not before, is news.
    fn take<'i>(&mut self, input: &'i Input) -> Option<&'i Sighting> {
        match input {
            Input::Own(sighting) => {
                let was_newest = self.own.is_newest(sighting);
                self.own.see(sighting);
                (!was_newest && self.own.is_newest(sighting)).then_some(sighting)
            }
            Input::Hpa { name, standing, by } => {
                let before = self.hpas.remove(name);
                if let Some(standing) = standing {
                    self.hpas.insert(name.clone(), (**standing).clone());
                }
                let is_set_by = |hpa: Option<&HpaStanding>| {
                    hpa.is_some_and(|hpa| hpa.standing.set_by.place.event_id == by.state.place.event_id)
                };
                (!is_set_by(before.as_ref()) && is_set_by(standing.as_deref())).then_some(by)
            }
            Input::Limits | Input::Timer | Input::Sweep => None,
        }
    }

    fn step_rule(&mut self, rule: AlertType, came: Option<DateTime<Utc>>, context: &Context<'_>) -> Vec<Step> {
        // Nothing moves while a rule is off.
        let Some(severity) = context.policy.severity.get(rule) else { return Vec::new() };
        let open = self.incidents.iter().position(|incident| incident.rule == rule);
        let open = open.map(|index| self.incidents.swap_remove(index));
        let asks = Asks::of(self, context);
        let condition = asks.condition(rule, open.as_ref());
        let is_hidden = asks.hides(rule);
        let (closing, incident) = match (open, condition) {
            (None, None) => return Vec::new(),
            (None, Some(condition)) => (None, self.begin(rule, condition, severity, context)),
            (Some(incident), Some(condition)) if incident.goes_on(&condition, context) => {
                (None, incident.holding(condition, severity, context))
            }
            (Some(incident), Some(condition)) => {
                (incident.close(context).1, self.begin(rule, condition, severity, context))
            }
            (Some(incident), None) if is_hidden => (None, incident),
            (Some(incident), None) => {
                let over_at = asks.over_since(incident.holds_since, came);
                (None, incident.over(over_at))
            }
        };
        let (open, step) = incident.tell(context);
        self.incidents.extend(open);
        closing.into_iter().chain(step).collect()
    }

    fn begin(&mut self, rule: AlertType, condition: Condition, severity: Severity, context: &Context<'_>) -> Incident {
        self.begun += 1;
        // The writer's clock may be ahead of ours.
        let since = condition.since.min(context.now);
        Incident {
            incident_id: condition.incident_id(rule, &self.deployment, self.begun),
            rule,
            severity,
            began_at: since,
            holds_since: since,
            value: condition.value,
            limit: condition.limit,
            excess: condition.excess,
            highest: condition.value,
            standing: condition.standing,
            over_at: None,
            told: None,
            held_back: None,
            acknowledged: None,
            assigned: None,
            seq: 0,
        }
    }
}

impl Incident {
    /// Whether a condition that holds is this incident's: it never stopped holding, or a moment ago. What could not be told to
    /// be over goes on too, so that nothing is opened twice.
    fn goes_on(&self, condition: &Condition, context: &Context<'_>) -> bool {
        let is_untold = || self.told.is_some() && context.silence(self.rule, self.severity).is_some();
        self.over_at.is_none_or(|over_at| condition.since - over_at < context.settings.flap || is_untold())
    }

    /// With what holds now.
    fn holding(mut self, condition: Condition, severity: Severity, context: &Context<'_>) -> Self {
        if self.over_at.take().is_some() {
            self.holds_since = condition.since.min(context.now);
        }
        self.severity = severity;
        self.highest = self.highest.max(condition.value);
        Incident {
            value: condition.value,
            limit: condition.limit,
            excess: condition.excess,
            standing: condition.standing,
            ..self
        }
    }

    fn over(mut self, at: DateTime<Utc>) -> Self {
        self.over_at.get_or_insert(at);
        self
    }

    /// What is to be told of it now, and the incident unless that closes it.
    fn tell(mut self, context: &Context<'_>) -> (Option<Self>, Option<Step>) {
        let Settings { hold, flap, repeat_every, max_age, .. } = *context.settings;
        if let Some(over_at) = self.over_at {
            return if context.now - over_at < flap { (Some(self), None) } else { self.close(context) };
        }
        let held = context.now - self.holds_since;
        let furthest = format!("{} {}", self.excess, self.severity);
        let repeated = |told: &Told| repeat_every.map(|every| told.at + every).filter(|due| *due <= context.now);
        let step = match self.told.clone() {
            None if held < hold => None,
            None if held > max_age => self.emit(Kind::Opened, Reason::HeldSince, String::new(), context),
            None => self.emit(Kind::Opened, Reason::Began, String::new(), context),
            Some(told) if self.excess > told.excess => {
                self.emit(Kind::Worsened, Reason::FurtherOver, furthest, context)
            }
            Some(told) if self.severity > told.severity => {
                self.emit(Kind::Worsened, Reason::MoreSevere, furthest, context)
            }
            Some(told) => match repeated(&told).filter(|_| self.acknowledged.is_none()) {
                Some(due) => self.emit(Kind::Repeated, Reason::StillOpen, id::time(due), context),
                None => None,
            },
        };
        if context.silence(self.rule, self.severity).is_none() {
            self.held_back = None;
        }
        (Some(self), step)
    }

    /// Ends it: what was told is told to be over, what was not is a line in the digest. Under a silence it stays.
    fn close(mut self, context: &Context<'_>) -> (Option<Self>, Option<Step>) {
        let is_silenced = context.silence(self.rule, self.severity).is_some();
        match self.told {
            Some(_) => {
                let step = self.emit(Kind::Recovered, Reason::Over, String::new(), context);
                (Some(self).filter(|_| is_silenced), step)
            }
            // Its silence has counted it.
            None if self.held_back.is_some() || is_silenced => (None, None),
            None => (None, self.emit(Kind::Digest, Reason::Healed, String::new(), context)),
        }
    }

    /// A step, which a silence may hold back: once, however often it is looked at.
    fn emit(&mut self, kind: Kind, reason: Reason, step_value: String, context: &Context<'_>) -> Option<Step> {
        let Some(silence) = context.silence(self.rule, self.severity) else {
            let was_held_back = self.held_back.take().is_some();
            let reason = if was_held_back { Reason::SilenceEnded } else { reason };
            let (excess, severity) = (self.excess, self.severity);
            let told = self.told.get_or_insert(Told { excess, severity, at: context.now });
            *told = Told { excess: told.excess.max(excess), severity: told.severity.max(severity), at: context.now };
            return Some(self.step(kind, reason, step_value, None));
        };
        // Not the id of what is sent when the silence is over.
        let step_value = format!("{step_value} {silence}");
        let held_back = format!("{kind} {step_value}");
        if self.held_back.as_ref() == Some(&held_back) {
            return None;
        }
        self.held_back = Some(held_back);
        Some(self.step(kind, reason, step_value, Some(silence)))
    }

    fn step(&mut self, kind: Kind, reason: Reason, step_value: String, silence: Option<&str>) -> Step {
        self.seq += 1;
        Step {
            incident_id: self.incident_id.clone(),
            rule: self.rule,
            severity: self.severity,
            kind,
            reason,
            step_value,
            seq: self.seq,
            began_at: self.began_at,
            ended_at: self.over_at,
            value: self.value,
            limit: self.limit,
            highest: self.highest,
            standing: self.standing.clone(),
            silenced_by: silence.map(str::to_owned),
        }
    }
}
