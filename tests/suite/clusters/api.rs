//! The real API server, and a proxy in front of it.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Write};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::pin::Pin;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex, OnceLock};

use axum::Router;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::request::Parts;
use axum::http::{HeaderValue, StatusCode};
use axum::response::Response;
use futures::stream;
use reqwest::Method;
use serde::Deserialize;
use serde_json::Value as Json;

use crate::support::root;

/// A running API server without controllers.
#[derive(Deserialize)]
pub struct Api {
    port: u16,
    etcd: u16,
    /// Its authority's certificate: a file.
    pub ca: String,
    kubectl: PathBuf,
    folder: PathBuf,
    kubeconfigs: BTreeMap<String, PathBuf>,
    #[serde(skip)]
    child: Option<Child>,
}

/// The one that all tests of this process share, with the role that is shipped. It ends with this process.
pub fn api() -> &'static Api {
    static API: OnceLock<Api> = OnceLock::new();
    API.get_or_init(Api::start)
}

impl Api {
    /// Kills the API server and starts it again; etcd goes on.
    pub fn restart(&mut self) {
        let child = self.child.as_mut().expect("it runs");
        child.stdin.as_mut().expect("piped").write_all(b"again\n").expect("written");
        let mut line = String::new();
        BufReader::new(child.stdout.as_mut().expect("piped")).read_line(&mut line).expect("readable");
        assert_eq!(line, "started again\n");
    }

    /// One of a test's own; the others share [`api`].
    pub fn start() -> Self {
        let script = root().join("tests/kubernetes/serve.py");
        let mut child =
            Command::new("python3").arg(script).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("python3");
        let mut line = String::new();
        BufReader::new(child.stdout.as_mut().expect("piped")).read_line(&mut line).expect("readable");
        let mut api: Api = serde_json::from_str(&line).expect("tests/kubernetes/serve.py starts an API server");
        api.child = Some(child);
        api.apply("rbac.yaml");
        api
    }

    /// Applies a manifest that is shipped, as an administrator does.
    pub fn apply(&self, manifest: &str) {
        let mut apply = Command::new(&self.kubectl);
        apply.arg("--kubeconfig").arg(&self.kubeconfigs["admin"]).args(["apply", "-f"]);
        let applied = apply.arg(root().join("deploy/kubernetes").join(manifest)).output().expect("kubectl");
        assert!(applied.status.success(), "{}", String::from_utf8_lossy(&applied.stderr));
    }

    /// What it writes of each call.
    pub fn audit_log(&self) -> PathBuf {
        self.folder.join("audit.log")
    }

    pub fn server(&self) -> String {
        format!("https://127.0.0.1:{}", self.port)
    }

    pub fn port(&self) -> u16 {
        self.port
    }

    fn client(&self) -> reqwest::Client {
        let ca = reqwest::Certificate::from_pem(&std::fs::read(&self.ca).expect("the authority")).expect("PEM");
        reqwest::Client::builder().tls_certs_only([ca]).build().expect("a client")
    }

    async fn send(&self, user: &str, method: &str, path: &str, body: Option<&Json>) -> (u16, Json) {
        let method: Method = method.parse().expect("a method");
        let kind = if method == Method::PATCH { "application/merge-patch+json" } else { "application/json" };
        let request = self.client().request(method, format!("{}{path}", self.server())).bearer_auth(user);
        let request = request.header("content-type", kind).body(body.map(Json::to_string).unwrap_or_default());
        let answer = request.send().await.expect("an answer");
        (answer.status().as_u16(), answer.json().await.unwrap_or_default())
    }

    /// As an administrator, who may do anything.
    pub async fn call(&self, method: &str, path: &str, body: Option<&Json>) -> Json {
        let (status, answer) = self.send("admin", method, path, body).await;
        assert!((200..300).contains(&status), "{method} {path}: {status} {answer}");
        answer
    }

    pub async fn post(&self, path: &str, body: &Json) -> Json {
        self.call("POST", path, Some(body)).await
    }

    pub async fn patch(&self, path: &str, body: &Json) -> Json {
        self.call("PATCH", path, Some(body)).await
    }

    pub async fn namespace(&self, name: &str) {
        self.post("/api/v1/namespaces", &serde_json::json!({"metadata": {"name": name}})).await;
    }

    pub async fn status_for(&self, user: &str, method: &str, path: &str) -> u16 {
        self.send(user, method, path, None).await.0
    }

