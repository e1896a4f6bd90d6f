//! Routes: who is told of what. The first that matches wins, unless it goes on. Pure.

use std::collections::BTreeSet;

use super::matcher::{About, Field, Matcher, Matchers};

/// Where notices about something go.
#[derive(Debug, Clone)]
pub struct Route {
    /// What it is for.
    pub matchers: Matchers,
    /// The names of its receivers; none: nobody is told, and that is meant.
    pub receivers: Vec<String>,
    /// Whether the routes behind it are asked too.
    pub goes_on: bool,
}

/// A route as it is written: patterns by field.
#[derive(Debug, Clone, Default)]
pub struct RouteDraft {
    /// Fields with their patterns.
    pub matchers: Vec<(Field, Vec<String>)>,
    /// Names.
    pub receivers: Vec<String>,
    /// See [`Route::goes_on`].
    pub goes_on: bool,
}

/// All routes, in their order.
#[derive(Debug, Clone, Default)]
pub struct Routes(Vec<Route>);

/// What a route says to something.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Said<'r> {
    /// It is for others, by this field.
    Misses(Field),
    /// It tells these.
    Tells(&'r [String]),
    /// One before it has the last word.
    NotAsked,
}

impl Routes {
    /// Takes routes as they are written, in their order. `ignores_unrouted`: that somebody is not told of something is meant.
    ///
    /// # Errors
    /// Everything that is wrong: a pattern that can match nothing, a receiver that is not there, a route that is never asked,
    /// and notices that would go nowhere.
    pub fn new(drafts: &[RouteDraft], known: &BTreeSet<&str>, ignores_unrouted: bool) -> Result<Self, Vec<String>> {
        let mut faults = Vec::new();
        let mut routes: Vec<Route> = Vec::new();
        for (index, draft) in drafts.iter().enumerate() {
            let place = format!("routes[{index}]");
            if routes.iter().any(|route| route.matchers.is_empty() && !route.goes_on) {
                faults.push(format!("{place} is never asked: the one before it is for everything; expected it last"));
            }
            let (route, wrong) = draft.read(known);
            faults.extend(wrong.into_iter().map(|why| format!("{place}: {why}")));
            routes.push(route);
        }
        let is_complete = routes.last().is_some_and(|route| route.matchers.is_empty());
        if !is_complete && !ignores_unrouted {
            let wanted =
                "expected a last route without matchers, or notify.unrouted = \"ignore\" where nobody is to be told";
            faults.push(format!("what no route matches goes nowhere; {wanted}"));
        }
        if faults.is_empty() { Ok(Routes(routes)) } else { Err(faults) }
    }

    /// Who is told of something: each once, in the order of the routes.
    pub fn receivers(&self, about: &About<'_>) -> Vec<&str> {
        let mut receivers: Vec<&str> = Vec::new();
        for said in self.explain(about) {
            let Said::Tells(names) = said else { continue };
            for name in names {
                if !receivers.contains(&name.as_str()) {
                    receivers.push(name);
                }
            }
        }
        receivers
    }

