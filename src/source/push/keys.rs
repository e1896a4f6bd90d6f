//! Google's keys: always at hand, and fetched where nobody waits for it.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use jsonwebtoken::DecodingKey;
use jsonwebtoken::jwk::{AlgorithmParameters, Jwk};
use reqwest::header::{AGE, CACHE_CONTROL, HeaderMap, HeaderValue};
use serde::Deserialize;
use serde_json::Value as Json;
use tokio::sync::{Notify, watch};
use tokio::time::{Instant, timeout};

use crate::telemetry::steady::Steady;

/// When keys are fetched, and how long they are good. Ages are told by the monotonic clock: the other one may be wrong, and
/// be set right while keys are in use.
#[derive(Clone, Copy)]
struct Times {
    /// They are fetched this often where the answer does not say how long it is fresh. Google rotates them in days, and
    /// announces a new one well before it signs.
    refresh: Duration,
    /// Where it does (`Cache-Control: max-age`), not before this: whatever it says, Google is not asked all the time.
    refresh_least: Duration,
    /// Nor after this, so that a key that was withdrawn is in use for hours and not for days. Google says six hours.
    refresh_most: Duration,
    /// So long after a fetch, a token with an unknown key causes another; and so long after a failed one it is tried
    /// again. Made-up keys cannot make us ask Google all the time.
    again: Duration,
    /// The same while there are no keys, and nobody can be let in.
    without: Duration,
    /// How long keys are good when no others can be had. Google keeps a key published for days after the last token that it
    /// signed; one that was withdrawn in haste is used for a day at most.
    good: Duration,
    /// How long a fetch may take.
    fetch: Duration,
}

const TIMES: Times = Times {
    refresh: Duration::from_secs(3_600),
    refresh_least: Duration::from_secs(300),
    refresh_most: Duration::from_secs(12 * 3_600),
    again: Duration::from_secs(60),
    without: Duration::from_secs(1),
    good: Duration::from_secs(24 * 3_600),
    fetch: Duration::from_secs(5),
};

/// Longest answer: Google's has two or three keys in less than 4 KB.
const ANSWER_MAX_BYTES: usize = 64 << 10;

/// The public keys of a set by id. One id may stand at several.
type Set = Arc<[(String, DecodingKey)]>;

/// An answer for keys.
#[derive(Clone)]
struct Answer {
    set: Set,
    /// How long it is fresh, if it says so.
    fresh: Option<Duration>,
}

#[derive(Default, Clone)]
struct Known {
    set: Set,
    fresh: Option<Duration>,
    fetched: Option<Instant>,
    attempts: u64,
    /// Why the last fetch failed.
    failed: Option<String>,
}

impl Known {
    fn are_good(&self, times: &Times, now: Instant) -> bool {
        self.fetched.is_some_and(|at| now.duration_since(at) < times.good)
    }

    /// How long to wait for the next fetch: if somebody asks for it, and if nobody does.
    fn next(&self, times: &Times, now: Instant) -> (Duration, Duration) {
        match &self.failed {
            None => {
                let within = |fresh: Duration| fresh.clamp(times.refresh_least, times.refresh_most);
                (times.again, self.fresh.map_or(times.refresh, within))
            }
            Some(_) if self.are_good(times, now) => (times.again, times.again),
            Some(_) => (times.without, times.again),
        }
    }

    fn learn(&mut self, fetched: Result<Answer>, now: Instant) {
        self.attempts += 1;
        match fetched {
            Ok(Answer { set, fresh }) => {
                *self = Known { set, fresh, fetched: Some(now), attempts: self.attempts, failed: None }
            }
            Err(why) => self.failed = Some(format!("{why:#}")),
        }
    }
}

/// Keys that one task fetches, and any request reads without waiting.
pub(super) struct Keys {
    known: watch::Receiver<Known>,
    wanted: Arc<Notify>,
    times: Times,
}