    /// Has etcd forget all versions before this one, as the API server itself has it do every five minutes.
    pub async fn compact(&self, version: &str) {
        let body = serde_json::json!({"revision": version, "physical": true}).to_string();
        let url = format!("http://127.0.0.1:{}/v3/kv/compaction", self.etcd);
        let answer = reqwest::Client::new().post(url).body(body).send().await.expect("etcd");
        assert_eq!(answer.status(), 200, "{}", answer.text().await.unwrap_or_default());
    }
}

/// Something that is done first.
pub type Before = Pin<Box<dyn Future<Output = ()> + Send>>;

/// What happens to one request.
pub enum What {
    /// The API server answers it.
    Pass,
    /// The same, when this is done.
    Before(Before),
    /// A status with Kubernetes' form of an error, and what `Retry-After` says.
    Status(u16, Option<&'static str>),
    /// 200, and this.
    Body(&'static str),
    /// The server's answer, which breaks off in its middle.
    Cut,
    /// No answer.
    Hang,
}

type Plan = Box<dyn FnMut(&str) -> What + Send>;

/// A proxy, which serves until the process ends.
pub struct Front {
    pub address: SocketAddr,
    shared: Arc<Shared>,
}

struct Shared {
    plan: Mutex<Plan>,
    seen: Mutex<Vec<String>>,
    server: String,
    client: reqwest::Client,
}

impl Front {
    /// The plan is asked for each request, by its path and question.
    pub fn new(api: &Api, plan: impl FnMut(&str) -> What + Send + 'static) -> Self {
        let shared = Arc::new(Shared {
            plan: Mutex::new(Box::new(plan)),
            seen: Mutex::default(),
            server: api.server(),
            client: api.client(),
        });
        let address = serve(Router::new().fallback(answer).with_state(Arc::clone(&shared)));
        Front { address, shared }
    }

    /// Path and question of each request.
    pub fn seen(&self) -> Vec<String> {
        self.shared.seen.lock().expect("whole").clone()
    }
}

/// Serves on a thread of its own until the process ends.
pub fn serve(router: Router) -> SocketAddr {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = listener.local_addr().expect("an address");
    listener.set_nonblocking(true).expect("a socket");
    std::thread::spawn(move || {
        crate::support::block_on(async {
            let listener = tokio::net::TcpListener::from_std(listener).expect("a socket");
            axum::serve(listener, router).await.expect("served");
        });
    });
    address
}

async fn answer(State(shared): State<Arc<Shared>>, request: Request) -> Response {
    let (parts, _) = request.into_parts();
    let path = parts.uri.path_and_query().map(ToString::to_string).unwrap_or_default();
    shared.seen.lock().expect("whole").push(path.clone());
    let what = (shared.plan.lock().expect("whole"))(&path);
    match what {
        What::Pass => forwarded(&shared.client, &shared.server, &path, &parts, false).await,
        What::Before(first) => {
            first.await;
            forwarded(&shared.client, &shared.server, &path, &parts, false).await
        }
        What::Cut => forwarded(&shared.client, &shared.server, &path, &parts, true).await,
        What::Hang => std::future::pending().await,
        What::Body(text) => Response::new(Body::from(text)),
        What::Status(status, after) => {
            let said = serde_json::json!({"kind": "Status", "status": "Failure", "message": "as the test has it", "code": status});
            let mut response = Response::new(Body::from(said.to_string()));
            *response.status_mut() = StatusCode::from_u16(status).expect("a status");
            if let Some(after) = after {
                response.headers_mut().insert("retry-after", HeaderValue::from_static(after));
            }
            response
        }
    }
}

/// The API server's answer, or the first half of it.
pub async fn forwarded(client: &reqwest::Client, server: &str, path: &str, request: &Parts, cut: bool) -> Response {
    let sent = client.request(request.method.clone(), format!("{server}{path}"));
    let headers = ["authorization", "accept"].into_iter().filter_map(|name| Some((name, request.headers.get(name)?)));
    let answer = headers.fold(sent, |sent, (name, value)| sent.header(name, value)).send().await.expect("an answer");
    let status = answer.status();
    let bytes = answer.bytes().await.expect("whole");
    let body = match cut {
        false => Body::from(bytes),
        true => {
            let half = bytes.slice(..bytes.len() / 2);
            Body::from_stream(stream::iter([Ok(half), Err(std::io::Error::other("cut"))]))
        }
    };
    let mut response = Response::new(body);
    *response.status_mut() = status;
    response
}

/// A client that trusts the API server.
pub fn client(api: &Api) -> reqwest::Client {
    api.client()
}
