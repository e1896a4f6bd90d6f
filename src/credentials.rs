//! Application Default Credentials: found at once, or told at once.

use std::error::Error;
use std::time::Duration;

use google_cloud_auth::credentials::{AccessTokenCredentials, Builder};
use tokio::time::{sleep, timeout};

/// How long the first token may take. Whoever has credentials has one within a second; where there are none, a metadata
/// server is looked for, whose address may lead nowhere. A person is told within 5 s.
const FIRST_WITHIN: Duration = Duration::from_secs(3);

/// How soon the first token is asked for again: a metadata server is there a moment later than its machine.
const ASK_AGAIN: Duration = Duration::from_millis(200);

/// What a person may do.
pub const ADVICE: &str = "expected Application Default Credentials: on a laptop, run gcloud auth application-default login; in \
                      CI, set GOOGLE_APPLICATION_CREDENTIALS to a file of credentials; on Google Cloud, give the workload a \
                      service account. An emulator needs none: set BIGQUERY_EMULATOR_HOST, PUBSUB_EMULATOR_HOST, FIRESTORE_EMULATOR_HOST or STORAGE_EMULATOR_HOST";

/// Application Default Credentials for these scopes. Nothing is sent yet.
///
/// # Errors
/// When a file of them cannot be read or understood.
pub fn default(scopes: &[&str]) -> Result<AccessTokenCredentials, String> {
    let built = Builder::default().with_scopes(scopes.iter().copied()).build_access_token_credentials();
    built.map_err(|error| format!("no credentials for Google Cloud ({}); {ADVICE}", causes(&error)))
}

/// As [`default`], and they are there: somebody has answered for them. What refuses a token may grant it a little later,
/// when IAM knows of it, so a refusal is left to the first request; but a metadata server that knows no service account has
/// none to give.
///
/// # Errors
/// As [`default`], and when nobody answers in time.
pub async fn found(scopes: &[&str]) -> Result<AccessTokenCredentials, String> {
    let credentials = default(scopes)?;
    let mut last = None;
    let answered = async {
        while let Err(error) = credentials.access_token().await {
            let why = causes(&error);
            if !error.is_transient() {
                return if is_unknown(&why) { Err(why) } else { Ok(()) };
            }
            last = Some(why);
            sleep(ASK_AGAIN).await;
        }
        Ok(())
    };
    match timeout(FIRST_WITHIN, answered).await {
        Ok(Ok(())) => Ok(credentials),
        Ok(Err(why)) => Err(format!("no credentials for Google Cloud ({why}); {ADVICE}")),
        Err(_) => {
            let last = last.unwrap_or_else(|| "no answer".to_owned());
            Err(format!("no credentials for Google Cloud within {} s ({last}); {ADVICE}", FIRST_WITHIN.as_secs()))
        }
    }
}

/// Whether a metadata server says that there is no such account: the library tells its status in its text alone.
fn is_unknown(why: &str) -> bool {
    why.contains("404")
}

/// The last two causes of an error: those before them say at length that there was one.
pub fn causes(error: &(dyn Error + 'static)) -> String {
    let (mut texts, mut next) = (Vec::new(), Some(error));
    while let Some(error) = next {
        texts.push(error.to_string());
        next = error.source();
    }
    let (_, last) = texts.split_at(texts.len().saturating_sub(2));
    match last {
        // Some say their cause too.
        [outer, inner] if outer.contains(inner) => outer.clone(),
        last => last.join(": "),
    }
}
