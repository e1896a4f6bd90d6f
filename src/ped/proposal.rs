//! A PED that is proposed for what runs already, so that the first day is a pull request.

use std::fmt;
use std::ops::RangeInclusive;

use super::yaml::{NAME_MAX, is_name};

/// What is proposed for one Deployment, in any cluster. Shown as the PED file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Proposal {
    /// Kubernetes namespace.
    pub namespace: String,
    /// Name of the Deployment.
    pub deployment: String,
    /// Who is charged; `None` where nothing says it.
    pub owner: Option<String>,
    /// How many replicas it asks for now: in the cluster where these are most.
    pub replicas: i64,
    /// The highest maximum of its HPAs.
    pub hpa_max: Option<i64>,
    /// What is proposed as its limit.
    pub max_replicas: i64,
    /// What the platform allows at most, where that is less.
    pub beyond: Option<i64>,
}

impl Proposal {
    /// For a Deployment that asks for so many replicas, with HPAs up to a maximum. The limit is what it may come to today, and
    /// at least what the platform allows anybody.
    ///
    /// # Errors
    /// When the names are none that Kubernetes gives.
    pub fn new(
        (namespace, deployment): (&str, &str),
        owner: Option<&str>,
        (replicas, hpa_max): (i64, Option<i64>),
        platform: &RangeInclusive<i64>,
    ) -> Result<Self, String> {
        if !is_name(namespace, 63) || !is_name(deployment, NAME_MAX) {
            let wanted = "expected names of lower-case letters, digits, '-' and '.'";
            return Err(format!("{namespace:?}/{deployment:?} is no Deployment; {wanted}"));
        }
        let most = hpa_max.map_or(replicas, |max| max.max(replicas));
        Ok(Proposal {
            namespace: namespace.to_owned(),
            deployment: deployment.to_owned(),
            owner: owner.filter(|owner| is_label(owner)).map(str::to_owned),
            replicas,
            hpa_max,
            max_replicas: most.max(*platform.start()),
            beyond: Some(*platform.end()).filter(|allowed| most > *allowed),
        })
    }

    /// Where it stands in a folder: by namespace; where owners are known, by owner first.
    pub fn file(&self) -> String {
        let Proposal { namespace, deployment, .. } = self;
        match &self.owner {
            Some(owner) => format!("{owner}/{namespace}/{deployment}.yaml"),
            None => format!("{namespace}/{deployment}.yaml"),
        }
    }
}

/// Whether a text is the value of a label: <https://kubernetes.io/docs/concepts/overview/working-with-objects/labels/#syntax-and-character-set>.
fn is_label(text: &str) -> bool {
    let letter = |c: char| c.is_ascii_alphanumeric();
    text.len() <= 63
        && text.starts_with(letter)
        && text.ends_with(letter)
        && text.chars().all(|c| letter(c) || matches!(c, '-' | '_' | '.'))
}

impl fmt::Display for Proposal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Proposal { namespace, deployment, owner, replicas, hpa_max, max_replicas, beyond } = self;
        let s = if *replicas == 1 { "" } else { "s" };
        write!(f, "# Proposed from what runs: {replicas} replica{s}")?;
        if let Some(max) = hpa_max {
            write!(f, ", an HPA up to {max}")?;
        }
        writeln!(f, ". Review it before it is registered.")?;
        if let Some(allowed) = beyond {
            writeln!(f, "# The platform allows {allowed} at most: lower it, or allow more ([platform] max_replicas).")?;
        }
        writeln!(f, "apiVersion: pedwatch/v1\nkind: Ped\nmetadata:")?;
        writeln!(f, "  namespace: {}\n  deployment: {}", Text(namespace), Text(deployment))?;
        match owner {
            Some(owner) => writeln!(f, "  owner: {}", Text(owner))?,
            None => writeln!(f, "  owner: {} # its namespace: expected the team that is charged", Text(namespace))?,
        }
        writeln!(f, "spec:\n  maxReplicas: {max_replicas}")
    }
}

/// A text in YAML: bare where nothing can take it for something else.
struct Text<'t>(&'t str);

impl fmt::Display for Text<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Text(text) = self;
        let is_word = ["true", "false", "null", "yes", "no", "on", "off", "y", "n"].contains(text);
        let is_bare = text.starts_with(|c: char| c.is_ascii_lowercase())
            && text.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-');
        // Nothing in it needs an escape.
        if is_bare && !is_word { f.write_str(text) } else { write!(f, "\"{text}\"") }
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    const PLATFORM: RangeInclusive<i64> = 2..=8;

    #[test]
    fn what_is_proposed_is_a_ped_that_says_it() {
        let names = [("payments", "orders-api"), ("123", "true"), ("1e3", "null.v2"), ("no", "0x1f")];
        for (namespace, deployment) in names {
            for (owner, charged) in
                [(Some("Team_A.1"), "Team_A.1"), (Some("007"), "007"), (None, namespace), (Some("a: b\n"), namespace)]
            {
                for (runs, max) in [((3, None), 3), ((3, Some(6)), 6), ((5, Some(4)), 5), ((0, None), 2)] {
                    let proposal = Proposal::new((namespace, deployment), owner, runs, &PLATFORM).expect("names");
                    let text = proposal.to_string();
                    let (located, faults) = super::super::parse(Path::new("p.yaml"), &text, &PLATFORM);
                    assert!(faults.is_empty(), "{text}\n{faults:?}");
                    let ped = &located.first().expect("one").ped;
                    assert_eq!((&*ped.subject.namespace, &*ped.subject.deployment), (namespace, deployment));
                    assert_eq!((&*ped.terms.owner, ped.terms.max_replicas), (charged, Some(max)), "{text}");
                }
            }
        }
    }

    #[test]
    fn what_the_platform_does_not_allow_is_told_and_names_that_lead_elsewhere_are_refused() {
        let proposal =
            Proposal::new(("payments", "orders-api"), Some("checkout"), (12, None), &PLATFORM).expect("names");
        assert!(proposal.to_string().contains("# The platform allows 8 at most"), "{proposal}");
        assert_eq!(proposal.file(), "checkout/payments/orders-api.yaml");
        for names in [("..", "x"), ("payments", "../x"), ("payments", ""), ("a/b", "x"), ("payments", "x\ny")] {
            assert!(Proposal::new(names, None, (1, None), &PLATFORM).is_err(), "{names:?}");
        }
    }
}
