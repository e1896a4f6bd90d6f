//! A report goes into a bucket whole, or not at all: against a stand-in for Cloud Storage that is strict about what is sent.

use std::collections::{BTreeMap, VecDeque};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::{Arc, Mutex};

use axum::Router;
use axum::body::{Body, to_bytes};
use axum::extract::{Request, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::Response;
use percent_encoding::percent_decode_str;
use serde_json::{Value as Json, json};

use super::report::{recorded, store};
use crate::cli::{command, run, stderr};

/// A running stand-in. It serves until the process ends.
struct Bucket {
    address: SocketAddr,
    shared: Arc<Mutex<Shared>>,
}

#[derive(Default)]
struct Shared {
    /// By name.
    objects: BTreeMap<String, String>,
    /// Statuses for the next attempts; 0 takes what comes and loses the answer, 1 says that there is less than was sent.
    faults: VecDeque<u16>,
    attempts: usize,
}

impl Bucket {
    fn new(faults: &[u16]) -> Self {
        let shared = Shared { faults: faults.iter().copied().collect(), ..Shared::default() };
        let shared = Arc::new(Mutex::new(shared));
        let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
        listener.set_nonblocking(true).expect("set");
        let address = listener.local_addr().expect("an address");
        let router = Router::new().fallback(answer).with_state(Arc::clone(&shared));
        std::thread::spawn(move || {
            crate::support::block_on(async {
                let listener = tokio::net::TcpListener::from_std(listener).expect("a listener");
                axum::serve(listener, router).await.expect("it serves");
            });
        });
        Bucket { address, shared }
    }

    fn report(&self, folder: &Path, to: &str) -> Command {
        let mut command = command();
        command.args(["report", "--month=2026-09", &store(folder), "-o", to]);
        command.env("PEDWATCH_STORAGE__ENDPOINT", format!("http://{}", self.address));
        command.env("GOOGLE_APPLICATION_CREDENTIALS", self.credentials(folder));
        command
    }

    fn credentials(&self, folder: &Path) -> PathBuf {
        let file = folder.join("credentials.json");
        let user = json!({"type": "authorized_user", "client_id": "test", "client_secret": "test", "refresh_token": "test",
            "token_uri": format!("http://{}/token", self.address)});
        std::fs::write(&file, user.to_string()).expect("written");
        file
    }

    fn objects(&self) -> BTreeMap<String, String> {
        self.shared.lock().expect("whole").objects.clone()
    }

    fn attempts(&self) -> usize {
        self.shared.lock().expect("whole").attempts
    }
}

fn status(code: u16, body: &Json) -> Response {
    let mut response = Response::new(Body::from(body.to_string()));
    *response.status_mut() = StatusCode::from_u16(code).expect("a status");
    response.headers_mut().insert("content-type", "application/json".parse().expect("a header"));
    response
}

fn refusal(code: u16, message: &str) -> Response {
    status(code, &json!({"error": {"code": code, "message": message}}))
}

async fn answer(State(shared): State<Arc<Mutex<Shared>>>, request: Request) -> Response {
    let (parts, body) = request.into_parts();
    let path = parts.uri.path_and_query().map(ToString::to_string).unwrap_or_default();
    let body = to_bytes(body, 64 << 20).await.expect("a body");
    if path == "/token" {
        return token(&serde_json::from_slice(&body).expect("JSON"));
    }
    let mut shared = shared.lock().expect("whole");
    shared.attempts += 1;
    let text = String::from_utf8(body.to_vec()).expect("UTF-8");
    let Some(name) = name_of(parts.method.as_str(), &path) else { return refusal(400, "no such method") };
    if let Some(wrong) = wrong_header(&parts.headers, text.len()) {
        return refusal(400, wrong);
    }
    match shared.faults.pop_front() {
        None => {}
        Some(0) => {
            shared.objects.insert(name, text);
            return refusal(502, "the answer was lost");
        }
        Some(1) => return status(200, &json!({"name": name, "size": "7"})),
        Some(code) => return refusal(code, "as it was told"),
    }
    let size = text.len().to_string();
    shared.objects.insert(name.clone(), text);
    status(200, &json!({"kind": "storage#object", "name": name, "size": size}))
}

/// <https://cloud.google.com/storage/docs/json_api/v1/objects/insert>: of a simple upload, the object's name.
fn name_of(method: &str, path: &str) -> Option<String> {
    let query = path.strip_prefix("/upload/storage/v1/b/acme-reports/o?")?;
    let mut query: BTreeMap<&str, &str> = query.split('&').filter_map(|one| one.split_once('=')).collect();
    let is_simple = query.remove("uploadType") == Some("media") && method == "POST";
    let name = percent_decode_str(query.remove("name")?).decode_utf8().ok()?.into_owned();
    (is_simple && query.is_empty() && !path.contains('+')).then_some(name)
}

fn wrong_header(headers: &HeaderMap, bytes: usize) -> Option<&'static str> {
    let is = |name: &str, value: &str| headers.get(name).is_some_and(|found| found == value);
    match () {
        () if !is("authorization", "Bearer pedwatch") => Some("no token"),
        () if !is("content-type", "text/html; charset=utf-8") => Some("another type"),
        () if !is("content-length", &bytes.to_string()) => Some("another length"),
        () => None,
    }
}

