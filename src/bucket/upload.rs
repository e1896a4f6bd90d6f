//! Puts an object into Cloud Storage.

use std::time::Duration;

use backon::{ExponentialBuilder, Retryable};
use google_cloud_auth::credentials::AccessTokenCredentials;
use percent_encoding::utf8_percent_encode;
use reqwest::header::CONTENT_TYPE;
use reqwest::redirect::Policy;
use reqwest::{Client, Response};
use serde_json::Value as Json;

use super::{ObjectName, StorageConfig};
use crate::credentials;
use crate::remote::{IN_A_URL, chain};

const GOOGLE: &str = "https://storage.googleapis.com";

/// Objects may be written with it, what they may be read by stays: <https://cloud.google.com/storage/docs/oauth-scopes>.
const SCOPE: &str = "https://www.googleapis.com/auth/devstorage.read_write";

/// How long one attempt may take: a page has some megabytes.
const ATTEMPT_WITHIN: Duration = Duration::from_secs(60);

/// How often, and how soon, an upload is tried again: some 8 s in all.
const RETRIES: usize = 4;
const FIRST_PAUSE: Duration = Duration::from_millis(500);

/// How much is told of what the server says.
const TOLD_CHARS: usize = 300;

/// Why nothing was uploaded.
#[derive(Debug, thiserror::Error)]
#[error("{why}")]
pub struct UploadError {
    why: String,
    may_pass: bool,
}

impl UploadError {
    fn passing(why: String) -> Self {
        UploadError { why, may_pass: true }
    }

    fn lasting(why: String) -> Self {
        UploadError { why, may_pass: false }
    }

    fn lost(error: reqwest::Error) -> Self {
        Self::passing(format!("Cloud Storage does not answer: {}", chain(&error.without_url())))
    }
}

/// Cloud Storage, with credentials.
#[derive(Clone)]
pub struct Storage {
    client: Client,
    endpoint: String,
    credentials: Option<AccessTokenCredentials>,
}

impl Storage {
    /// Finds credentials. Nothing is asked of Cloud Storage yet.
    ///
    /// # Errors
    /// When there are none, with how to get some.
    pub async fn new(config: &StorageConfig) -> Result<Self, UploadError> {
        // Where the configuration says it is, and nowhere else.
        let client = Client::builder().timeout(ATTEMPT_WITHIN).redirect(Policy::none()).build();
        let credentials = match config.anonymous {
            true => None,
            false => Some(credentials::found(&[SCOPE]).await.map_err(UploadError::lasting)?),
        };
        Ok(Storage {
            client: client.map_err(|error| UploadError::lasting(chain(&error)))?,
            endpoint: config.endpoint.as_deref().unwrap_or(GOOGLE).trim_end_matches('/').to_owned(),
            credentials,
        })
    }

    /// Puts an object there, in the place of any other of its name. What may pass is tried again: the same bytes under the
    /// same name are the same object, however often they come.
    ///
    /// # Errors
    /// [`UploadError`]; the object that was there before still is.
    pub async fn upload(&self, name: &ObjectName, content_type: &str, content: &str) -> Result<(), UploadError> {
        let pauses = ExponentialBuilder::default().with_min_delay(FIRST_PAUSE).with_max_times(RETRIES).with_jitter();
        (|| self.attempt(name, content_type, content)).retry(pauses).when(|error| error.may_pass).await
    }

    async fn attempt(&self, name: &ObjectName, content_type: &str, content: &str) -> Result<(), UploadError> {
        let [bucket, object] = [&name.bucket, &name.object].map(|part| utf8_percent_encode(part, IN_A_URL));
        let url = format!("{}/upload/storage/v1/b/{bucket}/o?uploadType=media&name={object}", self.endpoint);
        let request = self.client.post(url).header(CONTENT_TYPE, content_type).body(content.to_owned());
        let request = match &self.credentials {
            None => request,
            Some(credentials) => {
                let token = credentials.access_token().await;
                let token = token.map_err(|error| {
                    UploadError::passing(format!("no access token: {}", credentials::causes(&error)))
                })?;
                request.bearer_auth(token.token)
            }
        };
        stored(request.send().await.map_err(UploadError::lost)?, name, content.len()).await
    }
}

/// Whether an answer says that all of it is there.
async fn stored(answer: Response, name: &ObjectName, bytes: usize) -> Result<(), UploadError> {
    let status = answer.status().as_u16();
    let body = answer.bytes().await.map_err(UploadError::lost)?;
    let said: Json = serde_json::from_slice(&body).unwrap_or_default();
    if status != 200 {
        return Err(refused(status, &said, name));
    }
    // Numbers of 64 bits are texts in Google's JSON.
    let size = said.get("size").and_then(Json::as_str).and_then(|size| size.parse::<usize>().ok());
    match size == Some(bytes) {
        true => Ok(()),
        false => {
            Err(UploadError::passing(format!("Cloud Storage has not {name} with its {bytes} bytes, by its answer")))
        }
    }
}

/// What a status means: <https://cloud.google.com/storage/docs/json_api/v1/status-codes>.
fn refused(status: u16, said: &Json, name: &ObjectName) -> UploadError {
    let message = said.pointer("/error/message").and_then(Json::as_str).unwrap_or_default();
    let message: String = message.chars().take(TOLD_CHARS).collect();
    let why = format!("Cloud Storage says {status}: {message}");
    let bucket = &name.bucket;
    match status {
        408 | 429 | 500..=599 => UploadError::passing(format!("{why}; it was tried {} times", RETRIES + 1)),
        401 => UploadError::lasting(format!("{why}; expected credentials that Cloud Storage takes")),
        403 => UploadError::lasting(format!(
            "{why}; this identity needs storage.objects.create and, to replace what is there, storage.objects.delete on gs://{bucket}"
        )),
        404 => UploadError::lasting(format!(
            "{why}; expected a bucket that is there: gcloud storage buckets create gs://{bucket}"
        )),
        _ => UploadError::lasting(why),
    }
}