impl Keys {
    /// Begins to fetch them.
    pub(super) fn of(url: &str) -> Result<Self> {
        // Where the configuration says they are, and nowhere else.
        let http = reqwest::Client::builder().redirect(reqwest::redirect::Policy::none()).build()?;
        let url = url.to_owned();
        let fetch = move || {
            let (http, url) = (http.clone(), url.clone());
            async move { fetch(&http, &url).await }
        };
        Ok(Self::start(TIMES, fetch))
    }

    fn start<F>(times: Times, fetch: impl Fn() -> F + Send + 'static) -> Self
    where
        F: Future<Output = Result<Answer>> + Send + 'static,
    {
        let (learnt, known) = watch::channel(Known::default());
        let wanted = Arc::new(Notify::new());
        tokio::spawn(keep(times, fetch, learnt, Arc::clone(&wanted)));
        Keys { known, wanted, times }
    }

    /// The keys at hand. Only while there are none, it waits for a fetch that ends after this call.
    ///
    /// # Errors
    /// When there are none; the task that fetches has logged why.
    pub(super) async fn at_hand(&self) -> Result<Set, NoKeys> {
        let mut known = self.known.clone();
        let good = |known: &Known| known.are_good(&self.times, Instant::now()).then(|| Arc::clone(&known.set));
        let (set, attempts) = {
            let known = known.borrow();
            (good(&known), known.attempts)
        };
        if let Some(set) = set {
            return Ok(set);
        }
        self.wanted.notify_one();
        let fetch = known.wait_for(|known| known.attempts > attempts);
        let fetched = timeout(self.times.without + self.times.fetch, fetch).await;
        fetched.ok().and_then(Result::ok).and_then(|known| good(&known)).ok_or(NoKeys)
    }

    /// Tells that a token names a key which is not among them. Nobody waits for what comes of it.
    pub(super) fn lacks_one(&self) {
        self.wanted.notify_one();
    }
}

/// There are no keys to verify with.
pub(super) struct NoKeys;

/// Fetches keys as long as anybody may ask for them: one fetch at a time, each within its time.
async fn keep<F>(times: Times, fetch: impl Fn() -> F, learnt: watch::Sender<Known>, wanted: Arc<Notify>)
where
    F: Future<Output = Result<Answer>>,
{
    let trouble = Steady::default();
    loop {
        let fetched = timeout(times.fetch, fetch()).await.context("they did not come in time").flatten();
        match &fetched {
            Ok(answer) => tracing::debug!(keys = answer.set.len(), "Google's keys are fetched"),
            Err(why) => {
                let why = format!("{why:#}");
                if let Some(times) = trouble.failed(&why) {
                    tracing::warn!(why, times, "Google's keys cannot be read");
                }
            }
        }
        learnt.send_modify(|known| known.learn(fetched, Instant::now()));
        let (asked, unasked) = learnt.borrow().next(&times, Instant::now());
        let next = async {
            tokio::time::sleep(asked).await;
            // Whether somebody asked, or it is time: the next fetch is the same.
            let _ = timeout(unasked.saturating_sub(asked), wanted.notified()).await;
        };
        tokio::select! {
            () = next => {}
            () = learnt.closed() => return,
        }
    }
}

async fn fetch(http: &reqwest::Client, url: &str) -> Result<Answer> {
    let answer = http.get(url).send().await.map_err(reqwest::Error::without_url)?;
    let status = answer.status();
    ensure!(status == reqwest::StatusCode::OK, "the answer is {status}");
    let fresh = fresh(answer.headers());
    let (mut answer, mut body) = (answer, Vec::new());
    while let Some(part) = answer.chunk().await.map_err(reqwest::Error::without_url)? {
        if body.len() + part.len() > ANSWER_MAX_BYTES {
            bail!("the answer is longer than {ANSWER_MAX_BYTES} bytes");
        }
        body.extend_from_slice(&part);
    }
    Ok(Answer { set: parse(&body)?, fresh })
}

/// How long an answer is fresh from now on, if its headers say so (RFC 9111, 4.2): `max-age`, less what a cache on the way
/// has kept it for.
fn fresh(headers: &HeaderMap) -> Option<Duration> {
    let text = |value: &HeaderValue| value.to_str().unwrap_or_default().to_ascii_lowercase();
    let directives: Vec<String> = headers.get_all(CACHE_CONTROL).iter().map(text).collect();
    let seconds = |text: &str| text.trim().trim_matches('"').parse().ok();
    let max_age: u64 = directives
        .iter()
        .flat_map(|directives| directives.split(','))
        .find_map(|directive| seconds(directive.trim().strip_prefix("max-age=")?))?;
    let age = headers.get(AGE).map(text).and_then(|age| seconds(&age)).unwrap_or_default();
    Some(Duration::from_secs(max_age.saturating_sub(age)))
}

/// The RSA keys of a set; others are not Google's to sign with. A set without any is no answer: Google always has some, and
/// those at hand are better.
fn parse(body: &[u8]) -> Result<Set> {
    #[derive(Deserialize)]
    struct Keys {
        keys: Vec<Json>,
    }
    let set: Keys = serde_json::from_slice(body).context("the answer is no key set")?;
    let key = |jwk: Json| {
        let jwk: Jwk = serde_json::from_value(jwk).ok()?;
        let is_rsa = matches!(jwk.algorithm, AlgorithmParameters::RSA(_));
        Some((jwk.common.key_id.clone()?, DecodingKey::from_jwk(&jwk).ok()?)).filter(|_| is_rsa)
    };
    let keys: Set = set.keys.into_iter().filter_map(key).collect();
    ensure!(!keys.is_empty(), "the answer has no RSA key");
    Ok(keys)
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use anyhow::anyhow;

    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn set(ids: &[&str]) -> Answer {
        let set = ids.iter().map(|id| ((*id).to_owned(), DecodingKey::from_secret(b""))).collect();
        Answer { set, fresh: None }
    }

    #[test]
    fn keys_are_fetched_again_when_their_answer_is_stale_within_bounds() {
        let headers = |lines: &[(&'static str, &str)]| {
            let line = |(name, value): &(&'static str, &str)| {
                (reqwest::header::HeaderName::from_static(name), HeaderValue::from_str(value).expect("a value"))
            };
            lines.iter().map(line).collect::<HeaderMap>()
        };
        let google = "public, max-age=21600, must-revalidate, no-transform";
        for (lines, refresh) in [
            (vec![("cache-control", google)], 21_600),
            (vec![("cache-control", google), ("age", "3600")], 18_000),
            (vec![("cache-control", google), ("age", "99999")], 300),
            (vec![("cache-control", "Max-Age=0")], 300),
            (vec![("cache-control", "public"), ("cache-control", "max-age=\"600\"")], 600),
            (vec![("cache-control", "max-age=99999999")], 43_200),
            (vec![("cache-control", "max-age=99999999999999999999999")], 3_600),
            (vec![("cache-control", "max-age=-1, s-maxage=7, no-cache")], 3_600),
            (vec![], 3_600),
        ] {
            let mut known = Known::default();
            let now = Instant::now();
            known.learn(Ok(Answer { fresh: fresh(&headers(&lines)), ..set(&["a"]) }), now);
            assert_eq!(known.next(&TIMES, now), (SECOND * 60, SECOND * refresh), "{lines:?}");
            known.learn(Err(anyhow!("down")), now);
            assert_eq!(known.next(&TIMES, now), (SECOND * 60, SECOND * 60), "{lines:?}");
        }
    }

    /// The same proportions as in production, a thousand times faster.
    const FAST: Times = Times {
        refresh: Duration::from_secs(3_600),
        refresh_least: Duration::from_secs(3_600),
        refresh_most: Duration::from_secs(3_600),
        again: Duration::from_millis(60),
        without: Duration::from_millis(1),
        good: Duration::from_millis(500),
        fetch: Duration::from_millis(50),
    };

    #[test]
    fn keys_are_good_for_a_day_of_outage_by_a_clock_that_nobody_sets() {
        let (mut known, start) = (Known::default(), Instant::now());
        assert_eq!(known.next(&TIMES, start), (SECOND * 60, SECOND * 3_600));
        assert!(!known.are_good(&TIMES, start));
        known.learn(Err(anyhow!("down")), start);
        assert_eq!(known.next(&TIMES, start), (SECOND, SECOND * 60), "nobody can be let in: soon again");
        known.learn(Ok(set(&["old"])), start);
        assert_eq!(known.next(&TIMES, start), (SECOND * 60, SECOND * 3_600));
        known.learn(Err(anyhow!("down")), start + SECOND * 3_600);
        let almost_a_day = start + SECOND * 86_399;
        assert!(known.are_good(&TIMES, almost_a_day));
        assert_eq!(known.next(&TIMES, almost_a_day), (SECOND * 60, SECOND * 60));
        let a_day = start + SECOND * 86_400;
        assert!(!known.are_good(&TIMES, a_day));
        assert_eq!(known.next(&TIMES, a_day), (SECOND, SECOND * 60));
        known.learn(Ok(set(&["new"])), a_day);
        assert!(known.are_good(&TIMES, a_day) && known.set[0].0 == "new", "what Google has dropped is dropped");
    }

    #[tokio::test]
    async fn a_fetch_that_hangs_keeps_nobody_waiting_who_has_keys() {
        let fetches = Arc::new(AtomicUsize::new(0));
        let fetch = {
            let fetches = Arc::clone(&fetches);
            move || {
                let first = fetches.fetch_add(1, Ordering::Relaxed) == 0;
                async move { if first { Ok(set(&["known"])) } else { std::future::pending().await } }
            }
        };
        let keys = Keys::start(FAST, fetch);
        assert!(keys.at_hand().await.is_ok(), "the first waits");
        let (begun, mut longest) = (Instant::now(), Duration::ZERO);
        while begun.elapsed() < FAST.good / 2 {
            keys.lacks_one();
            let asked = Instant::now();
            assert!(keys.at_hand().await.is_ok());
            longest = longest.max(asked.elapsed());
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        // Each of them takes 50 ms, and the next is 60 ms later.
        let fetches = fetches.load(Ordering::Relaxed);
        assert!((2..=4).contains(&fetches), "{fetches} fetches");
        assert!(longest < Duration::from_millis(20), "{longest:?}");
        tokio::time::sleep(FAST.good).await;
        let asked = Instant::now();
        assert!(keys.at_hand().await.is_err(), "they are too old");
        assert!(asked.elapsed() < FAST.fetch * 4, "{:?}", asked.elapsed());
    }

    #[tokio::test]
    async fn who_gives_up_waiting_changes_nothing_for_the_others() {
        let answer = Arc::new(Mutex::new(None));
        let fetch = {
            let answer = Arc::clone(&answer);
            move || {
                let answer: Option<Answer> = answer.lock().expect("whole").clone();
                async { answer.ok_or_else(|| anyhow!("down")) }
            }
        };
        let keys = Keys::start(FAST, fetch);
        for _ in 0..100 {
            let _ = timeout(Duration::from_micros(200), keys.at_hand()).await;
        }
        assert!(keys.at_hand().await.is_err());
        *answer.lock().expect("whole") = Some(set(&["known"]));
        assert!(keys.at_hand().await.is_ok(), "the first who asks afterwards finds them");
    }

    #[test]
    fn of_a_set_the_rsa_keys_count_and_one_without_is_no_answer() {
        let rsa = r#"{"kty":"RSA","alg":"RS256","kid":"a","n":"AQAB","e":"AQAB"}"#;
        let parsed = |keys: &str| parse(format!(r#"{{"keys":[{keys}]}}"#).as_bytes()).map(|set| set.len());
        assert_eq!(parsed(rsa).expect("a set"), 1);
        assert_eq!(parsed(&format!("{rsa},{rsa}")).expect("a set"), 2, "the same id twice");
        let others = r#"{"kty":"oct","kid":"a","k":"AQAB"},{"kty":"new","kid":"a"},{"kid":"a"},7,null,"#;
        assert_eq!(parsed(&format!("{others}{rsa}")).expect("a set"), 1);
        for none in ["", r#"{"kty":"oct","kid":"a","k":"AQAB"}"#, r#"{"kty":"RSA","n":"AQAB","e":"AQAB"}"#] {
            assert!(parsed(none).is_err(), "{none}");
        }
        assert!(parse(b"<html>").is_err());
    }
}