/// A token for one who asks for no more than objects.
fn token(asked: &Json) -> Response {
    match asked["scopes"].as_str() {
        Some("https://www.googleapis.com/auth/devstorage.read_write") => {
            status(200, &json!({"access_token": "pedwatch", "expires_in": 3599, "token_type": "Bearer"}))
        }
        _ => refusal(400, "invalid_scope"),
    }
}

fn succeeded(output: &Output) {
    assert!(output.status.success(), "{}", stderr(output));
}

#[test]
fn a_page_is_an_object_whatever_may_pass() {
    let folder = tempfile::tempdir().expect("a folder");
    let folder = folder.path();
    recorded(folder);
    let bucket = Bucket::new(&[503, 429, 0, 1]);
    succeeded(&run(&mut bucket.report(folder, "gs://acme-reports/teams/über all.html"), b""));
    assert_eq!(bucket.attempts(), 5);
    // In a folder by its own name, and an owner is no path.
    succeeded(&run(&mut bucket.report(folder, "gs://acme-reports/"), b""));
    succeeded(&run(bucket.report(folder, "gs://acme-reports/teams/").arg("--owner=a/../b"), b""));
    let objects = bucket.objects();
    let names: Vec<&str> = objects.keys().map(String::as_str).collect();
    assert_eq!(names, ["2026-09.html", "teams/2026-09-a%2F..%2Fb.html", "teams/über all.html"]);
    assert!(objects["2026-09.html"].starts_with("<!doctype html>") && objects["2026-09.html"].ends_with("</html>"));
}

#[test]
fn what_does_not_pass_is_told_with_what_would_be_right_and_leaves_what_was_there() {
    let folder = tempfile::tempdir().expect("a folder");
    let folder = folder.path();
    recorded(folder);
    for (faults, attempts, parts) in [
        (&[403][..], 1, &["Cloud Storage says 403: as it was told", "storage.objects.delete on gs://acme-reports"][..]),
        (&[404], 1, &["Cloud Storage says 404", "gcloud storage buckets create gs://acme-reports"]),
        (&[401], 1, &["Cloud Storage says 401", "expected credentials"]),
        (&[307], 1, &["Cloud Storage says 307"]),
        (&[429; 9], 5, &["Cloud Storage says 429", "it was tried 5 times"]),
        (&[1; 9], 5, &["has not gs://acme-reports/page.html with its"]),
    ] {
        let bucket = Bucket::new(faults);
        bucket.shared.lock().expect("whole").objects.insert("page.html".to_owned(), "yesterday's".to_owned());
        let output = run(&mut bucket.report(folder, "gs://acme-reports/page.html"), b"");
        assert_eq!((output.status.code(), bucket.attempts()), (Some(1), attempts), "{}", stderr(&output));
        let why = stderr(&output);
        assert!(why.contains("failed to write gs://acme-reports/page.html"), "{why}");
        assert!(parts.iter().all(|part| why.contains(part)), "{why}");
        assert_eq!(bucket.objects()["page.html"], "yesterday's");
    }
}

#[test]
fn what_names_no_object_is_refused_before_anything_is_read() {
    for name in
        ["gs://acme-reports", "gs:///page.html", "gs://Acme/page.html", "gs://ab/page.html", "gs://acme-reports/.."]
    {
        let output = run(command().args(["report", "-o", name, "--store=sqlite:none.db"]), b"");
        assert_eq!(output.status.code(), Some(2), "{name}: {}", stderr(&output));
        assert!(stderr(&output).contains("expected gs://BUCKET/OBJECT"), "{}", stderr(&output));
    }
}
