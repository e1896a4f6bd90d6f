//! The ledger in a database of Firestore.

use chrono::{DateTime, TimeDelta, Utc};
use serde_json::{Map, Value as Json, json};

use super::api::{Api, Failure, Found};
use super::{DatabaseName, EXPIRY, FirestoreConfig, NOTIFICATIONS, fields};
use crate::incident::Kind;
use crate::notify::ledger::{Change, Claim, Ledger, LedgerError, Put, Stored, Wanted};
use crate::notify::notice::{Notice, Outcome, State, Turn};

/// The collection of what is known of incidents.
const DOCUMENTS: &str = "ledger_documents";

/// How long a notice stays when its incident is over, for who asks what was told.
const KEEP: TimeDelta = TimeDelta::days(90);

/// Notices of one incident and receiver that are looked at. Each step is one, and a day has few.
const SIBLINGS_MAX: u32 = 300;

/// How often a claim is tried while others take what it looked at.
const CLAIM_ATTEMPTS: u32 = 20;

/// The ledger in a database of Firestore.
#[derive(Debug, Clone)]
pub struct Firestore {
    api: Api,
}

impl Firestore {
    /// One database. Nothing is sent yet but a request for a token.
    ///
    /// # Errors
    /// [`LedgerError::Permanent`] where there are no credentials.
    pub async fn open(name: &DatabaseName, config: &FirestoreConfig) -> Result<Self, LedgerError> {
        Ok(Firestore { api: Api::new(name, config).await? })
    }

    /// The notices of an incident, for one receiver or all.
    async fn of_incident(&self, incident: &str, receiver: Option<&str>) -> Result<Vec<(Notice, Found)>, LedgerError> {
        let mut filters = vec![equal("incident_id", incident)];
        filters.extend(receiver.map(|receiver| equal("receiver", receiver)));
        let found = self.api.run_query(&query(NOTIFICATIONS, filters, None, SIBLINGS_MAX)).await?;
        let mut notices = found.into_iter().map(with_notice).collect::<Result<Vec<_>, _>>()?;
        notices.sort_by(|(left, _), (right, _)| (&left.receiver, left.seq).cmp(&(&right.receiver, right.seq)));
        Ok(notices)
    }

    async fn notice(&self, id: &str) -> Result<Option<(Notice, Found)>, LedgerError> {
        let found = self.api.batch_get(NOTIFICATIONS, &[id.to_owned()]).await?;
        found.into_iter().flatten().next().map(with_notice).transpose()
    }

    async fn due(&self, receiver: &str, now: DateTime<Utc>, most: u32) -> Result<Vec<(Notice, Found)>, LedgerError> {
        let filters = vec![equal("receiver", receiver), until("due_at", now)];
        let found = self.api.run_query(&query(NOTIFICATIONS, filters, Some("due_at"), most)).await?;
        found.into_iter().map(with_notice).collect()
    }

    /// The write of a notice that may be there already: then there is none.
    async fn added(&self, notice: Option<Notice>) -> Result<Option<Json>, LedgerError> {
        let Some(notice) = notice else { return Ok(None) };
        let is_new = self.notice(&notice.notification_id).await?.is_none();
        Ok(is_new.then(|| self.new_notice(&notice)))
    }

    fn new_notice(&self, notice: &Notice) -> Json {
        self.write(notice, None, expiry_of(notice))
    }

    /// The write of a notice's progress, if it still is as it was found.
    fn kept(&self, notice: &Notice, found: &Found) -> Json {
        let expires_at = found.fields.get(EXPIRY.1).filter(|known| known.get("timestampValue").is_some()).cloned();
        let expires_at = expires_at.unwrap_or_else(|| expiry_of(notice));
        self.write(notice, Some(&found.update_time), expires_at)
    }

    /// As [`Firestore::kept`], of an incident that is over: nothing refers to it any more.
    fn let_go(&self, notice: &Notice, found: &Found) -> Json {
        self.write(notice, Some(&found.update_time), fields::time(Some(Utc::now() + KEEP)))
    }

    fn write(&self, notice: &Notice, read: Option<&str>, expires_at: Json) -> Json {
        let mut fields = fields::of_notice(notice);
        fields.insert(EXPIRY.1.to_owned(), expires_at);
        self.api.replaced(NOTIFICATIONS, &notice.notification_id, fields, read)
    }

    fn put(&self, Put { key, revision, due_at, open_in, body }: &Put) -> Json {
        let mut fields = Map::new();
        fields.insert("body".to_owned(), fields::text(body));
        fields.insert("due_at".to_owned(), fields::time(*due_at));
        fields.insert("open_in".to_owned(), fields::texts(open_in));
        self.api.replaced(DOCUMENTS, key, fields, revision.as_deref())
    }
}

