//! What a change of PED files changes: for a pull request. Pure.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value as Json;

use super::{Exception, Ped, Subject, Terms};

/// A PED that is new, gone, or says something else.
#[derive(Debug, Clone, PartialEq)]
pub struct Difference<'p> {
    /// What it is for.
    pub subject: &'p Subject,
    /// As it was; `None` where it is new.
    pub before: Option<&'p Ped>,
    /// As it is; `None` where it is gone.
    pub after: Option<&'p Ped>,
}

/// A key of a PED that has another value. Of environment variables only the names are told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Field {
    /// As in the file, such as `limits.cpu`.
    pub key: String,
    /// As it was; `None` where it was not there.
    pub before: Option<String>,
    /// As it is; `None` where it is not there any more.
    pub after: Option<String>,
}

/// What is different between two sets of PEDs, by what they are for.
pub fn differences<'p>(before: &'p [Ped], after: &'p [Ped]) -> Vec<Difference<'p>> {
    let by_subject = |peds: &'p [Ped]| peds.iter().map(|ped| (&ped.subject, ped)).collect::<BTreeMap<_, _>>();
    let (before, after) = (by_subject(before), by_subject(after));
    let subjects: BTreeSet<&Subject> = before.keys().chain(after.keys()).copied().collect();
    let of = |subject: &'p Subject| Difference {
        subject,
        before: before.get(subject).copied(),
        after: after.get(subject).copied(),
    };
    subjects.into_iter().map(of).filter(|difference| difference.before != difference.after).collect()
}

impl Difference<'_> {
    /// The keys that have another value, in the order of their names; those of a PED that is new or gone are all of it.
    pub fn fields(&self) -> Vec<Field> {
        let of = |ped: Option<&Ped>| ped.map_or_else(BTreeMap::new, values);
        let (mut before, mut after) = (of(self.before), of(self.after));
        let keys: BTreeSet<String> = before.keys().chain(after.keys()).cloned().collect();
        let field = |key: String| Field { before: before.remove(&key), after: after.remove(&key), key };
        let hidden = |field: Field| match field.key.starts_with("environment.") {
            true => Field {
                before: field.before.map(|_| HIDDEN.to_owned()),
                after: field.after.map(|_| HIDDEN.to_owned()),
                ..field
            },
            false => field,
        };
        keys.into_iter().map(field).filter(|field| field.before != field.after).map(hidden).collect()
    }
}

/// In the place of a value of an environment variable.
const HIDDEN: &str = "(a value)";

/// Each value of a PED, by its key.
fn values(ped: &Ped) -> BTreeMap<String, String> {
    let mut values = BTreeMap::new();
    flatten(String::new(), &Terms::json(&ped.terms), &mut values);
    for Exception { from, until, max_replicas, reason } in &ped.exceptions {
        let said = format!("at most {max_replicas} until {} ({reason})", crate::id::time(*until));
        values.insert(format!("exception from {}", crate::id::time(*from)), said);
    }
    values
}

fn flatten(key: String, value: &Json, values: &mut BTreeMap<String, String>) {
    match value {
        Json::Null => {}
        Json::Object(members) => {
            for (name, member) in members {
                let key = if key.is_empty() { name.clone() } else { format!("{key}.{name}") };
                flatten(key, member, values);
            }
        }
        Json::String(text) => drop(values.insert(key, text.clone())),
        other => drop(values.insert(key, other.to_string())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ped::Clusters;

    fn ped(name: &str, max: i64, environment: &[(&str, &str)]) -> Ped {
        let subject =
            Subject { namespace: "payments".to_owned(), deployment: name.to_owned(), clusters: Clusters::Any };
        let environment = environment.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
        let terms = Terms { owner: "a".to_owned(), max_replicas: Some(max), environment, ..Terms::default() };
        Ped { subject, terms, exceptions: Vec::new() }
    }

    #[test]
    fn what_is_new_gone_or_other_is_told_and_no_secret() {
        let before = [ped("carts", 3, &[("TOKEN", "one")]), ped("gone", 2, &[]), ped("same", 2, &[])];
        let after = [ped("carts", 6, &[("TOKEN", "two")]), ped("new", 4, &[]), ped("same", 2, &[])];
        let found = differences(&before, &after);
        let names: Vec<&str> = found.iter().map(|difference| difference.subject.deployment.as_str()).collect();
        assert_eq!(names, ["carts", "gone", "new"]);
        let fields: Vec<String> = found[0]
            .fields()
            .iter()
            .map(|field| format!("{}: {:?} {:?}", field.key, field.before, field.after))
            .collect();
        assert_eq!(
            fields,
            [r#"environment.TOKEN: Some("(a value)") Some("(a value)")"#, r#"maxReplicas: Some("3") Some("6")"#]
        );
    }
}
