//! Where a cluster's API server is, and who we are there. No plugin is needed for GKE: its token is Google's.

use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use google_cloud_auth::credentials::AccessTokenCredentials;
use kube::config::{KubeConfigOptions, Kubeconfig};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use serde::Deserialize;

use super::client::Client;
use super::fault::{Deadline, Fault, Kind};
use super::{Access, ClusterConfig, GkeConfig};
use crate::credentials;
use crate::remote::chain;

const CONTAINER: &str = "https://container.googleapis.com";
const GATEWAY: &str = "connectgateway.googleapis.com";

/// Without the second, a cluster sees a number instead of the e-mail, and RBAC by e-mail fails.
const SCOPES: [&str; 2] =
    ["https://www.googleapis.com/auth/cloud-platform", "https://www.googleapis.com/auth/userinfo.email"];

/// How long a connection may take, and how long an answer may say nothing.
const CONNECTED_WITHIN: Duration = Duration::from_secs(10);
const SILENT_FOR: Duration = Duration::from_secs(30);

/// Most that is read of how GKE describes a cluster: some 20 KiB.
const DESCRIPTION_MAX_BYTES: usize = 4 << 20;

/// Google's servers, and our identity there.
pub struct Google {
    config: GkeConfig,
    http: reqwest::Client,
    /// Application Default Credentials, which cache their token and renew it in time; looked for when they are needed.
    credentials: RwLock<Option<AccessTokenCredentials>>,
}

impl Google {
    /// Nothing is looked for yet.
    ///
    /// # Errors
    /// When there is no TLS.
    pub fn new(config: &GkeConfig) -> Result<Self, reqwest::Error> {
        let http = reqwest::Client::builder()
            .redirect(reqwest::redirect::Policy::none())
            .connect_timeout(CONNECTED_WITHIN)
            .read_timeout(SILENT_FOR)
            .build()?;
        Ok(Google { config: config.clone(), http, credentials: RwLock::new(None) })
    }

    /// A token that is good now.
    pub(super) async fn token(&self) -> Result<String, Fault> {
        let known = self.credentials.read().unwrap_or_else(PoisonError::into_inner).clone();
        let credentials = match known {
            Some(credentials) => credentials,
            None => {
                let found = credentials::found(&SCOPES).await.map_err(Fault::last)?;
                self.remember(found.clone());
                found
            }
        };
        let token = credentials.access_token().await.map_err(|error| {
            let kind = if error.is_transient() { Kind::Transient(None) } else { Kind::Final };
            Fault::new(kind, format_args!("no access token from Google: {}", credentials::causes(&error)))
        })?;
        Ok(token.token)
    }

    /// Forgets a token that is not accepted; tells whether there will be another.
    pub(super) fn renew(&self) -> bool {
        credentials::default(&SCOPES).map(|renewed| self.remember(renewed)).is_ok()
    }

    fn remember(&self, credentials: AccessTokenCredentials) {
        *self.credentials.write().unwrap_or_else(PoisonError::into_inner) = Some(credentials);
    }

    async fn describe(&self, cluster: &ClusterConfig, deadline: Deadline) -> Result<Description, Fault> {
        deadline.retry(|| self.renew(), async || self.describe_once(cluster).await).await
    }

    async fn describe_once(&self, cluster: &ClusterConfig) -> Result<Description, Fault> {
        let base = self.config.endpoint.as_deref().unwrap_or(CONTAINER).trim_end_matches('/');
        let token = self.token().await?;
        let asked = self.http.get(format!("{base}/v1/{}", cluster.cluster())).bearer_auth(token);
        let lost = |error: reqwest::Error| Fault::new(Kind::Transient(None), chain(&error.without_url()));
        let mut answer = asked.send().await.map_err(lost)?;
        let status = answer.status();
        let mut body = Vec::new();
        while let Some(part) = answer.chunk().await.map_err(lost)? {
            if body.len() + part.len() > DESCRIPTION_MAX_BYTES {
                return Err(Fault::last("the Kubernetes Engine API answers without end"));
            }
            body.extend_from_slice(&part);
        }
        if status.is_success() {
            return serde_json::from_slice(&body)
                .map_err(|error| Fault::last(format_args!("the Kubernetes Engine API describes no cluster: {error}")));
        }
        let said = serde_json::from_slice::<Refusal>(&body).map(|refusal| refusal.error.message);
        let fault = Fault::of_status(status.as_u16(), None, &said.unwrap_or_default());
        Err(advised(fault.by("the Kubernetes Engine API"), cluster))
    }
}