impl From<Failure> for LedgerError {
    fn from(failure: Failure) -> Self {
        match failure {
            Failure::Conflict => LedgerError::Conflict,
            Failure::Transient(why) => LedgerError::Transient(why),
            Failure::Missing(why) | Failure::Permanent(why) => LedgerError::Permanent(why),
        }
    }
}

#[async_trait::async_trait]
impl Ledger for Firestore {
    async fn documents(&self, keys: &[String]) -> Result<Vec<Option<Stored>>, LedgerError> {
        let found = self.api.batch_get(DOCUMENTS, keys).await?;
        found.into_iter().map(|found| found.map(stored).transpose()).collect()
    }

    async fn due_documents(&self, now: DateTime<Utc>, most: u32) -> Result<Vec<Stored>, LedgerError> {
        let found = self.api.run_query(&query(DOCUMENTS, vec![until("due_at", now)], Some("due_at"), most)).await?;
        found.into_iter().map(stored).collect()
    }

    async fn open_documents(&self, place: &str, after: Option<&str>, most: u32) -> Result<Vec<Stored>, LedgerError> {
        let mut query = query(DOCUMENTS, vec![open_in(place)], Some("__name__"), most);
        if let (Some(after), Some(query)) = (after, query.as_object_mut()) {
            let after = json!({"referenceValue": self.api.name(DOCUMENTS, after)});
            query.insert("startAt".to_owned(), json!({"values": [after], "before": false}));
        }
        self.api.run_query(&query).await?.into_iter().map(stored).collect()
    }

    async fn count_open(&self, place: &str) -> Result<u64, LedgerError> {
        Ok(self.api.count(&json!({"from": [{"collectionId": DOCUMENTS}], "where": open_in(place)})).await?)
    }

    async fn commit(&self, change: &Change) -> Result<(), LedgerError> {
        let mut writes: Vec<Json> = change.documents.iter().map(|document| self.put(document)).collect();
        for incident in &change.over {
            for (mut notice, found) in self.of_incident(incident, None).await? {
                notice.supersede();
                writes.push(self.let_go(&notice, &found));
            }
        }
        let ids: Vec<String> = change.notices.iter().map(|notice| notice.notification_id.clone()).collect();
        let known = if ids.is_empty() { Vec::new() } else { self.api.batch_get(NOTIFICATIONS, &ids).await? };
        let new = change.notices.iter().zip(known).filter(|(_, known)| known.is_none());
        writes.extend(new.map(|(notice, _)| self.new_notice(notice)));
        Ok(self.api.commit(writes).await?)
    }

    async fn claim(&self, claim: &Claim<'_>) -> Result<Option<Notice>, LedgerError> {
        let mut conflicts = 0;
        while let Some((mut notice, found)) = self.due(claim.receiver, claim.now, 1).await?.pop() {
            let siblings = self.of_incident(&notice.incident_id, Some(claim.receiver)).await?;
            let siblings: Vec<Notice> = siblings.into_iter().map(|(notice, _)| notice).collect();
            let turn = notice.take_turn(&siblings, claim.owner, &claim.patience, claim.now);
            let instead = notice.instead(&siblings, claim.now).filter(|_| turn != Turn::Later);
            let mut writes = vec![self.kept(&notice, &found)];
            writes.extend(self.added(instead).await?);
            match self.api.commit(writes).await {
                Ok(()) if turn == Turn::Now => return Ok(Some(notice)),
                Ok(()) => {}
                Err(Failure::Conflict) if conflicts < CLAIM_ATTEMPTS => conflicts += 1,
                Err(failure) => return Err(failure.into()),
            }
        }
        Ok(None)
    }

    async fn settle(&self, claimed: &Notice, outcome: &Outcome, claim: &Claim<'_>) -> Result<bool, LedgerError> {
        for _ in 0..CLAIM_ATTEMPTS {
            let mut siblings = self.of_incident(&claimed.incident_id, Some(&claimed.receiver)).await?;
            // Of very many it may not be among those that are looked at.
            if siblings.iter().all(|(notice, _)| notice.notification_id != claimed.notification_id) {
                siblings.extend(self.notice(&claimed.notification_id).await?);
            }
            let own = siblings.iter_mut().find(|(notice, _)| notice.notification_id == claimed.notification_id);
            let Some((own, found)) = own.filter(|(own, _)| own.is_owned_by(claim.owner, claimed.progress.attempts))
            else {
                return Ok(false);
            };
            own.settle(outcome, &claim.patience, claim.now);
            let mut writes = vec![self.kept(own, found)];
            let failed = Some(&*own).filter(|own| own.progress.state == State::Failed);
            writes.extend(self.added(failed.and_then(|own| own.instead(&[], claim.now))).await?);
            if !own.progress.state.is_open() {
                let waiting = siblings.iter_mut().filter(|(notice, _)| notice.seq > claimed.seq);
                let woken = waiting.filter_map(|(notice, found)| notice.wake(claim.now).then_some((notice, found)));
                writes.extend(woken.map(|(notice, found)| self.kept(notice, found)));
            }
            match self.api.commit(writes).await {
                Err(Failure::Conflict) => {}
                done => return Ok(done.map(|()| true)?),
            }
        }
        Err(LedgerError::Transient("others changed the notices of an incident again and again".to_owned()))
    }

