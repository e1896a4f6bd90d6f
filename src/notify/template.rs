//! Templates: how a message reads in each receiver's own form. Built in, in English and Chinese; a file may take the place of
//! each. A name that no message has is refused when a template is taken in, not when something is to be told.

use chrono::{DateTime, Utc};
use chrono_tz::Tz;
use minijinja::value::Serde;
use minijinja::{AutoEscape, Environment, Error, Output, State, UndefinedBehavior, Value};
use serde::Serialize;

use super::digest::Digest;
use super::message::Message;
use crate::names::{Named, named};
use crate::shown::Shown;

named! {
    /// Which language messages are in.
    pub enum Language {
        /// English.
        English = "en",
        /// Chinese, in simplified characters.
        Chinese = "zh",
    }
}

named! {
    /// The form in which a receiver takes text; each escapes what would have a meaning in it.
    pub enum Form {
        /// Slack's mrkdwn.
        Slack = "slack",
        /// Plain text.
        Text = "txt",
    }
}

/// The built-in templates: the same sentences, in each form with its own marks.
const BUILT_IN: [(Language, &str); 2] =
    [(Language::English, include_str!("template/en.jinja")), (Language::Chinese, include_str!("template/zh.jinja"))];

/// As they are, for digests.
const BUILT_IN_DIGESTS: [(Language, &str); 2] = [
    (Language::English, include_str!("template/digest_en.jinja")),
    (Language::Chinese, include_str!("template/digest_zh.jinja")),
];

/// What templates may use besides a message's own names.
const GIVEN: [&str; 7] = ["form", "range", "dict", "namespace", "debug", "loop", "self"];

/// What a template is given.
#[derive(Serialize)]
struct Values<'m> {
    form: &'static str,
    #[serde(flatten)]
    message: &'m Message,
}

/// What a digest's template is given.
#[derive(Serialize)]
struct DigestValues<'d> {
    form: &'static str,
    #[serde(flatten)]
    digest: &'d Digest,
}

/// A template that is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("line {line}: {message}")]
pub struct TemplateFault {
    /// Line, from 1.
    pub line: usize,
    /// What is wrong and what would be right.
    pub message: String,
}

/// The templates in use.
#[derive(Debug)]
pub struct Templates {
    environment: Environment<'static>,
}

impl Templates {
    /// The built-in ones of a language; times are shown in a zone.
    ///
    /// # Errors
    /// Never, as a test shows.
    pub fn new(language: Language, timezone: Tz) -> Result<Self, TemplateFault> {
        let mut environment = Environment::new();
        environment.set_undefined_behavior(UndefinedBehavior::Strict);
        let syntax = environment.syntax().to_builder().trim_blocks(true).lstrip_blocks(true).build();
        environment.set_syntax(syntax.map_err(|error| fault(&error))?);
        environment.set_auto_escape_callback(|name| match name.rsplit('.').next() {
            Some("slack") => AutoEscape::Custom("slack".into()),
            _ => AutoEscape::None,
        });
        environment.set_formatter(write_escaped);
        environment.add_filter("time", move |text: String| shown_time(&text, timezone));
        environment.add_filter("duration", move |seconds: i64| duration(seconds, language));
        let mut templates = Templates { environment };
        let built_in = BUILT_IN.iter().find(|(known, _)| *known == language).map_or("", |(_, text)| text);
        let digest = BUILT_IN_DIGESTS.iter().find(|(known, _)| *known == language).map_or("", |(_, text)| text);
        for form in [Form::Slack, Form::Text] {
            templates.replace(form, built_in)?;
            let added = templates.environment.add_template(digest_file_name(form), digest);
            added.map_err(|error| fault(&error))?;
        }
        Ok(templates)
    }