fn advised(fault: Fault, cluster: &ClusterConfig) -> Fault {
    let ClusterConfig { project, location, name, .. } = cluster;
    match fault.kind {
        Kind::NotFound => fault.advised(format!(
            "expected a cluster {name} in {location}: gcloud container clusters list --project {project} names those there are"
        )),
        Kind::Forbidden => fault.advised(format!(
            "expected a grant: gcloud projects add-iam-policy-binding {project} --member=serviceAccount:OURS \
             --role=roles/container.viewer, which holds container.clusters.get and container.clusters.connect"
        )),
        _ => fault,
    }
}

#[derive(Deserialize)]
struct Refusal {
    error: RefusalError,
}

#[derive(Deserialize)]
struct RefusalError {
    message: String,
}

/// What the Kubernetes Engine API says of a cluster:
/// <https://cloud.google.com/kubernetes-engine/docs/reference/rest/v1/projects.locations.clusters>.
#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Description {
    endpoint: String,
    master_auth: MasterAuth,
    private_cluster_config: PrivateEndpoint,
    control_plane_endpoints_config: ControlPlane,
    fleet: Fleet,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct MasterAuth {
    /// PEM in base64.
    cluster_ca_certificate: String,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct ControlPlane {
    dns_endpoint_config: DnsEndpoint,
    ip_endpoints_config: PrivateEndpoint,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct DnsEndpoint {
    endpoint: String,
    allow_external_traffic: bool,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct PrivateEndpoint {
    private_endpoint: String,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Fleet {
    /// `//gkehub.googleapis.com/projects/NUMBER/locations/LOCATION/memberships/NAME`.
    membership: String,
}

/// Finds a cluster's API server. The cluster may take so long from now on, with all that is asked of it.
///
/// # Errors
/// [`Fault`] when there is none, or GKE does not tell where.
pub async fn connect(google: &Arc<Google>, cluster: &ClusterConfig, within: Duration) -> Result<Client, Fault> {
    connect_silent_for(google, cluster, within, SILENT_FOR).await
}

/// The same, with connections that may say nothing for so long.
pub(super) async fn connect_silent_for(
    google: &Arc<Google>,
    cluster: &ClusterConfig,
    within: Duration,
    silent_for: Duration,
) -> Result<Client, Fault> {
    let deadline = Deadline::new(within);
    let mut config = match &cluster.access {
        Access::InCluster => kube::Config::incluster().map_err(|error| {
            Fault::last(chain(&error)).advised("expected to run in a pod that has a service account")
        })?,
        Access::Kubeconfig { file, context } => {
            let read = file.as_ref().map_or_else(Kubeconfig::read, Kubeconfig::read_from).map_err(no_kubeconfig)?;
            let options = KubeConfigOptions { context: context.clone(), ..KubeConfigOptions::default() };
            kube::Config::from_custom_kubeconfig(read, &options).await.map_err(no_kubeconfig)?
        }
        Access::Dns => google.describe(cluster, deadline).await?.by_dns(cluster)?,
        Access::Endpoint { private } => google.describe(cluster, deadline).await?.by_address(cluster, *private)?,
        Access::ConnectGateway { membership: Some(membership) } => through_gateway(membership, &google.config)?,
        Access::ConnectGateway { membership: None } => {
            through_gateway(google.describe(cluster, deadline).await?.membership(cluster)?, &google.config)?
        }
    };
    config.connect_timeout = Some(CONNECTED_WITHIN);
    config.read_timeout = Some(silent_for);
    // A connection that was idle has not been silent.
    config.reset_reader_on_write = true;
    // We ask again ourselves, within the deadline.
    config.default_retry = false;
    let is_googles = matches!(cluster.access, Access::Dns | Access::Endpoint { .. } | Access::ConnectGateway { .. });
    Ok(Client {
        server: config.cluster_url.clone(),
        kube: kube::Client::try_from(config).map_err(|error| Fault::last(chain(&error)))?,
        google: is_googles.then(|| Arc::clone(google)),
        cluster: cluster.clone(),
        deadline,
    })
}

fn no_kubeconfig(error: kube::config::KubeconfigError) -> Fault {
    Fault::last(chain(&error)).advised("expected a kubeconfig that kubectl works with")
}

/// An address as GKE gives it: a name or an IP address, of which one of version 6 stands in brackets.
fn server(address: &str) -> Result<kube::Config, Fault> {
    let url = format!("https://{address}");
    let url =
        url.parse().map_err(|error| Fault::last(format_args!("{url:?} is no address of an API server: {error}")))?;
    Ok(kube::Config::new(url))
}

impl Description {
    fn by_dns(&self, cluster: &ClusterConfig) -> Result<kube::Config, Fault> {
        let DnsEndpoint { endpoint, allow_external_traffic } = &self.control_plane_endpoints_config.dns_endpoint_config;
        if endpoint.is_empty() || !allow_external_traffic {
            let ClusterConfig { project, location, name, .. } = cluster;
            return Err(Fault::last("the cluster lets nobody in by a DNS endpoint").advised(format!(
                "expected one: gcloud container clusters update {name} --project {project} --location {location} \
                 --enable-dns-access; or access = \"endpoint\""
            )));
        }
        server(endpoint)
    }

    fn by_address(&self, cluster: &ClusterConfig, private: bool) -> Result<kube::Config, Fault> {
        let insides = [
            &self.control_plane_endpoints_config.ip_endpoints_config.private_endpoint,
            &self.private_cluster_config.private_endpoint,
        ];
        let inside = insides.into_iter().find(|address| !address.is_empty());
        let address = if private { inside } else { Some(&self.endpoint).filter(|address| !address.is_empty()) };
        let Some(address) = address else {
            let which = if private { "private" } else { "public" };
            let key = format!("clusters.{}.private_endpoint = {}", cluster.handle, !private);
            return Err(Fault::last(format_args!("the cluster has no {which} address"))
                .advised(format!("expected {key}, or access = \"dns\"")));
        };
        let mut config = server(address)?;
        config.root_cert = Some(self.authority()?);
        Ok(config)
    }

    /// The cluster's own authority.
    fn authority(&self) -> Result<Vec<Vec<u8>>, Fault> {
        let pem = BASE64_STANDARD.decode(&self.master_auth.cluster_ca_certificate).unwrap_or_default();
        let certificates = CertificateDer::pem_slice_iter(&pem).map(|one| one.map(|der| der.to_vec()));
        match certificates.collect::<Result<Vec<_>, _>>() {
            Ok(certificates) if !certificates.is_empty() => Ok(certificates),
            _ => Err(Fault::last("the Kubernetes Engine API names no certificate of the cluster's authority")),
        }
    }

    fn membership(&self, cluster: &ClusterConfig) -> Result<&str, Fault> {
        let named = self.fleet.membership.strip_prefix("//gkehub.googleapis.com/").unwrap_or_default();
        let number = named.split('/').nth(1).unwrap_or_default();
        if named.is_empty() || !number.chars().all(|c| c.is_ascii_digit()) {
            let (handle, ClusterConfig { project, location, name, .. }) = (&cluster.handle, cluster);
            return Err(Fault::last("the cluster is in no fleet, as far as the Kubernetes Engine API says").advised(format!(
                "expected one: gcloud container fleet memberships register {name} --gke-cluster={location}/{name} --project \
                 {project}; or clusters.{handle}.membership"
            )));
        }
        Ok(named)
    }
}

/// The gateway in the membership's own location; its authority is a public one.
fn through_gateway(membership: &str, gke: &GkeConfig) -> Result<kube::Config, Fault> {
    let location = membership.split('/').nth(3).unwrap_or_default();
    let base = match (&gke.gateway_endpoint, location) {
        (Some(base), _) => base.trim_end_matches('/').to_owned(),
        (None, "global") => format!("https://{GATEWAY}"),
        (None, location) => format!("https://{location}-{GATEWAY}"),
    };
    let url = format!("{base}/v1/{}", membership.replace("/memberships/", "/gkeMemberships/"));
    let url = url.parse().map_err(|error| Fault::last(format_args!("{url:?} is no address of a gateway: {error}")))?;
    Ok(kube::Config::new(url))
}
