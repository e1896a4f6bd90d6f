//! Which way a write came: told by the actor's name alone, never by the user agent, which the caller chooses.

use wildmatch::WildMatch;

use crate::audit::{Actor, ActorKind};
use crate::names::named;

named! {
    /// Which way a write came.
    pub enum Route {
        /// The approved way.
        Pipeline = "pipeline",
        /// An autoscaler that was itself configured the approved way.
        Autoscaler = "autoscaler",
        /// A Kubernetes or GKE component.
        Controller = "controller",
        /// Anybody else with a name.
        Bypass = "bypass",
        /// Nobody knows who.
        Unknown = "unknown",
    }
}

impl Route {
    /// Whether a write that came this way went past what was approved.
    pub fn is_bypass(self) -> bool {
        matches!(self, Route::Bypass | Route::Unknown)
    }
}

/// A pattern of names: `*` any text, `?` any character. What follows an `@` is a domain, which compares without case.
#[derive(Debug, Clone)]
pub struct Pattern {
    text: String,
    whole: WildMatch,
    /// What is behind its last wildcard: comparing that first spares most names the slow way.
    tail: String,
}

impl Pattern {
    /// Takes a pattern as it is written in the configuration.
    pub fn new(text: &str) -> Self {
        let folded = fold_domain(text);
        let tail = folded.rsplit(['*', '?']).next().unwrap_or_default().to_owned();
        Pattern { text: text.to_owned(), whole: WildMatch::new(&folded), tail }
    }

    /// Whether a name is one of its.
    pub fn matches(&self, name: &str) -> bool {
        let name = fold_domain(name);
        name.ends_with(&self.tail) && self.whole.matches(&name)
    }
}

/// A name with its domain in lower case.
fn fold_domain(name: &str) -> std::borrow::Cow<'_, str> {
    match name.rsplit_once('@') {
        Some((local, domain)) if domain.bytes().any(|byte| byte.is_ascii_uppercase()) => {
            format!("{local}@{}", domain.to_ascii_lowercase()).into()
        }
        _ => name.into(),
    }
}

/// Who counts as what. The first list that matches decides.
#[derive(Debug, Clone, Default)]
pub struct Routes {
    patterns: Vec<(Route, Pattern)>,
    proxies: Vec<Pattern>,
}

impl Routes {
    /// Takes the lists in the order in which they are asked; `proxies` call on behalf of others, and are judged as those.
    pub fn new(pipeline: &[String], autoscaler: &[String], controller: &[String], proxies: &[String]) -> Self {
        let lists = [(Route::Pipeline, pipeline), (Route::Autoscaler, autoscaler), (Route::Controller, controller)];
        let patterns = lists
            .into_iter()
            .flat_map(|(route, list)| list.iter().map(move |pattern| (route, Pattern::new(pattern))))
            .collect();
        Routes { patterns, proxies: proxies.iter().map(|pattern| Pattern::new(pattern)).collect() }
    }

    /// The route of an actor. Who impersonates somebody and is no proxy needs both names to be allowed, so that a person
    /// who impersonates the pipeline is a bypass.
    pub fn route(&self, actor: &Actor<'_>) -> Route {
        let own = || self.of_name(actor.name, actor.kind);
        let Some(behalf) = actor.on_behalf_of else { return own() };
        let impersonated = self.of_name(behalf, ActorKind::of(behalf));
        if self.is_proxy(actor) || impersonated.is_bypass() { impersonated } else { own() }
    }

    /// Why: the pattern that told the route, in plain words.
    pub fn explain(&self, actor: &Actor<'_>) -> String {
        let told = |name: &str| match self.find(name) {
            Some((_, pattern)) => format!("{:?} matches", pattern.text),
            None => "no pattern of [actors] matches".to_owned(),
        };
        match actor.on_behalf_of {
            None => told(actor.name),
            Some(behalf) if self.is_proxy(actor) => format!("on behalf of {behalf} by a proxy: {}", told(behalf)),
            Some(behalf) => {
                format!("on behalf of {behalf}: {}; for the caller itself {}", told(behalf), told(actor.name))
            }
        }
    }

    fn is_proxy(&self, actor: &Actor<'_>) -> bool {
        self.proxies.iter().any(|pattern| pattern.matches(actor.name))
    }

    fn of_name(&self, name: &str, kind: ActorKind) -> Route {
        match (self.find(name), kind) {
            (Some((route, _)), _) => *route,
            (None, ActorKind::Unknown | ActorKind::Anonymous) => Route::Unknown,
            (None, _) => Route::Bypass,
        }
    }

    fn find(&self, name: &str) -> Option<&(Route, Pattern)> {
        self.patterns.iter().find(|(_, pattern)| pattern.matches(name))
    }
}
