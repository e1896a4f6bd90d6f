//! One API server, asked with a token, again while that may help, and never for longer than its cluster may take.

use std::sync::Arc;
use std::time::Duration;

use axum::http::header::{AUTHORIZATION, HeaderValue, RETRY_AFTER};
use axum::http::{HeaderMap, Request, Uri};
use chrono::Utc;
use futures::{Stream, StreamExt};
use http_body_util::{BodyExt, LengthLimitError, Limited};
use kube::api::WatchEvent;
use kube::client::Body;
use serde::Deserialize;
use serde::de::DeserializeOwned;

use super::access::Google;
use super::fault::{Deadline, Fault, Kind};
use super::{ClusterConfig, Way};
use crate::remote::{self, chain};

/// Most that is read of one answer: a page of 500 Deployments has some five megabytes.
const ANSWER_MAX_BYTES: usize = 64 << 20;

/// Most that is read of an answer that says what is wrong.
const ERROR_MAX_BYTES: usize = 64 << 10;

/// An API server, and who we are there.
pub struct Client {
    pub(super) kube: kube::Client,
    /// Whose token is sent, where kube has none of its own.
    pub(super) google: Option<Arc<Google>>,
    pub(super) cluster: ClusterConfig,
    pub(super) server: Uri,
    pub(super) deadline: Deadline,
}

/// An answer that says what is wrong, by Kubernetes or by something in front of it.
#[derive(Deserialize)]
struct Status {
    message: String,
}

impl Client {
    /// The answer to a request that may be made again: a GET, or a dry run.
    pub(super) async fn ask<T: DeserializeOwned>(&self, request: &Request<Vec<u8>>) -> Result<T, Fault> {
        self.deadline
            .retry(|| self.renew(), async || self.ask_once(request).await)
            .await
            .map_err(|fault| self.advised(fault))
    }

    async fn ask_once<T: DeserializeOwned>(&self, request: &Request<Vec<u8>>) -> Result<T, Fault> {
        let answer = self.kube.send(self.signed(request).await?).await.map_err(|error| match &error {
            // What kube makes tokens with, such as a plugin of the kubeconfig.
            kube::Error::Auth(_) => Fault::last(chain(&error)),
            _ => Fault::of_connection(&error, &self.cluster),
        })?;
        let (status, after) = (answer.status(), retry_after(answer.headers()));
        let limit = if status.is_success() { ANSWER_MAX_BYTES } else { ERROR_MAX_BYTES };
        let body = Limited::new(answer.into_body(), limit).collect().await.map(|body| body.to_bytes());
        if !status.is_success() {
            let said = serde_json::from_slice::<Status>(&body.unwrap_or_default()).map(|status| status.message);
            return Err(Fault::of_status(status.as_u16(), after, &said.unwrap_or_default()));
        }
        let body = body.map_err(|error| match error.is::<LengthLimitError>() {
            true => Fault::last(format_args!("an answer has more than {} MiB", ANSWER_MAX_BYTES >> 20))
                .advised("expected smaller pages (snapshot.page_objects)"),
            false => Fault::of_connection(&*error, &self.cluster),
        })?;
        // One that was cut on the way may come whole the next time.
        serde_json::from_slice(&body).map_err(|error| {
            Fault::new(Kind::Transient(None), format_args!("the answer is not what was asked for: {error}"))
        })
    }

    /// A request with our token, unless kube has one.
    async fn signed(&self, request: &Request<Vec<u8>>) -> Result<Request<Body>, Fault> {
        let mut signed = Request::new(Body::from(request.body().clone()));
        signed.method_mut().clone_from(request.method());
        signed.uri_mut().clone_from(request.uri());
        signed.headers_mut().clone_from(request.headers());
        self.sign(signed.headers_mut()).await?;
        Ok(signed)
    }

    async fn sign(&self, headers: &mut HeaderMap) -> Result<(), Fault> {
        let Some(google) = &self.google else { return Ok(()) };
        let token = format!("Bearer {}", google.token().await?);
        let mut value = HeaderValue::from_str(&token).map_err(|_| Fault::last("the token is no text of ASCII"))?;
        value.set_sensitive(true);
        headers.insert(AUTHORIZATION, value);
        Ok(())
    }

    /// Forgets a token that is not accepted; tells whether there will be another.
    pub(super) fn renew(&self) -> bool {
        self.google.as_ref().is_some_and(|google| google.renew())
    }

    /// What a watch tells, until the server ends it. It is asked for once.
    pub(super) async fn events<T: Clone + DeserializeOwned>(
        &self,
        mut request: Request<Vec<u8>>,
    ) -> Result<impl Stream<Item = Result<WatchEvent<T>, Fault>> + use<'_, T>, Fault> {
        self.sign(request.headers_mut()).await?;
        let events = self.kube.request_events::<T>(request).await.map_err(|error| self.fault(&error))?;
        Ok(events.map(|event| event.map_err(|error| self.fault(&error))))
    }

    fn fault(&self, error: &kube::Error) -> Fault {
        let fault = match error {
            kube::Error::Api(status) => Fault::of_status(status.code, None, &status.message),
            kube::Error::Auth(_) => Fault::last(chain(error)),
            _ => Fault::of_connection(error, &self.cluster),
        };
        self.advised(fault)
    }

    fn advised(&self, fault: Fault) -> Fault {
        let ClusterConfig { project, location, name, .. } = &self.cluster;
        let is_forbidden = fault.is(Kind::Forbidden);
        match self.cluster.access.way() {
            _ if fault.is(Kind::Unauthorized) => fault.advised(
                "expected a token that the cluster knows: of a Google identity with roles/container.viewer on the project, \
                 or one that kubectl works with",
            ),
            way @ (Way::Dns | Way::Endpoint | Way::ConnectGateway) if is_forbidden => {
                let role = if way == Way::ConnectGateway { "roles/gkehub.gatewayReader" } else { "roles/container.viewer" };
                fault.advised(format!(
                    "expected a grant: gcloud projects add-iam-policy-binding {project} --member=serviceAccount:OURS --role={role}; \
                     or, inside {name} ({location}) alone, kubectl apply -f deploy/kubernetes/rbac.yaml with our name in it"
                ))
            }
            _ if is_forbidden => fault
                .advised("expected a grant: kubectl apply -f deploy/kubernetes/rbac.yaml, with our name in its ClusterRoleBinding"),
            _ => fault,
        }
    }
}

fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    remote::retry_after(headers.get(RETRY_AFTER)?.to_str().ok()?, Utc::now())?.to_std().ok()
}
