//! The three calls: documents by their ids, a query, and a commit.

use std::collections::HashMap;

use chrono::{DateTime, Utc};
use google_cloud_auth::credentials::AccessTokenCredentials;
use reqwest::Client;
use serde_json::{Map, Value as Json, json};

use super::{DatabaseName, FirestoreConfig};
use crate::{credentials, time};

const GOOGLE: &str = "https://firestore.googleapis.com";

/// <https://developers.google.com/identity/protocols/oauth2/scopes#firestore>
const SCOPE: &str = "https://www.googleapis.com/auth/datastore";

/// What an emulator takes for a token.
const EMULATOR_TOKEN: &str = "owner";

/// How much is told of what Firestore says.
const TOLD_CHARS: usize = 300;

/// Why a call did not do what was asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Failure {
    /// Somebody else changed what a commit goes by.
    Conflict,
    /// It may work later.
    Transient(String),
    /// The database or a grant is missing. It takes a person, unless it is on its way already.
    Missing(String),
    /// It takes a person.
    Permanent(String),
}

/// A document as it was found.
#[derive(Debug, Clone)]
pub(super) struct Found {
    pub(super) id: String,
    pub(super) fields: Map<String, Json>,
    pub(super) update_time: String,
}

#[derive(Clone)]
pub(super) struct Api {
    client: Client,
    /// Up to `/documents`.
    url: String,
    /// The same as documents are named.
    root: String,
    credentials: Option<AccessTokenCredentials>,
}

impl std::fmt::Debug for Api {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Firestore({})", self.root)
    }
}

impl Api {
    pub(super) async fn new(name: &DatabaseName, config: &FirestoreConfig) -> Result<Self, Failure> {
        let root = format!("projects/{}/databases/{}/documents", name.project, name.database);
        let endpoint = config.endpoint.as_deref().unwrap_or(GOOGLE).trim_end_matches('/');
        let client = Client::builder().timeout(config.deadline).build();
        let credentials = match config.anonymous {
            true => None,
            false => Some(credentials::found(&[SCOPE]).await.map_err(Failure::Permanent)?),
        };
        Ok(Api {
            client: client.map_err(|error| Failure::Permanent(error.to_string()))?,
            url: format!("{endpoint}/v1/{root}"),
            root,
            credentials,
        })
    }

    /// Documents of a collection in the order of their ids; `None` where there is none.
    pub(super) async fn batch_get(&self, collection: &str, ids: &[String]) -> Result<Vec<Option<Found>>, Failure> {
        let names: Vec<String> = ids.iter().map(|id| self.name(collection, id)).collect();
        let answer = self.call("batchGet", &json!({"documents": names})).await?;
        // They come in any order.
        let mut found: HashMap<String, Found> =
            documents(&answer, "found").into_iter().map(|found| (found.id.clone(), found)).collect();
        Ok(ids.iter().map(|id| found.remove(id)).collect())
    }

    pub(super) async fn run_query(&self, query: &Json) -> Result<Vec<Found>, Failure> {
        Ok(self.run_query_at(query).await?.0)
    }

    /// As [`Api::run_query`], with the time as of which it was answered: everything that was committed by then is in it.
    pub(super) async fn run_query_at(&self, query: &Json) -> Result<(Vec<Found>, DateTime<Utc>), Failure> {
        let answer = self.call("runQuery", &json!({"structuredQuery": query})).await?;
        let read_at = answer.pointer("/0/readTime").and_then(Json::as_str).and_then(time::read);
        let read_at = read_at.ok_or_else(|| Failure::Transient("an answer of Firestore has no readTime".to_owned()))?;
        Ok((documents(&answer, "document"), read_at))
    }

