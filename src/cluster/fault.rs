//! What went wrong with a cluster: whether it may work later, what is missing, and how to give it.

use std::error::Error;
use std::fmt;
use std::time::Duration;

use backon::{BackoffBuilder, ExponentialBuilder};
use tokio::time::{Instant, sleep, timeout_at};

use super::{ClusterConfig, Way};
use crate::remote::chain;

/// How often a request is made before it is given up.
const ATTEMPTS: usize = 6;

/// How much of what a server says is told.
const TOLD_CHARS: usize = 500;

/// Why there is no answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fault {
    pub(super) kind: Kind,
    said: String,
    advice: Option<String>,
}

/// What a fault means for the one who asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// It may work later; the server may have said when.
    Transient(Option<Duration>),
    /// The token is not good (any more): a new one may be.
    Unauthorized,
    /// We are known, and may not.
    Forbidden,
    /// There is no such thing.
    NotFound,
    /// Somebody else wrote it in between.
    Conflict,
    /// The listing is too old to go on with: it has to begin again.
    Expired,
    /// It will not work without a person.
    Final,
}

impl Fault {
    pub(super) fn new(kind: Kind, said: impl fmt::Display) -> Self {
        let said: String = said.to_string().chars().take(TOLD_CHARS).collect();
        Fault { kind, said, advice: None }
    }

    pub(super) fn last(said: impl fmt::Display) -> Self {
        Self::new(Kind::Final, said)
    }

    #[must_use]
    pub(super) fn by(self, who: &str) -> Self {
        Fault { said: format!("{who} says {}", self.said), ..self }
    }

    #[must_use]
    pub(super) fn advised(self, advice: impl Into<String>) -> Self {
        Fault { advice: self.advice.or_else(|| Some(advice.into())), ..self }
    }

    #[must_use]
    pub(super) fn advised_instead(self, advice: String) -> Self {
        Fault { advice: Some(advice), ..self }
    }

    /// What an HTTP status means; `said` is what the server says of it.
    pub(super) fn of_status(status: u16, after: Option<Duration>, said: &str) -> Self {
        let kind = match status {
            408 | 429 | 500..=599 => Kind::Transient(after),
            401 => Kind::Unauthorized,
            403 => Kind::Forbidden,
            404 => Kind::NotFound,
            409 => Kind::Conflict,
            410 => Kind::Expired,
            _ => Kind::Final,
        };
        Self::new(kind, format_args!("{status}: {}", if said.is_empty() { "no reason given" } else { said }))
    }

    /// That there was no connection, or it broke. A certificate that is refused stays so.
    pub(super) fn of_connection(error: &(dyn Error + 'static), cluster: &ClusterConfig) -> Self {
        let said = chain(error);
        if said.contains("invalid peer certificate") {
            let advice = match cluster.access.way() {
                Way::Kubeconfig => "expected a certificate of the kubeconfig's certificate-authority-data",
                Way::Endpoint => {
                    "expected a certificate of the cluster's own authority, which GKE names: somebody stands between"
                }
                _ => "expected a certificate of a public authority, or of one that SSL_CERT_FILE names",
            };
            return Self::last(said).advised(advice);
        }
        Self::new(Kind::Transient(None), said).advised(unreachable(cluster))
    }

    /// What went wrong, by itself.
    pub fn said(&self) -> &str {
        &self.said
    }

    /// How to put it right.
    pub fn advice(&self) -> Option<&str> {
        self.advice.as_deref()
    }

    /// What a log may hold of it: whom a server refuses it calls by an e-mail address.
    pub fn loggable(&self) -> String {
        if !self.is(Kind::Forbidden) {
            return self.to_string();
        }
        self.advice().map_or_else(|| "403".to_owned(), |advice| format!("403; {advice}"))
    }

    pub(super) fn is(&self, kind: Kind) -> bool {
        self.kind == kind
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.said)?;
        self.advice.iter().try_for_each(|advice| write!(f, "; {advice}"))
    }
}

impl Error for Fault {}

