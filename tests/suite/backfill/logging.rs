//! A stand-in for the Logging API: `entries.list` over entries of its own, and what a network, a quota or an outage does to
//! its answers.

use std::collections::{BTreeMap, VecDeque};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use chrono::{DateTime, Utc};
use serde_json::{Value as Json, json};

use crate::support::time;
use crate::terraform::matches;

/// What happens to one request.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Fault {
    /// Nothing; for a fault later than at the first request.
    Pass,
    /// A status with the API's own form of an error, and what `Retry-After` says.
    Status(u16, Option<&'static str>),
    /// The connection is closed in the middle of the page.
    Cut,
    /// The connection is closed before an answer.
    Reset,
    /// 200 from something in between, in HTML.
    Html,
    /// The search is not at its end: no entries, and a token.
    Empty,
    /// The next page begins with the last entry of this one.
    Repeat,
    /// No token is good any more.
    Expire,
    /// No answer.
    Hang,
}

/// A running stand-in. It serves until the process ends.
pub struct Logging {
    pub address: SocketAddr,
    state: Arc<Mutex<State>>,
}

struct State {
    entries: Vec<Json>,
    /// It gives fewer entries a page than it is asked for, as it may.
    page: usize,
    faults: VecDeque<Fault>,
    /// The question that each token belongs to, and where its page begins.
    tokens: BTreeMap<String, (Json, usize)>,
    requests: Vec<(Instant, Json)>,
    /// What is found by a question: to look is slow, and each page asks again.
    found: BTreeMap<String, Arc<[Json]>>,
}

impl Logging {
    pub fn new(mut entries: Vec<Json>, page: usize, faults: &[Fault]) -> Self {
        entries.sort_by_key(|entry| (stamp(entry), entry["insertId"].to_string()));
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let address = listener.local_addr().expect("an address");
        let faults = faults.iter().copied().collect();
        let state =
            State { entries, page, faults, tokens: BTreeMap::new(), requests: Vec::new(), found: BTreeMap::new() };
        let state = Arc::new(Mutex::new(state));
        let shared = Arc::clone(&state);
        std::thread::spawn(move || {
            for client in listener.incoming().flatten() {
                let state = Arc::clone(&shared);
                // A client that is killed in the middle is what some of the tests are about.
                std::thread::spawn(move || drop(serve(client, &state)));
            }
        });
        Logging { address, state }
    }

    /// The requests that came so far, and when.
    pub fn requests(&self) -> Vec<(Instant, Json)> {
        self.state.lock().expect("whole").requests.clone()
    }

    /// The faults that nobody ran into yet.
    pub fn left(&self) -> usize {
        self.state.lock().expect("whole").faults.len()
    }
}

fn stamp(entry: &Json) -> DateTime<Utc> {
    time(entry["timestamp"].as_str().expect("a timestamp"))
}

fn serve(mut client: TcpStream, state: &Mutex<State>) -> std::io::Result<()> {
    let mut reader = BufReader::new(client.try_clone()?);
    let mut head = String::new();
    while !head.ends_with("\r\n\r\n") {
        if reader.read_line(&mut head)? == 0 {
            return Ok(());
        }
    }
    let length = head.lines().find_map(|line| line.to_lowercase().strip_prefix("content-length: ")?.parse().ok());
    let mut body = vec![0; length.unwrap_or(0)];
    reader.read_exact(&mut body)?;
    let question: Json = serde_json::from_slice(&body).expect("JSON");
    let fault = {
        let mut state = state.lock().expect("whole");
        state.requests.push((Instant::now(), question.clone()));
        state.faults.pop_front().unwrap_or(Fault::Pass)
    };
    match fault {
        Fault::Status(status, after) => {
            let after = after.map_or_else(String::new, |after| format!("retry-after: {after}\r\n"));
            return refuse(&mut client, status, &after, "as it was told");
        }
        Fault::Reset => return Ok(()),
        Fault::Html => return answer(&mut client, "<html>welcome</html>", false),
        Fault::Hang => {
            std::thread::sleep(Duration::from_secs(120));
            return Ok(());
        }
        _ => {}
    }
    let page = state.lock().expect("whole").page_of(&head, question, fault);
    match page {
        Ok(page) => answer(&mut client, &page.to_string(), fault == Fault::Cut),
        Err(wrong) => refuse(&mut client, 400, "", wrong),
    }
}