    async fn due_notices(&self, receiver: &str, now: DateTime<Utc>, most: u32) -> Result<Vec<Notice>, LedgerError> {
        Ok(self.due(receiver, now, most).await?.into_iter().map(|(notice, _)| notice).collect())
    }

    async fn gather(&self, digest: &Notice, told: &[Notice]) -> Result<(), LedgerError> {
        let Some(new) = self.added(Some(digest.clone())).await? else { return Ok(()) };
        let ids: Vec<String> = told.iter().map(|notice| notice.notification_id.clone()).collect();
        let known = if ids.is_empty() { Vec::new() } else { self.api.batch_get(NOTIFICATIONS, &ids).await? };
        let mut writes = vec![new];
        for (notice, found) in told.iter().zip(known) {
            let found = found.map(with_notice).transpose()?;
            let Some((mut found, document)) = found.filter(|(found, _)| found == notice) else {
                return Err(LedgerError::Conflict);
            };
            found.gathered();
            writes.push(self.kept(&found, &document));
        }
        Ok(self.api.commit(writes).await?)
    }

    async fn retry(&self, id: &str, now: DateTime<Utc>) -> Result<Option<Notice>, LedgerError> {
        let Some((mut notice, found)) = self.notice(id).await? else { return Ok(None) };
        if !notice.retry(now) {
            return Ok(None);
        }
        self.api.commit(vec![self.kept(&notice, &found)]).await?;
        Ok(Some(notice))
    }

    async fn notices(&self, wanted: Wanted<'_>, most: u32) -> Result<Vec<Notice>, LedgerError> {
        let found = match wanted {
            Wanted::Notice(id) => return Ok(self.notice(id).await?.into_iter().map(|(notice, _)| notice).collect()),
            Wanted::Incident(incident) => {
                let mut found = self.of_incident(incident, None).await?;
                found.truncate(most as usize);
                return Ok(found.into_iter().map(|(notice, _)| notice).collect());
            }
            Wanted::State(state) => {
                let filters = vec![equal("state", &state.to_string())];
                self.api.run_query(&query(NOTIFICATIONS, filters, Some("created_at"), most)).await?
            }
        };
        found.into_iter().map(|found| Ok(with_notice(found)?.0)).collect()
    }
}

/// When a notice may go by itself. What is of an incident that has an end goes with that.
fn expiry_of(notice: &Notice) -> Json {
    let has_no_end = matches!(notice.content.kind, Kind::Once | Kind::Digest | Kind::Recovered);
    let is_never_sent = !matches!(notice.progress.state, State::Pending | State::Sending | State::Sent | State::Failed);
    fields::time((has_no_end || is_never_sent).then(|| notice.created_at + KEEP))
}

fn stored(found: Found) -> Result<Stored, LedgerError> {
    let body = fields::read_text(&found.fields, "body").ok_or_else(|| unreadable(&found.id, "body"))?;
    Ok(Stored { key: found.id, revision: found.update_time, body })
}

fn with_notice(found: Found) -> Result<(Notice, Found), LedgerError> {
    let notice = fields::notice(&found.id, &found.fields).map_err(|field| unreadable(&found.id, field))?;
    Ok((notice, found))
}

fn unreadable(id: &str, field: &str) -> LedgerError {
    LedgerError::Permanent(format!("the document {id} cannot be read: {field} is not what this release writes there"))
}

fn open_in(place: &str) -> Json {
    json!({"fieldFilter": {"field": {"fieldPath": "open_in"}, "op": "ARRAY_CONTAINS", "value": fields::text(place)}})
}

fn equal(field: &str, value: &str) -> Json {
    json!({"fieldFilter": {"field": {"fieldPath": field}, "op": "EQUAL", "value": fields::text(value)}})
}

fn until(field: &str, time: DateTime<Utc>) -> Json {
    let value = fields::time(Some(time));
    json!({"fieldFilter": {"field": {"fieldPath": field}, "op": "LESS_THAN_OR_EQUAL", "value": value}})
}

fn query(collection: &str, filters: Vec<Json>, order: Option<&str>, most: u32) -> Json {
    let mut query = json!({
        "from": [{"collectionId": collection}],
        "where": {"compositeFilter": {"op": "AND", "filters": filters}},
        "limit": most,
    });
    if let (Some(order), Some(query)) = (order, query.as_object_mut()) {
        query.insert("orderBy".to_owned(), json!([{"field": {"fieldPath": order}, "direction": "ASCENDING"}]));
    }
    query
}
