//! What a route or a silence is for: patterns of what a notice is about.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::incident::Deployment;
use crate::names::{self, Named, named};
use crate::policy::actors::Pattern;
use crate::policy::{AlertType, Severity};

named! {
    /// What can be matched.
    pub enum Field {
        /// The rule.
        Rule = "rule",
        /// How bad it is.
        Severity = "severity",
        /// Google Cloud project of the cluster.
        Project = "project",
        /// The cluster's name.
        Cluster = "cluster",
        /// Kubernetes namespace.
        Namespace = "namespace",
        /// The Deployment's name.
        Deployment = "deployment",
        /// Who is charged for it, by its PED; empty where there is none.
        Owner = "owner",
    }
}

/// What a notice is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct About<'a> {
    /// The rule.
    pub rule: AlertType,
    /// How bad it is.
    pub severity: Severity,
    /// The Deployment.
    pub deployment: &'a Deployment,
    /// Its owner, where it has a PED.
    pub owner: Option<&'a str>,
}

impl About<'_> {
    fn value(&self, field: Field) -> &str {
        match field {
            Field::Rule => self.rule.as_str(),
            Field::Severity => self.severity.as_str(),
            Field::Project => &self.deployment.project,
            Field::Cluster => &self.deployment.cluster,
            Field::Namespace => &self.deployment.namespace,
            Field::Deployment => &self.deployment.name,
            Field::Owner => self.owner.unwrap_or_default(),
        }
    }
}

/// A pattern of one field as it is written and kept: `*` any text, `?` any character.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Matcher {
    /// Which field.
    #[serde(rename = "name", with = "names::text")]
    pub field: Field,
    /// The pattern.
    pub pattern: String,
    /// Whether it is for all that the pattern does not match.
    #[serde(default)]
    pub negated: bool,
}

impl Matcher {
    /// Reads a pattern of a field; `!` before it negates it.
    ///
    /// # Errors
    /// When it can match nothing, with what would be right.
    pub fn read(field: Field, text: &str) -> Result<Self, String> {
        let (pattern, negated) = text.strip_prefix('!').map_or((text, false), |pattern| (pattern, true));
        let is_open = pattern.contains(['*', '?']);
        let unknown = match field {
            _ if pattern.is_empty() && field != Field::Owner => {
                Some("expected a name, or a pattern with * or ?".to_owned())
            }
            Field::Rule if !is_open => pattern.parse::<AlertType>().err().map(|error| error.to_string()),
            Field::Severity if !is_open => pattern.parse::<Severity>().err().map(|error| error.to_string()),
            _ => None,
        };
        match unknown {
            Some(why) => Err(format!("{field} = {text:?}: {why}")),
            None => Ok(Matcher { field, pattern: pattern.to_owned(), negated }),
        }
    }

    /// Whether it leaves nothing out.
    pub fn is_any(&self) -> bool {
        !self.negated && !self.pattern.is_empty() && self.pattern.bytes().all(|byte| byte == b'*')
    }
}

impl fmt::Display for Matcher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let sign = if self.negated { "!" } else { "" };
        write!(f, "{}={sign}{}", self.field, self.pattern)
    }
}

/// Matchers together: of each field that is named, one has to match, and none of those that are negated.
#[derive(Debug, Clone, Default)]
pub struct Matchers {
    all: Vec<(Matcher, Pattern)>,
}

impl Matchers {
    /// Takes them in any order.
    pub fn new(matchers: impl IntoIterator<Item = Matcher>) -> Self {
        let with_pattern = |matcher: Matcher| {
            let pattern = Pattern::new(&matcher.pattern);
            (matcher, pattern)
        };
        Matchers { all: matchers.into_iter().map(with_pattern).collect() }
    }

    /// Whether it is for everything.
    pub fn is_empty(&self) -> bool {
        self.all.is_empty()
    }

    /// The first field by which something is left out; `None` where it matches.
    pub fn misses(&self, about: &About<'_>) -> Option<Field> {
        Field::ALL.iter().copied().find(|field| !self.field_matches(*field, about))
    }

    fn field_matches(&self, field: Field, about: &About<'_>) -> bool {
        let value = about.value(field);
        let of_field = |negated: bool| {
            self.all.iter().filter(move |(matcher, _)| matcher.field == field && matcher.negated == negated)
        };
        let is_left_out = of_field(true).any(|(_, pattern)| pattern.matches(value));
        let is_named = of_field(false).next().is_none() || of_field(false).any(|(_, pattern)| pattern.matches(value));
        is_named && !is_left_out
    }
}