    /// Takes a template in the place of the one for a form.
    ///
    /// # Errors
    /// [`TemplateFault`] when it cannot be understood, or uses a name that no message has.
    pub fn replace(&mut self, form: Form, source: &str) -> Result<(), TemplateFault> {
        let name = file_name(form);
        self.environment.add_template_owned(name.clone(), source.to_owned()).map_err(|error| fault(&error))?;
        let template = self.environment.get_template(&name).map_err(|error| fault(&error))?;
        let known = names();
        let mut unknown: Vec<String> = template.undeclared_variables(false).into_iter().collect();
        unknown.retain(|name| !known.contains(name) && !GIVEN.contains(&name.as_str()));
        unknown.sort();
        let Some(name) = unknown.first() else { return Ok(()) };
        let is_word = |line: &str| line.split(|c: char| !c.is_alphanumeric() && c != '_').any(|word| word == name);
        let line = source.lines().position(is_word).map_or(1, |index| index + 1);
        Err(TemplateFault { line, message: format!("{name:?} is not known; expected one of {}", known.join(", ")) })
    }

    /// A message in a form.
    ///
    /// # Errors
    /// [`TemplateFault`] when the template does something with a value that it cannot have.
    pub fn render(&self, form: Form, message: &Message) -> Result<String, TemplateFault> {
        let template = self.environment.get_template(&file_name(form)).map_err(|error| fault(&error))?;
        let values = Values { form: form.as_str(), message };
        let text = template.render(Value::from(Serde(values))).map_err(|error| fault(&error))?;
        Ok(text.trim().to_owned())
    }

    /// A digest in a form.
    ///
    /// # Errors
    /// Never, as a test shows.
    pub fn render_digest(&self, form: Form, digest: &Digest) -> Result<String, TemplateFault> {
        let template = self.environment.get_template(digest_file_name(form)).map_err(|error| fault(&error))?;
        let values = DigestValues { form: form.as_str(), digest };
        let text = template.render(Value::from(Serde(values))).map_err(|error| fault(&error))?;
        Ok(text.trim().to_owned())
    }
}

fn digest_file_name(form: Form) -> &'static str {
    match form {
        Form::Slack => "digest.slack",
        Form::Text => "digest.txt",
    }
}

fn file_name(form: Form) -> String {
    format!("message.{form}")
}

fn fault(error: &Error) -> TemplateFault {
    let detail = error.detail().map_or_else(String::new, |detail| format!(": {detail}"));
    TemplateFault { line: error.line().unwrap_or(1), message: format!("{}{detail}", error.kind()) }
}

/// The names that every message has.
fn names() -> Vec<String> {
    let message = Message::sample();
    let message = serde_json::to_value(message).unwrap_or_default();
    message.as_object().into_iter().flat_map(|message| message.keys().cloned()).collect()
}

/// On one line and visible, whatever somebody chose as a name. Slack gives `&`, `<` and `>` a meaning:
/// <https://docs.slack.dev/messaging/formatting-message-text#escaping>.
fn write_escaped(out: &mut Output<'_>, state: &mut State<'_, '_>, value: &Value) -> Result<(), Error> {
    if value.is_none() {
        return Ok(());
    }
    let text = Shown(value).to_string();
    let is_slack = matches!(state.auto_escape(), AutoEscape::Custom(_)) && !value.is_safe();
    let text = if is_slack { text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;") } else { text };
    out.write_str(&text).map_err(Error::from)
}

/// A time to the minute, where the clock shows the time of a zone.
fn shown_time(text: &str, timezone: Tz) -> String {
    let shown = |time: DateTime<Utc>| time.with_timezone(&timezone).format("%Y-%m-%d %H:%M %Z").to_string();
    crate::time::read(text).map_or_else(|| text.to_owned(), shown)
}

/// A duration in its two largest units.
fn duration(seconds: i64, language: Language) -> String {
    let units = match language {
        Language::English => [" d", " h", " min", " s"],
        Language::Chinese => [" 天", " 小时", " 分钟", " 秒"],
    };
    let parts = [seconds / 86_400, seconds / 3_600 % 24, seconds / 60 % 60, seconds % 60];
    let first = parts.iter().position(|part| *part > 0).unwrap_or(3);
    let shown = parts.iter().zip(units).skip(first).take(2).filter(|(part, _)| **part > 0);
    let shown: Vec<String> = shown.map(|(part, unit)| format!("{part}{unit}")).collect();
    if shown.is_empty() { format!("0{}", units[3]) } else { shown.join(" ") }
}