    /// What each route says to something, in their order.
    pub fn explain(&self, about: &About<'_>) -> Vec<Said<'_>> {
        let mut is_asked = true;
        let say = |route| {
            let Route { matchers, receivers, goes_on }: &Route = route;
            if !is_asked {
                return Said::NotAsked;
            }
            matchers.misses(about).map_or_else(
                || {
                    is_asked = *goes_on;
                    Said::Tells(receivers)
                },
                Said::Misses,
            )
        };
        self.0.iter().map(say).collect()
    }
}

impl RouteDraft {
    fn read(&self, known: &BTreeSet<&str>) -> (Route, Vec<String>) {
        let mut faults = Vec::new();
        let mut matchers: Vec<Matcher> = Vec::new();
        for (field, texts) in &self.matchers {
            for text in texts {
                match Matcher::read(*field, text) {
                    Ok(matcher) => matchers.push(matcher),
                    Err(why) => faults.push(why),
                }
            }
        }
        let missing = self.receivers.iter().filter(|name| !known.contains(name.as_str()));
        let there: Vec<&str> = known.iter().copied().collect();
        faults.extend(missing.map(|name| format!("{name:?} is no receiver; expected one of {}", there.join(", "))));
        let matchers = Matchers::new(matchers);
        (Route { matchers, receivers: self.receivers.clone(), goes_on: self.goes_on }, faults)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::incident::Deployment;
    use crate::policy::{AlertType, Severity};

    fn route(matchers: &[(Field, &[&str])], receivers: &[&str], goes_on: bool) -> RouteDraft {
        let owned = |texts: &[&str]| texts.iter().map(|&text| text.to_owned()).collect::<Vec<_>>();
        let matchers = matchers.iter().map(|(field, texts)| (*field, owned(texts))).collect();
        RouteDraft { matchers, receivers: owned(receivers), goes_on }
    }

    fn deployment(cluster: &str, namespace: &str) -> Deployment {
        Deployment {
            project: "acme-prod".to_owned(),
            location: "europe-west1".to_owned(),
            cluster: cluster.to_owned(),
            namespace: namespace.to_owned(),
            name: "orders-api".to_owned(),
        }
    }

    fn about<'a>(deployment: &'a Deployment, severity: Severity, owner: Option<&'a str>) -> About<'a> {
        About { rule: AlertType::OverLimit, severity, deployment, owner }
    }

    const KNOWN: [&str; 3] = ["mail", "pager", "slack"];

    fn routes(drafts: &[RouteDraft]) -> Routes {
        Routes::new(drafts, &KNOWN.into(), false).expect("valid")
    }

    #[test]
    fn the_first_route_that_matches_wins_unless_it_goes_on() {
        let routes = routes(&[
            route(&[(Field::Severity, &["critical"])], &["pager"], true),
            route(&[(Field::Namespace, &["payments*", "!payments-dev"])], &["slack", "pager"], false),
            route(&[(Field::Owner, &["*@example.com"]), (Field::Cluster, &["prod-?"])], &["mail"], false),
            route(&[(Field::Owner, &[""])], &[], false),
            route(&[], &["slack"], false),
        ]);
        for (cluster, namespace, severity, owner, expected) in [
            ("prod-1", "payments", Severity::Critical, None, &["pager", "slack"][..]),
            ("prod-1", "payments", Severity::Warning, None, &["slack", "pager"]),
            ("prod-1", "payments-dev", Severity::Warning, Some("team-a@EXAMPLE.com"), &["mail"]),
            ("prod-12", "payments-dev", Severity::Warning, Some("team-a@example.com"), &["slack"]),
            ("prod-1", "billing", Severity::Info, None, &[]),
            ("prod-1", "billing", Severity::Critical, Some("team-b"), &["pager", "slack"]),
        ] {
            let deployment = deployment(cluster, namespace);
            assert_eq!(
                routes.receivers(&about(&deployment, severity, owner)),
                expected,
                "{cluster} {namespace} {owner:?}"
            );
        }
        let deployment = deployment("prod-1", "payments");
        assert_eq!(
            routes.explain(&about(&deployment, Severity::Warning, None))[..3],
            [Said::Misses(Field::Severity), Said::Tells(&["slack".to_owned(), "pager".to_owned()]), Said::NotAsked]
        );
    }

    #[test]
    fn everything_that_is_wrong_with_routes_is_told_at_once() {
        let drafts = [
            route(&[(Field::Severity, &["loud"]), (Field::Rule, &["over_limits", "over_*", "!"])], &["pagr"], false),
            route(&[], &["slack"], false),
            route(&[(Field::Namespace, &["payments"])], &["slack"], false),
        ];
        let faults = Routes::new(&drafts, &KNOWN.into(), false).expect_err("wrong");
        let expected = [
            "routes[0]: severity = \"loud\": \"loud\" is not known; expected one of info, warning, critical",
            "routes[0]: rule = \"over_limits\": \"over_limits\" is not known",
            "routes[0]: rule = \"!\": expected a name",
            "routes[0]: \"pagr\" is no receiver; expected one of mail, pager, slack",
            "routes[2] is never asked",
            "what no route matches goes nowhere; expected a last route without matchers",
        ];
        assert_eq!(faults.len(), expected.len(), "{faults:#?}");
        for (fault, expected) in faults.iter().zip(expected) {
            assert!(fault.starts_with(expected), "{fault}");
        }
        assert!(Routes::new(&drafts[1..2], &KNOWN.into(), false).is_ok());
        assert!(Routes::new(&[], &KNOWN.into(), false).is_err());
        assert!(Routes::new(&[], &KNOWN.into(), true).is_ok());
    }
}