impl State {
    fn page_of(&mut self, head: &str, mut question: Json, fault: Fault) -> Result<Json, &'static str> {
        if !head.starts_with("POST /v2/entries:list?prettyPrint=false HTTP/1.1\r\n") {
            return Err("no such method");
        }
        if fault == Fault::Expire {
            self.tokens.clear();
        }
        let size = question["pageSize"].as_u64().unwrap_or(50);
        let token = question.as_object_mut().expect("an object").remove("pageToken");
        if !(1..=1_000).contains(&size) || question["orderBy"] != "timestamp asc" {
            return Err("pageSize or orderBy");
        }
        let begin = match token {
            Some(Json::String(token)) if token.is_empty() => 0,
            None => 0,
            Some(token) => match self.tokens.get(token.as_str().unwrap_or_default()) {
                Some((of, begin)) if *of == question => *begin,
                _ => return Err("page_token doesn't match arguments from the request"),
            },
        };
        let found = self
            .found
            .entry(question.to_string())
            .or_insert_with(|| self.entries.iter().filter(|entry| is_meant(&question, entry)).cloned().collect());
        let found = Arc::clone(found);
        let end = match fault {
            Fault::Empty => begin,
            _ => found.len().min(begin + self.page.min(size as usize)),
        };
        let mut page = json!({});
        if end > begin {
            page["entries"] = found[begin..end].iter().cloned().collect();
        }
        if end < found.len() {
            let token = format!("token-{}", self.requests.len());
            let next = if fault == Fault::Repeat { end - 1 } else { end };
            page["nextPageToken"] = token.as_str().into();
            self.tokens.insert(token, (question, next));
        }
        Ok(page)
    }
}

/// Whether an entry is in a resource that is asked for, and passes the filter.
fn is_meant(question: &Json, entry: &Json) -> bool {
    let log = entry["logName"].as_str().unwrap_or_default();
    let resources = question["resourceNames"].as_array().expect("resources");
    let is_in = |resource: &Json| log.starts_with(&format!("{}/logs/", resource.as_str().expect("a name")));
    let (bounds, comparisons): (Vec<&str>, Vec<&str>) =
        question["filter"].as_str().expect("a filter").lines().partition(|line| line.starts_with("timestamp"));
    let is_within = |bound: &&str| {
        let (operator, bound) = bound.trim_start_matches("timestamp").split_once('"').expect("a bound");
        let bound = time(bound.trim_end_matches('"'));
        if operator == ">=" { stamp(entry) >= bound } else { stamp(entry) < bound }
    };
    resources.iter().any(is_in) && bounds.iter().all(is_within) && matches(&comparisons.join("\n"), entry)
}

fn refuse(client: &mut TcpStream, status: u16, headers: &str, message: &str) -> std::io::Result<()> {
    let body = json!({"error": {"code": status, "message": message, "status": "ANY"}}).to_string();
    let length = body.len();
    write!(client, "HTTP/1.1 {status} So\r\n{headers}content-length: {length}\r\nconnection: close\r\n\r\n{body}")
}

/// In two parts, of which the second may be missing.
fn answer(client: &mut TcpStream, body: &str, is_cut: bool) -> std::io::Result<()> {
    let (one, other) = body.split_at(body.len() / 2);
    write!(client, "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\nconnection: close\r\n\r\n")?;
    write!(client, "{:x}\r\n{one}\r\n", one.len())?;
    if is_cut {
        return Ok(());
    }
    write!(client, "{:x}\r\n{other}\r\n0\r\n\r\n", other.len())
}
