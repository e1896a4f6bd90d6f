//! A stand-in for Google: its token server, the Kubernetes Engine API and the Connect gateway. It refuses whoever asks for
//! too little, or without a token.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use axum::Router;
use axum::body::{Body, to_bytes};
use axum::extract::{Request, State};
use axum::http::StatusCode;
use axum::response::Response;
use base64::Engine;
use serde_json::{Value as Json, json};

use super::api::{Api, client, forwarded, serve};

/// A running stand-in. It serves until the process ends.
pub struct Google {
    pub address: SocketAddr,
    shared: Arc<Shared>,
}

struct Shared {
    port: u16,
    server: String,
    ca: Vec<u8>,
    client: reqwest::Client,
    tokens: AtomicUsize,
}

const GATEWAY: &str = "/v1/projects/123456789012/locations/global/gkeMemberships/prod-fleet";

impl Google {
    pub fn new(api: &'static Api) -> Self {
        let shared = Arc::new(Shared {
            port: api.port(),
            server: api.server(),
            ca: std::fs::read(&api.ca).expect("the authority"),
            client: client(api),
            tokens: AtomicUsize::new(0),
        });
        let address = serve(Router::new().fallback(answer).with_state(Arc::clone(&shared)));
        Google { address, shared }
    }

    /// How many tokens were given.
    pub fn tokens(&self) -> usize {
        self.shared.tokens.load(Ordering::SeqCst)
    }

    /// A file of credentials that are good here.
    pub fn credentials(&self, folder: &Path) -> PathBuf {
        let file = folder.join("credentials.json");
        let user = json!({"type": "authorized_user", "client_id": "test", "client_secret": "test", "refresh_token": "test",
            "token_uri": format!("http://{}/token", self.address)});
        std::fs::write(&file, user.to_string()).expect("written");
        file
    }
}

fn status(code: u16, body: &Json) -> Response {
    let mut response = Response::new(Body::from(body.to_string()));
    *response.status_mut() = StatusCode::from_u16(code).expect("a status");
    response
}

fn refusal(code: u16, message: &str) -> Response {
    status(code, &json!({"error": {"code": code, "message": message}}))
}

async fn answer(State(shared): State<Arc<Shared>>, request: Request) -> Response {
    let path = request.uri().path_and_query().map(ToString::to_string).unwrap_or_default();
    if path == "/token" {
        return token(&shared, request).await;
    }
    let (parts, _) = request.into_parts();
    let authorization = parts.headers.get("authorization").and_then(|value| value.to_str().ok()).unwrap_or_default();
    if !matches!(authorization, "Bearer expired" | "Bearer pedwatch") {
        return refusal(401, "Request had invalid authentication credentials.");
    }
    if let Some(rest) = path.strip_prefix(GATEWAY) {
        return forwarded(&shared.client, &shared.server, rest, &parts, false).await;
    }
    match path.strip_prefix("/v1/projects/acme-prod/locations/europe-west1/clusters/prod-") {
        Some("denied") => refusal(403, "Permission denied on resource project acme-prod."),
        Some("absent") | None => refusal(404, "Not found."),
        Some(handle) => status(200, &shared.description(handle)),
    }
}

/// The first token is one that the cluster takes for expired.
async fn token(shared: &Shared, request: Request) -> Response {
    let body = to_bytes(request.into_body(), 1 << 20).await.expect("a body");
    let asked: Json = serde_json::from_slice(&body).expect("JSON");
    let scopes = asked["scopes"].as_str().unwrap_or_default();
    for scope in ["cloud-platform", "userinfo.email"] {
        if !scopes.split(' ').any(|asked| asked == format!("https://www.googleapis.com/auth/{scope}")) {
            return refusal(400, "invalid_scope");
        }
    }
    let is_first = shared.tokens.fetch_add(1, Ordering::SeqCst) == 0;
    let token = if is_first { "expired" } else { "pedwatch" };
    let mut response = status(200, &json!({"access_token": token, "expires_in": 3599, "token_type": "Bearer"}));
    response.headers_mut().insert("content-type", "application/json".parse().expect("a header"));
    response
}

impl Shared {
    /// As the API describes a cluster, of which these things are read.
    fn description(&self, handle: &str) -> Json {
        let ca = match handle {
            "another" => String::new(),
            _ => base64::prelude::BASE64_STANDARD.encode(&self.ca),
        };
        let address = format!("127.0.0.1:{}", self.port);
        json!({
            "name": format!("prod-{handle}"), "location": "europe-west1", "status": "RUNNING",
            "endpoint": if handle == "private" { "192.0.2.1" } else { &address },
            "masterAuth": {"clusterCaCertificate": ca},
            "privateClusterConfig": {"privateEndpoint": address},
            "controlPlaneEndpointsConfig": {"dnsEndpointConfig": {
                "endpoint": format!("localhost:{}", self.port), "allowExternalTraffic": handle != "closed"}},
            "fleet": match handle {
                "fleet" => json!({"membership":
                    "//gkehub.googleapis.com/projects/123456789012/locations/global/memberships/prod-fleet"}),
                _ => json!({}),
            },
        })
    }
}
