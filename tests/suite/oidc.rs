//! Push requests' tokens: whom `pedwatch serve` lets in.

use std::io::{BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpListener};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex};

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use chrono::Utc;
use jsonwebtoken::{Algorithm, EncodingKey, Header, encode};
use serde_json::{Value as Json, json};

use crate::pubsub::Subscriber;
use crate::servers::free_address;
use crate::support::{Sample, block_on};

pub const AUDIENCE: &str = "https://pedwatch.example.com";
pub const ACCOUNT: &str = "pusher@acme-prod.iam.gserviceaccount.com";

/// A key made for this run, and its public half as Google publishes its own.
pub struct Key {
    id: &'static str,
    private: EncodingKey,
    pub public: Json,
}

impl Key {
    pub fn new(id: &'static str, folder: &Path) -> Self {
        let file = folder.join(id);
        let openssl = |args: &[&str]| {
            let output = Command::new("openssl").args(args).arg(&file).stderr(Stdio::null()).output().expect("openssl");
            assert!(output.status.success(), "openssl {args:?}");
            output.stdout
        };
        openssl(&["genrsa", "-traditional", "-out"]);
        let der = openssl(&["rsa", "-traditional", "-outform", "DER", "-in"]);
        let modulus = openssl(&["rsa", "-noout", "-modulus", "-in"]);
        let modulus = String::from_utf8(modulus).expect("text");
        let modulus = hex::decode(modulus.trim().trim_start_matches("Modulus=")).expect("hex");
        // 65537, which openssl takes.
        let (n, e) = (URL_SAFE_NO_PAD.encode(modulus), URL_SAFE_NO_PAD.encode([1, 0, 1]));
        let public = json!({"kty": "RSA", "alg": "RS256", "use": "sig", "kid": id, "n": n, "e": e});
        Key { id, private: EncodingKey::from_rsa_der(&der), public }
    }

    pub fn sign(&self, claims: &Json) -> String {
        let header = Header { kid: Some(self.id.to_owned()), ..Header::new(Algorithm::RS256) };
        encode(&header, claims, &self.private).expect("signed")
    }
}

/// What Pub/Sub signs.
pub fn claims() -> Json {
    let now = Utc::now().timestamp();
    json!({"iss": "https://accounts.google.com", "aud": AUDIENCE, "email": ACCOUNT, "email_verified": true,
        "sub": "1", "iat": now, "exp": now + 3_600})
}

pub fn with(mut claims: Json, key: &str, value: Json) -> Json {
    claims[key] = value;
    claims
}

/// Google's keys, as long as there are any: an empty list is an outage.
fn certs_server(keys: Arc<Mutex<Vec<Json>>>) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = listener.local_addr().expect("an address");
    std::thread::spawn(move || {
        for mut client in listener.incoming().flatten() {
            let lines = BufReader::new(client.try_clone().expect("a socket")).lines().map_while(Result::ok);
            lines.take_while(|line| !line.is_empty()).for_each(drop);
            let keys = keys.lock().expect("whole").clone();
            let status = if keys.is_empty() { "503 Unavailable" } else { "200 OK" };
            let body = json!({"keys": keys}).to_string();
            let length = body.len();
            let _ = write!(
                client,
                "HTTP/1.1 {status}\r\ncontent-type: application/json\r\ncontent-length: {length}\r\nconnection: close\r\n\r\n{body}"
            );
        }
    });
    address
}

#[test]
fn only_google_s_token_for_us_of_the_allowed_account_is_let_in() {
    block_on(async {
        let folder = tempfile::tempdir().expect("a folder");
        let [key, strange] = ["key-1", "key-2"].map(|id| Key::new(id, folder.path()));
        // The same id, another key: what a forger would sign with.
        let forger = Key { id: "key-1", ..Key::new("forger", folder.path()) };
        let keys = Arc::new(Mutex::new(Vec::new()));
        let certs = certs_server(Arc::clone(&keys));
        let address = free_address();
        let (port, certs_url) = (address.port().to_string(), format!("http://{certs}/certs"));
        let store = format!("--store=sqlite:{}", folder.path().join("facts.db").display());
        let env = [
            ("PORT", port.as_str()),
            ("PEDWATCH_PUSH__AUDIENCE", AUDIENCE),
            ("PEDWATCH_PUSH__SERVICE_ACCOUNT", ACCOUNT),
            ("PEDWATCH_PUSH__CERTS_URL", &certs_url),
        ];
        let subscriber = Subscriber::start(folder.path(), &["serve", &store], &env);
        subscriber.says("ready for messages").await;
        let http = reqwest::Client::new();
        let post = async |token: Option<String>| {
            let mut request = http.post(format!("http://{address}/pubsub/push"));
            if let Some(token) = token {
                request = request.header("authorization", format!("Bearer {token}"));
            }
            let body = Sample::patch("a", "2026-09-04T20:41:03Z", 3).bytes();
            request.body(body).send().await.expect("an answer").status().as_u16()
        };
        assert_eq!(post(Some(key.sign(&claims()))).await, 503, "without Google's keys nobody can tell");
        keys.lock().expect("whole").push(key.public.clone());
        assert_eq!(post(Some(key.sign(&claims()))).await, 204);
        assert_eq!(post(Some(key.sign(&with(claims(), "iss", json!("accounts.google.com"))))).await, 204);
        let unsigned = {
            let part = |value: Json| URL_SAFE_NO_PAD.encode(value.to_string());
            format!("{}.{}.", part(json!({"alg": "none", "kid": "key-1"})), part(claims()))
        };
        let past = Utc::now().timestamp() - 3_600;
        for (what, status, token) in [
            ("no token", 401, None),
            ("no JWT", 401, Some("oops".to_owned())),
            ("unsigned", 401, Some(unsigned)),
            ("signed by somebody else", 401, Some(forger.sign(&claims()))),
            ("a key that Google does not have", 401, Some(strange.sign(&claims()))),
            ("expired", 401, Some(key.sign(&with(claims(), "exp", json!(past))))),
            ("without an end", 401, Some(key.sign(&with(claims(), "exp", Json::Null)))),
            ("for another", 401, Some(key.sign(&with(claims(), "aud", json!("https://other.example.com"))))),
            ("not Google's", 401, Some(key.sign(&with(claims(), "iss", json!("https://example.com"))))),
            ("of another account", 403, Some(key.sign(&with(claims(), "email", json!("alice@example.com"))))),
            (
                "of an account that is not verified",
                403,
                Some(key.sign(&with(claims(), "email_verified", json!(false)))),
            ),
        ] {
            assert_eq!(post(token).await, status, "{what}");
        }
        assert!(!subscriber.log().contains('@'), "{}", subscriber.log());
    });
}
