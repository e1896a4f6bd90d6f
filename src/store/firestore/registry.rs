//! The registry in a database of Firestore: versions in transactions, and the limits of a Deployment by one read of its key.
//!
//! A document for each Deployment holds what its limits depend on, and one for each version all of it. Both are written in one
//! commit, which goes by the `updateTime` of the Deployment's document: whoever was slower reads again and decides anew. Behind
//! that, versions are appended to `deployment_config`, and marked as being there.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::hash::{BuildHasher, RandomState};
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use chrono::{DateTime, TimeDelta, Utc};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value as Json, json};
use tokio::sync::Mutex;

use super::super::row::{DeploymentConfig, Record, Row};
use super::super::{Registry, Revision, Store, StoreError, append_rows};
use super::api::{Api, Failure, Found};
use super::{DatabaseName, FirestoreConfig, fields};
use crate::id;
use crate::ped::limits::Claim;
use crate::ped::version::Version;
use crate::ped::{Clusters, Deployment, Subject};

/// The collection of Deployments, each with its [`KeptClaim`]s.
const DEPLOYMENTS: &str = "ped_deployments";

/// The collection of versions, each with its row of `deployment_config`.
const VERSIONS: &str = "ped_versions";

/// When a Deployment's document was written, by Firestore's clock.
const CHANGED_AT: &str = "changed_at";

/// Whether a version is in `deployment_config`.
const RECORDED: &str = "recorded";

/// Documents that one call reads. A Deployment's takes some 170 bytes a version.
const READ_AT_ONCE: usize = 300;

/// Deployments that are revised in one commit, which may take 10 MiB: <https://cloud.google.com/firestore/quotas#writes_and_transactions>.
const REVISED_AT_ONCE: usize = 50;

/// How often a revision is tried while others revise the same Deployments; each time one of them gets on.
const MAX_ATTEMPTS: u32 = 50;

/// Who was slower waits for up to so long a time more after each attempt.
const PAUSE_MILLIS: u64 = 20;

/// The longest that a commit takes from when Firestore has stamped it until it is seen: the deadline of any request is shorter.
const COMMITS_WITHIN: TimeDelta = TimeDelta::minutes(5);

/// The versions in Firestore.
pub(super) struct Versions {
    api: Api,
    /// What it is called in errors.
    place: String,
    facts: Arc<dyn Store>,
    known: Mutex<Known>,
}

/// All claims as they were last read, so that reading them again costs what has changed since.
#[derive(Default)]
struct Known {
    through: Option<DateTime<Utc>>,
    /// By the id of the Deployment's document.
    claims: HashMap<String, Vec<Claim>>,
}

/// A [`Claim`] as a Deployment's document holds it.
#[derive(Serialize, Deserialize)]
struct KeptClaim {
    id: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    clusters: Option<String>,
    from: DateTime<Utc>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    until: Option<DateTime<Utc>>,
    registered_at: DateTime<Utc>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    max: Option<i64>,
}

/// A Deployment as it was found.
struct Kept {
    deployment: Deployment,
    /// Of its document; `None` where there is none.
    update_time: Option<String>,
    claims: Vec<Claim>,
}

#[async_trait]
impl Registry for Versions {
    async fn append_versions(&self, versions: &[Version]) -> Result<(), StoreError> {
        let of: BTreeSet<Deployment> = versions.iter().map(|version| version.subject.deployment()).collect();
        let of: Vec<Deployment> = of.into_iter().collect();
        let is_of = |version: &&Version, of: &[Deployment]| of.contains(&version.subject.deployment());
        self.revise(&of, &mut |of, _| versions.iter().filter(|version| is_of(version, of)).cloned().collect()).await
    }

    async fn versions(&self, of: Option<&[Deployment]>) -> Result<Vec<Version>, StoreError> {
        let Some(of) = of else { return self.every_version().await };
        let mut versions = Vec::new();
        for of in of.chunks(READ_AT_ONCE) {
            versions.extend(self.whole(&self.kept(of).await?).await?);
        }
        Ok(versions)
    }

    async fn claims(&self, of: Option<&[Deployment]>) -> Result<Vec<Claim>, StoreError> {
        let Some(of) = of else { return self.every_claim().await };
        let mut claims = Vec::new();
        for of in of.chunks(READ_AT_ONCE) {
            claims.extend(self.kept(of).await?.into_iter().flat_map(|kept| kept.claims));
        }
        Ok(claims)
    }