    /// How many documents a query finds. It costs a read for each thousand of them.
    pub(super) async fn count(&self, query: &Json) -> Result<u64, Failure> {
        let aggregation = json!({"structuredQuery": query, "aggregations": [{"alias": "count", "count": {}}]});
        let answer = self.call("runAggregationQuery", &json!({"structuredAggregationQuery": aggregation})).await?;
        let counted = answer.pointer("/0/result/aggregateFields/count/integerValue").and_then(Json::as_str);
        let unreadable = || Failure::Transient("a count of Firestore cannot be read".to_owned());
        counted.and_then(|count| count.parse().ok()).ok_or_else(unreadable)
    }

    /// All writes, or none of them.
    pub(super) async fn commit(&self, writes: Vec<Json>) -> Result<(), Failure> {
        self.call("commit", &json!({"writes": writes})).await.map(drop)
    }

    /// The write of a whole document: a new one, or in the place of the one with this `updateTime`.
    pub(super) fn replaced(&self, collection: &str, id: &str, fields: Map<String, Json>, read: Option<&str>) -> Json {
        let current = read.map_or(json!({"exists": false}), |time| json!({"updateTime": time}));
        json!({"update": {"name": self.name(collection, id), "fields": fields}, "currentDocument": current})
    }

    /// The write of one field of a document that is there, whatever else is in it.
    pub(super) fn set(&self, collection: &str, id: &str, field: &str, value: &Json) -> Json {
        json!({
            "update": {"name": self.name(collection, id), "fields": {field: value}},
            "updateMask": {"fieldPaths": [field]},
            "currentDocument": {"exists": true},
        })
    }

    pub(super) fn name(&self, collection: &str, id: &str) -> String {
        format!("{}/{collection}/{id}", self.root)
    }

    async fn call(&self, method: &str, body: &Json) -> Result<Json, Failure> {
        let token = match &self.credentials {
            None => EMULATOR_TOKEN.to_owned(),
            Some(credentials) => {
                let token = credentials.access_token().await;
                token.map_err(|error| Failure::Transient(credentials::causes(&error)))?.token
            }
        };
        let request = self.client.post(format!("{}:{method}", self.url)).bearer_auth(token).json(body);
        let broken = |error: reqwest::Error| Failure::Transient(credentials::causes(&error.without_url()));
        let response = request.send().await.map_err(broken)?;
        let status = response.status().as_u16();
        let answer: Json = match response.bytes().await.map_err(broken)? {
            body if status == 200 => serde_json::from_slice(&body)
                .map_err(|error| Failure::Transient(format!("an answer of Firestore cannot be read: {error}")))?,
            body => serde_json::from_slice(&body).unwrap_or_default(),
        };
        if status == 200 { Ok(answer) } else { Err(refused(method, status, &answer)) }
    }
}

/// What a failure means: <https://cloud.google.com/firestore/docs/understand-error-codes>.
fn refused(method: &str, status: u16, answer: &Json) -> Failure {
    // A query's answer is a list, its error too.
    let error = answer.pointer("/error").or_else(|| answer.pointer("/0/error"));
    let part = |name: &str| error.and_then(|error| error.get(name)).and_then(Json::as_str).unwrap_or_default();
    let said: String = part("message").chars().take(TOLD_CHARS).collect();
    let why = format!("Firestore says {status} {}: {said}", part("status"));
    match (part("status"), status) {
        // Somebody else was faster. Of a query, the second says that an index is missing.
        ("ALREADY_EXISTS" | "FAILED_PRECONDITION" | "ABORTED", _) if method == "commit" => Failure::Conflict,
        ("ABORTED", _) | (_, 408 | 429 | 500..) => Failure::Transient(why),
        (_, 403 | 404) => Failure::Missing(why),
        _ => Failure::Permanent(why),
    }
}

fn documents(answer: &Json, member: &str) -> Vec<Found> {
    let found = |part: &Json| {
        let document = part.get(member)?;
        let name = document.get("name")?.as_str()?;
        Some(Found {
            id: name.rsplit('/').next()?.to_owned(),
            fields: document.get("fields").and_then(Json::as_object).cloned().unwrap_or_default(),
            update_time: document.get("updateTime")?.as_str()?.to_owned(),
        })
    };
    answer.as_array().into_iter().flatten().filter_map(found).collect()
}
