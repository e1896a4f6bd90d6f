//! Questions as scripts that compute no view twice. BigQuery computes one again wherever another names it, and ours are made
//! of each other: for one question hundreds of times, until it gives up planning it.

use super::super::schema::{named_as, times_named, with_views};

/// The views, each over those before it, and the question over them: what is named more than once is a temporary table first.
pub(super) fn of(views: Vec<(&'static str, String)>, question: &str) -> String {
    let texts: Vec<String> = views.iter().map(|(_, text)| text.clone()).chain([question.to_owned()]).collect();
    let (mut statements, mut pending) = (Vec::new(), Vec::new());
    for (name, text) in views {
        if texts.iter().map(|text| times_named(text, name)).sum::<usize>() < 2 {
            pending.push((name, text));
            continue;
        }
        let statement = with_views(&taken_by(&mut pending, &text), &text);
        statements.push(format!("CREATE TEMP TABLE {name} AS\n{}", named_as(&statement, "").trim_end()));
    }
    let statement = with_views(&taken_by(&mut pending, question), question);
    statements.push(named_as(&statement, ""));
    statements.join(";\n")
}

/// Takes out the views that some SQL names, directly or not, in their order.
fn taken_by(pending: &mut Vec<(&'static str, String)>, sql: &str) -> Vec<(&'static str, String)> {
    let mut taken: Vec<(&'static str, String)> = Vec::new();
    for index in (0..pending.len()).rev() {
        let is_named = |(name, _): &(&str, String)| {
            times_named(sql, name) > 0 || taken.iter().any(|(_, text)| times_named(text, name) > 0)
        };
        if pending.get(index).is_some_and(is_named) {
            taken.push(pending.remove(index));
        }
    }
    taken.reverse();
    taken
}