    async fn revise(&self, of: &[Deployment], revision: &mut Revision<'_>) -> Result<(), StoreError> {
        for of in of.chunks(REVISED_AT_ONCE) {
            let added = self.commit(of, revision, false).await?;
            if added.is_empty() {
                continue;
            }
            let now = added.iter().map(|version| version.registered_at).max().unwrap_or_default();
            append_rows(&*self.facts, &added, now).await.map_err(|error| self.left_out(error))?;
            self.mark(added.iter().map(|version| version.id.as_str()), true).await?;
        }
        Ok(())
    }

    fn is_serial(&self) -> bool {
        true
    }

    async fn mend(&self, now: DateTime<Utc>) -> Result<Vec<Version>, StoreError> {
        let mut mended = Vec::new();
        loop {
            let is_left_out = json!({"fieldFilter": {
                "field": {"fieldPath": RECORDED}, "op": "EQUAL", "value": fields::boolean(false),
            }});
            let query = json!({"from": [{"collectionId": VERSIONS}], "where": is_left_out, "limit": READ_AT_ONCE});
            let found = self.api.run_query(&query).await.map_err(|failure| self.fault(failure))?;
            if found.is_empty() {
                return Ok(mended);
            }
            let versions = found.into_iter().map(|found| self.version(found)).collect::<Result<Vec<_>, _>>()?;
            append_rows(&*self.facts, &versions, now).await?;
            self.mark(versions.iter().map(|version| version.id.as_str()), true).await?;
            mended.extend(versions);
        }
    }

    async fn adopt(&self) -> Result<usize, StoreError> {
        let known: HashSet<String> = self.every_claim().await?.into_iter().map(|claim| claim.id).collect();
        let facts = self.facts.claims(None).await?;
        let recorded: HashSet<&str> = facts.iter().map(|claim| claim.id.as_str()).collect();
        // Somebody with another store may have brought them there: [`Registry::mend`] brings them into this one.
        let elsewhere = known.iter().map(String::as_str).filter(|id| !recorded.contains(id));
        self.mark(elsewhere, false).await?;
        let strangers = facts.iter().filter(|claim| !known.contains(&claim.id));
        let of: BTreeSet<Deployment> = strangers.map(|claim| claim.subject.deployment()).collect();
        let mut adopted = 0;
        // Each by itself: nobody knows how many versions one has.
        for of in of {
            let of = [of];
            let versions = self.facts.versions(Some(&of)).await?;
            adopted += self.commit(&of, &mut |_, _| versions.clone(), true).await?.len();
        }
        Ok(adopted)
    }
}

impl Versions {
    pub(super) async fn open(
        facts: Arc<dyn Store>,
        name: &DatabaseName,
        config: &FirestoreConfig,
    ) -> Result<Self, StoreError> {
        let place = format!("the registry firestore:{name}");
        let api = Api::new(name, config).await.map_err(|failure| fault(&place, failure))?;
        Ok(Versions { api, place, facts, known: Mutex::default() })
    }

    /// Whether it answers, and has what the store had before it.
    pub(super) async fn check(&self) -> Result<(), StoreError> {
        // First: what is registered meanwhile is in the registry before it is in the store.
        let facts = self.facts.claims(None).await?;
        let counted = self.api.count(&json!({"from": [{"collectionId": DEPLOYMENTS}]})).await;
        let known = counted.map_err(|failure| self.fault(failure))?;
        let of: HashSet<Deployment> = facts.iter().map(|claim| claim.subject.deployment()).collect();
        let has = match known {
            known if known >= of.len() as u64 => return Ok(()),
            0 => "is empty, and the store has versions of PEDs".to_owned(),
            known => format!("knows {known} Deployments, and the store versions of PEDs of {}", of.len()),
        };
        let place = &self.place;
        Err(StoreError::Missing(format!("{place} {has}; expected them in both: `pedwatch daily` copies them")))
    }