fn unreachable(cluster: &ClusterConfig) -> String {
    let ClusterConfig { project, location, name, .. } = cluster;
    match cluster.access.way() {
        Way::Endpoint => format!(
            "expected this machine in the cluster's authorized networks (gcloud container clusters update {name} --project \
             {project} --location {location} --enable-master-authorized-networks --master-authorized-networks=OUR_ADDRESS/32), \
             or access = \"dns\""
        ),
        Way::Dns | Way::ConnectGateway => "expected a way out to Google's network from here".to_owned(),
        Way::InCluster | Way::Kubeconfig => "expected an API server at that address".to_owned(),
    }
}

/// Until when something has to be done.
#[derive(Debug, Clone, Copy)]
pub(super) struct Deadline {
    at: Instant,
    within: Duration,
}

impl Deadline {
    pub(super) fn new(within: Duration) -> Self {
        Deadline { at: Instant::now() + within, within }
    }

    /// Tries until it works, will not work, or the time is over. Where a token is refused, `renew` gets one chance.
    pub(super) async fn retry<T>(
        self,
        renew: impl Fn() -> bool,
        mut attempt: impl AsyncFnMut() -> Result<T, Fault>,
    ) -> Result<T, Fault> {
        let mut pauses = ExponentialBuilder::default()
            .with_jitter()
            .with_min_delay(Duration::from_millis(200))
            .with_max_delay(Duration::from_secs(8))
            .with_max_times(ATTEMPTS - 1)
            .build();
        let (mut last, mut is_renewed) = (None, false);
        loop {
            let fault = match timeout_at(self.at, attempt()).await {
                Ok(Err(fault)) => fault,
                Ok(done) => return done,
                Err(_) => return Err(self.over(last)),
            };
            let pause = match fault.kind {
                Kind::Unauthorized if !is_renewed && renew() => {
                    is_renewed = true;
                    Duration::ZERO
                }
                Kind::Transient(after) => match pauses.next() {
                    Some(pause) => pause.max(after.unwrap_or_default()),
                    None => return Err(fault),
                },
                _ => return Err(fault),
            };
            if Instant::now().checked_add(pause).is_none_or(|then| then >= self.at) {
                return Err(self.over(Some(fault)));
            }
            sleep(pause).await;
            last = Some(fault);
        }
    }

    fn over(self, last: Option<Fault>) -> Fault {
        let late = format!("no answer within {} s (snapshot.deadline_seconds)", self.within.as_secs());
        match last {
            None => Fault::last(late),
            Some(last) => Fault { kind: Kind::Final, said: format!("{late}; the last was: {}", last.said), ..last },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_pause_that_is_longer_than_the_time_left_is_not_waited_for() {
        for after in [61, u64::MAX] {
            let begun = Instant::now();
            let asked = async || Err::<(), _>(Fault::of_status(429, Some(Duration::from_secs(after)), "slow down"));
            let fault = Deadline::new(Duration::from_secs(60)).retry(|| false, asked).await.expect_err("too long");
            assert!(begun.elapsed() < Duration::from_secs(1), "it waits for nothing");
            assert_eq!(fault.said(), "no answer within 60 s (snapshot.deadline_seconds); the last was: 429: slow down");
        }
    }

    #[test]
    fn a_log_has_nobody_who_was_refused() {
        let said = "User \"alice@example.com\" cannot patch resource \"deployments\"";
        let refused = Fault::of_status(403, None, said);
        assert_eq!(refused.loggable(), "403");
        assert_eq!(refused.advised("expected a grant").loggable(), "403; expected a grant");
        assert_eq!(Fault::of_status(404, None, "not found").loggable(), "404: not found");
    }

    #[tokio::test]
    async fn a_refused_token_is_renewed_once() {
        let mut attempts = 0;
        let refused = Deadline::new(Duration::from_secs(60))
            .retry(
                || true,
                async || {
                    attempts += 1;
                    Err::<(), _>(Fault::of_status(401, None, "Unauthorized"))
                },
            )
            .await;
        assert_eq!((attempts, refused.expect_err("refused").said()), (2, "401: Unauthorized"));
    }

    #[tokio::test]
    async fn what_hangs_ends_with_its_time() {
        let hangs = async || std::future::pending::<Result<(), Fault>>().await;
        let fault = Deadline::new(Duration::from_secs(1)).retry(|| false, hangs).await.expect_err("late");
        assert_eq!(fault.to_string(), "no answer within 1 s (snapshot.deadline_seconds)");
    }
}
