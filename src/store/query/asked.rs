//! What somebody asks: which changes there were, and how Deployments stand.

use chrono::{DateTime, Utc};

use super::pages::{limit, streamed};
use super::{Query, Value, breaches, days, select};
use crate::names::Named;
use crate::ped::{Clusters, Deployment};
use crate::policy::Verdict;
use crate::store::reach::day;
use crate::store::row::{Change, Row, Standing};
use crate::store::{Store, StoreError};

/// What is asked about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct About {
    /// Only of this namespace.
    pub namespace: Option<String>,
    /// Only about Deployments of this name.
    pub deployment: Option<String>,
    /// Only of these clusters.
    pub clusters: Clusters,
    /// Only of these verdicts; of any, where none is named.
    pub verdicts: Vec<Verdict>,
    /// Only by those whose name, or whom they impersonate, holds this; `*` stands for anything.
    pub actor: Option<String>,
    /// Also what is out of scope.
    pub out_of_scope: bool,
}

impl About {
    /// Everything there is.
    pub const ALL: About = About {
        namespace: None,
        deployment: None,
        clusters: Clusters::Any,
        verdicts: Vec::new(),
        actor: None,
        out_of_scope: true,
    };

    /// The conditions on a row, and their parameters.
    fn conditions(&self) -> (Vec<String>, Vec<(String, Value)>) {
        let (mut conditions, mut parameters) = (Vec::new(), Vec::new());
        let mut is = |column: &str, value: &str| {
            conditions.push(format!("{column} = @about_{column}"));
            parameters.push((format!("about_{column}"), Value::Text(value.to_owned())));
        };
        self.namespace.iter().for_each(|namespace| is("namespace", namespace));
        self.deployment.iter().for_each(|deployment| is("deployment_name", deployment));
        match &self.clusters {
            Clusters::Any => {}
            Clusters::Named(name) => is("cluster_name", name),
            Clusters::One { project, location, name } => {
                [("project_id", project), ("location", location), ("cluster_name", name)]
                    .iter()
                    .for_each(|(column, value)| is(column, value));
            }
        }
        if let Some(pattern) = &self.actor {
            conditions.push(
                "(LOWER(actor) LIKE @about_actor OR LOWER(COALESCE(on_behalf_of, '')) LIKE @about_actor)".to_owned(),
            );
            parameters.push(("about_actor".to_owned(), Value::Text(like(pattern))));
        }
        if !self.verdicts.is_empty() {
            let names: Vec<String> = self.verdicts.iter().map(|verdict| format!("'{}'", verdict.as_str())).collect();
            conditions.push(format!("verdict IN ({})", names.join(", ")));
        }
        if !self.out_of_scope {
            conditions.push("in_scope".to_owned());
        }
        (conditions, parameters)
    }

    fn namespaces(&self) -> std::collections::BTreeSet<String> {
        self.namespace.iter().cloned().collect()
    }

    /// The Deployment, where one is named.
    fn deployments(&self) -> Vec<Deployment> {
        self.namespace.clone().zip(self.deployment.clone()).into_iter().collect()
    }
}

/// A person's pattern as SQL's, found anywhere in the text: `*` is anything, and every other character itself. No store
/// agrees with another on how to escape `_` and `%`; `_` finds itself, and no name of a principal holds a `%`.
fn like(pattern: &str) -> String {
    format!("%{}%", pattern.to_lowercase().replace('%', "_").replace('*', "%"))
}

/// The changes that took effect in [from, to), earliest first, page by page.
///
/// # Errors
/// [`StoreError`] when the store cannot be read, or as `take` gives it.
pub async fn changes<E: From<StoreError>>(
    store: &dyn Store,
    about: &About,
    (from, to): (DateTime<Utc>, DateTime<Utc>),
    at_most: usize,
    take: impl AsyncFnMut(Vec<Change>) -> Result<(), E>,
) -> Result<(), E> {
    let reach = days::closings(store).await?.reach(DateTime::<Utc>::MAX_UTC, &about.namespaces());
    let reach = reach.with_changes_of(from, to).of_touched().of_deployments(&about.deployments());
    let (mut conditions, mut parameters) = about.conditions();
    conditions.push("effective_time >= @asked_from AND effective_time < @asked_to".to_owned());
    parameters.extend([("asked_from".to_owned(), Value::Time(from)), ("asked_to".to_owned(), Value::Time(to))]);
    let rest = format!(
        "WHERE {} ORDER BY effective_time, object_id, CASE WHEN carried = 'closed' THEN 0 ELSE 1 END, position {}",
        conditions.join(" AND "),
        limit(at_most)
    );
    streamed(store, select::<Change>("replica_changes", &rest, parameters).over(&reach), take).await
}

/// How Deployments stood at an instant, by cluster, namespace and name.
///
/// # Errors
/// [`StoreError`] when it cannot be read.
pub async fn status(store: &dyn Store, about: &About, at: DateTime<Utc>) -> Result<Vec<Standing>, StoreError> {
    let closings = days::closings(store).await?;
    let reach = closings.reach(DateTime::<Utc>::MAX_UTC, &about.namespaces());
    let (reach, unless) = match reach.closed_through() {
        // What is over is closed: its days tell what stood when the day began, and its changes what came then.
        Some(through) if at < through => (reach.with_states_at(at, day(at)).of_touched(), UNLESS_JUDGED_AGAIN),
        _ => (reach.with_states_of_the_rest(), UNLESS_WRITTEN),
    };
    let reach = reach.of_deployments(&about.deployments());
    let (conditions, mut parameters) = about.conditions();
    parameters.push(("at".to_owned(), Value::Time(at)));
    let conditions = if conditions.is_empty() { "TRUE".to_owned() } else { conditions.join(" AND ") };
    let columns: Vec<String> = Standing::COLUMNS.iter().map(|(name, ..)| format!("`{name}`")).collect();
    let sql = format!(
        "SELECT {} FROM ({}) AS status WHERE {conditions} \
         ORDER BY cluster_name, namespace, deployment_name, project_id, location",
        columns.join(", "),
        STATUS.replace("${unless}", unless)
    );
    let mut standings: Vec<Standing> = store.fetch(&Query::new(sql, parameters).over(&reach)).await?.read();
    breaches::fill_in(store, &closings, &mut standings, at).await?;
    Ok(standings)
}

const STATUS: &str = include_str!("status.sql");

/// A stored state does not count where its write is judged by what came behind it.
const UNLESS_JUDGED_AGAIN: &str = "COALESCE(days.set_event_id, '') NOT IN (
    SELECT carried_in.event_id FROM (SELECT * FROM ${dataset}.carried_writes WHERE FALSE) AS carried_in
    WHERE carried_in.carried = 'open')";

/// Nor where the object is read whole.
const UNLESS_WRITTEN: &str =
    "days.cluster_id || '/' || days.namespace || '/' || days.object_kind || '/' || days.object_name NOT IN (
    SELECT written.object_id FROM ${dataset}.writes AS written)";