    /// Refuses to begin anew what the store has versions of: nobody copied these yet. `false` where somebody else has begun it
    /// since it was looked for.
    async fn may_begin(&self, kept: &[Kept]) -> Result<bool, StoreError> {
        let new = kept.iter().filter(|kept| kept.update_time.is_none()).map(|kept| kept.deployment.clone());
        let new: Vec<Deployment> = new.collect();
        let known = if new.is_empty() { Vec::new() } else { self.facts.claims(Some(&new)).await? };
        let Some(claim) = known.first() else { return Ok(true) };
        if self.kept(&new).await?.iter().any(|kept| kept.update_time.is_some()) {
            return Ok(false);
        }
        Err(StoreError::Missing(format!(
            "{} knows nothing of {}, and the store has versions of its PED; expected them in both: `pedwatch daily` copies them",
            self.place, claim.subject
        )))
    }

    /// What Deployments have, in their order: one read each, whether there is something or not.
    async fn kept(&self, of: &[Deployment]) -> Result<Vec<Kept>, StoreError> {
        if of.is_empty() {
            return Ok(Vec::new());
        }
        let ids: Vec<String> = of.iter().map(document_id).collect();
        let found = self.api.batch_get(DEPLOYMENTS, &ids).await.map_err(|failure| self.fault(failure))?;
        let kept = |(deployment, found): (&Deployment, Option<Found>)| {
            let claims = found.as_ref().map_or_else(|| Ok(Vec::new()), |found| self.claims_in(found))?;
            Ok(Kept { deployment: deployment.clone(), update_time: found.map(|found| found.update_time), claims })
        };
        of.iter().zip(found).map(kept).collect()
    }

    /// The versions behind claims, whole.
    async fn whole(&self, kept: &[Kept]) -> Result<Vec<Version>, StoreError> {
        let ids: Vec<String> = kept.iter().flat_map(|kept| &kept.claims).map(|claim| claim.id.clone()).collect();
        let mut versions = Vec::new();
        for ids in ids.chunks(READ_AT_ONCE) {
            let found = self.api.batch_get(VERSIONS, ids).await.map_err(|failure| self.fault(failure))?;
            for (id, found) in ids.iter().zip(found) {
                let found = found.ok_or_else(|| self.unreadable(VERSIONS, id, "it is not there"))?;
                versions.push(self.version(found)?);
            }
        }
        Ok(versions)
    }

    async fn every_version(&self) -> Result<Vec<Version>, StoreError> {
        let (mut versions, mut after): (Vec<Version>, Option<String>) = Default::default();
        loop {
            let mut query = json!({
                "from": [{"collectionId": VERSIONS}],
                "orderBy": [{"field": {"fieldPath": "__name__"}, "direction": "ASCENDING"}],
                "limit": READ_AT_ONCE,
            });
            if let (Some(after), Some(query)) = (&after, query.as_object_mut()) {
                let after = json!({"referenceValue": self.api.name(VERSIONS, after)});
                query.insert("startAt".to_owned(), json!({"values": [after], "before": false}));
            }
            let found = self.api.run_query(&query).await.map_err(|failure| self.fault(failure))?;
            let is_last = found.len() < READ_AT_ONCE;
            after = found.last().map(|last| last.id.clone());
            for found in found {
                versions.push(self.version(found)?);
            }
            if is_last {
                return Ok(versions);
            }
        }
    }

    /// All claims, by reading the Deployments that have changed since the last time. Those who ask at once wait for each other.
    async fn every_claim(&self) -> Result<Vec<Claim>, StoreError> {
        let mut known = self.known.lock().await;
        let since = known.through.map(|through| through - COMMITS_WITHIN);
        let (mut through, mut after): (Option<DateTime<Utc>>, Option<Found>) = Default::default();
        loop {
            let query = self.changed(since, after.as_ref());
            let (found, read_at) = self.api.run_query_at(&query).await.map_err(|failure| self.fault(failure))?;
            // What changes while pages are read may be behind the last one, or not.
            through = through.or(Some(read_at));
            for found in &found {
                let claims = self.claims_in(found)?;
                known.claims.insert(found.id.clone(), claims);
            }
            if found.len() < READ_AT_ONCE {
                break;
            }
            after = found.into_iter().next_back();
        }
        known.through = through;
        Ok(known.claims.values().flatten().cloned().collect())
    }

    /// A page of the Deployments that were changed since a time, in that order, behind the last of the page before.
    fn changed(&self, since: Option<DateTime<Utc>>, after: Option<&Found>) -> Json {
        let ascending = |field: &str| json!({"field": {"fieldPath": field}, "direction": "ASCENDING"});
        let mut query = json!({
            "from": [{"collectionId": DEPLOYMENTS}],
            "orderBy": [ascending(CHANGED_AT), ascending("__name__")],
            "limit": READ_AT_ONCE,
        });
        let Some(parts) = query.as_object_mut() else { return query };
        if let Some(since) = since {
            let value = fields::time(Some(since));
            let field = json!({"fieldPath": CHANGED_AT});
            let is_since = json!({"fieldFilter": {"field": field, "op": "GREATER_THAN_OR_EQUAL", "value": value}});
            parts.insert("where".to_owned(), is_since);
        }
        if let Some(after) = after {
            let changed_at = after.fields.get(CHANGED_AT).cloned().unwrap_or_default();
            let name = json!({"referenceValue": self.api.name(DEPLOYMENTS, &after.id)});
            parts.insert("startAt".to_owned(), json!({"values": [changed_at, name], "before": false}));
        }
        query
    }

    /// Commits what a revision adds to the versions of some Deployments, and returns it; again, where somebody was faster.
    async fn commit(
        &self,
        of: &[Deployment],
        revision: &mut Revision<'_>,
        is_recorded: bool,
    ) -> Result<Vec<Version>, StoreError> {
        for attempt in 1..=MAX_ATTEMPTS {
            let kept = self.kept(of).await?;
            if !is_recorded && !self.may_begin(&kept).await? {
                continue;
            }
            let mut ids: HashSet<String> =
                kept.iter().flat_map(|kept| &kept.claims).map(|claim| claim.id.clone()).collect();
            let mut added = revision(of, self.whole(&kept).await?);
            added.retain(|version| ids.insert(version.id.clone()));
            if added.is_empty() {
                return Ok(added);
            }
            match self.api.commit(self.writes(kept, &added, is_recorded)).await {
                Ok(()) => return Ok(added),
                Err(Failure::Conflict) => tokio::time::sleep(pause(attempt)).await,
                Err(failure) => return Err(self.fault(failure)),
            }
        }
        let place = &self.place;
        Err(StoreError::Transient(format!(
            "{place}: others registered versions of the same Deployments again and again"
        )))
    }

    /// The writes that add versions to Deployments.
    fn writes(&self, kept: Vec<Kept>, added: &[Version], is_recorded: bool) -> Vec<Json> {
        let mut of: BTreeMap<Deployment, Vec<&Version>> = BTreeMap::new();
        for version in added {
            of.entry(version.subject.deployment()).or_default().push(version);
        }
        let mut writes = Vec::new();
        for Kept { deployment, update_time, claims } in kept {
            let Some(added) = of.remove(&deployment) else { continue };
            let claims = claims.into_iter().chain(added.iter().map(|version| Claim::from(*version)));
            let claims: Vec<KeptClaim> = claims.map(KeptClaim::from).collect();
            // Texts, numbers and times: this cannot fail.
            let claims = serde_json::to_string(&claims).unwrap_or_default();
            let fields = [("namespace", &deployment.0), ("deployment", &deployment.1), ("claims", &claims)];
            let fields = fields.map(|(name, value)| (name.to_owned(), fields::text(value))).into_iter().collect();
            let mut write = self.api.replaced(DEPLOYMENTS, &document_id(&deployment), fields, update_time.as_deref());
            if let Some(write) = write.as_object_mut() {
                let stamp = json!([{"fieldPath": CHANGED_AT, "setToServerValue": "REQUEST_TIME"}]);
                write.insert("updateTransforms".to_owned(), stamp);
            }
            writes.push(write);
            writes.extend(added.iter().map(|version| self.new_version(version, is_recorded)));
        }
        writes
    }

    fn new_version(&self, version: &Version, is_recorded: bool) -> Json {
        let row = Json::Object(Record::Version(Box::new(version.into())).json());
        let Subject { namespace, deployment, .. } = &version.subject;
        let fields = [
            ("namespace", fields::text(namespace)),
            ("deployment", fields::text(deployment)),
            ("row", fields::text(&row.to_string())),
            (RECORDED, fields::boolean(is_recorded)),
        ];
        let fields = fields.map(|(name, value)| (name.to_owned(), value)).into_iter().collect();
        self.api.replaced(VERSIONS, &version.id, fields, None)
    }

    /// Remembers that versions are in `deployment_config`.
    async fn mark(&self, ids: impl Iterator<Item = &str> + Send, is_recorded: bool) -> Result<(), StoreError> {
        let (ids, recorded): (Vec<&str>, Json) = (ids.collect(), fields::boolean(is_recorded));
        for ids in ids.chunks(READ_AT_ONCE) {
            let writes = ids.iter().map(|id| self.api.set(VERSIONS, id, RECORDED, &recorded));
            self.api.commit(writes.collect()).await.map_err(|failure| self.fault(failure))?;
        }
        Ok(())
    }

    fn version(&self, found: Found) -> Result<Version, StoreError> {
        let row = fields::read_text(&found.fields, "row");
        let row: Option<Map<String, Json>> = row.and_then(|row| serde_json::from_str(&row).ok());
        match row.and_then(|row| Record::from_json(DeploymentConfig::TABLE, &row)) {
            Some(Record::Version(row)) => Ok((*row).into()),
            _ => Err(self.unreadable(VERSIONS, &found.id, "row is not what this release writes there")),
        }
    }

    fn claims_in(&self, found: &Found) -> Result<Vec<Claim>, StoreError> {
        let text = |name: &'static str| {
            let value = fields::read_text(&found.fields, name);
            value.ok_or_else(|| self.unreadable(DEPLOYMENTS, &found.id, &format!("{name} is not there")))
        };
        let deployment = (text("namespace")?, text("deployment")?);
        let claims: Vec<KeptClaim> = serde_json::from_str(&text("claims")?)
            .map_err(|error| self.unreadable(DEPLOYMENTS, &found.id, &format!("its claims: {error}")))?;
        Ok(claims.into_iter().map(|claim| claim.of(&deployment)).collect())
    }

    fn unreadable(&self, collection: &str, id: &str, why: &str) -> StoreError {
        StoreError::Permanent(format!("{}: the document {collection}/{id} cannot be read: {why}", self.place))
    }

    fn fault(&self, failure: Failure) -> StoreError {
        fault(&self.place, failure)
    }

    /// What is registered did not come into `deployment_config`.
    fn left_out(&self, error: StoreError) -> StoreError {
        let told = |why: String| {
            let place = &self.place;
            format!(
                "it is in force by {place}; the next `ped register` or `daily` appends it to the store, which failed: {why}"
            )
        };
        match error {
            StoreError::Transient(why) => StoreError::Transient(told(why)),
            StoreError::Missing(why) => StoreError::Missing(told(why)),
            StoreError::Permanent(why) => StoreError::Permanent(told(why)),
        }
    }
}

fn fault(place: &str, failure: Failure) -> StoreError {
    match failure {
        Failure::Conflict => StoreError::Transient(format!("{place}: somebody else changed it meanwhile")),
        Failure::Transient(why) => StoreError::Transient(format!("{place}: {why}")),
        Failure::Missing(why) => StoreError::Missing(format!("{place}: {why}")),
        Failure::Permanent(why) => StoreError::Permanent(format!("{place}: {why}")),
    }
}

/// Names come from entries too, and anything may stand in those, while an id of Firestore has rules of its own.
fn document_id((namespace, name): &Deployment) -> String {
    id::id(&[namespace, name])
}

/// Those who were slower do not come back at once together.
fn pause(attempt: u32) -> Duration {
    let most = PAUSE_MILLIS * u64::from(attempt);
    Duration::from_millis(RandomState::new().hash_one(attempt) % most.max(1))
}

impl From<Claim> for KeptClaim {
    fn from(claim: Claim) -> Self {
        let clusters = claim.subject.clusters;
        KeptClaim {
            id: claim.id,
            clusters: (clusters != Clusters::Any).then(|| clusters.to_string()),
            from: claim.effective_at,
            until: claim.until,
            registered_at: claim.registered_at,
            max: claim.max_replicas,
        }
    }
}

impl KeptClaim {
    fn of(self, (namespace, deployment): &Deployment) -> Claim {
        let clusters = Clusters::of(self.clusters.as_deref());
        Claim {
            id: self.id,
            subject: Subject { namespace: namespace.clone(), deployment: deployment.clone(), clusters },
            effective_at: self.from,
            until: self.until,
            registered_at: self.registered_at,
            max_replicas: self.max,
        }
    }
}
