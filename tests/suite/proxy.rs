//! A proxy in front of a real server that spoils some of the calls: what a network, a quota or an outage does to them.

use std::collections::VecDeque;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// What happens to one call.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Fault {
    /// The connection is closed in the middle of the request.
    ResetMidBody,
    /// 429 with `Retry-After`.
    TooManyRequests,
    /// 500, in BigQuery's own form.
    InternalError,
    /// 502 from something in between, in HTML.
    BadGateway,
    /// 401: the token has expired.
    Unauthorized,
    /// No answer for longer than anybody waits.
    Hang,
    /// The server does it, and the answer is lost.
    LostAnswer,
    /// The server does nothing, and its answer says of each row that it was not taken because of another.
    RowsStopped,
    /// 400: BigQuery cannot even read the request.
    Invalid,
    /// 403: this identity may not.
    AccessDenied,
    /// Passes; for a fault later than at the first call.
    Pass,
}

/// A call as it came.
pub struct Call<'c> {
    /// First line.
    pub line: &'c str,
    /// `Authorization`.
    pub token: &'c str,
    pub body: &'c [u8],
}

/// What a stricter server answers where the one behind the proxy would do it.
pub struct Refusal {
    pub code: u16,
    /// JSON.
    pub body: String,
}

type Rules = Box<dyn FnMut(&Call<'_>) -> Option<Refusal> + Send>;

/// A running proxy. It serves until the process ends.
pub struct Proxy {
    pub address: SocketAddr,
    plan: Arc<Mutex<Plan>>,
}

struct Plan {
    /// Calls whose first line holds this are spoiled.
    calls: &'static str,
    faults: VecDeque<Fault>,
    /// First line and `Authorization` of each call that came.
    seen: Vec<(String, String)>,
    /// What queries asked.
    asked: Vec<String>,
    /// One call at a time.
    serial: Arc<Mutex<()>>,
    /// How long calls that are not spoiled wait first.
    delay: Duration,
    rules: Option<Rules>,
    /// What the rules refused: the call, and the answer.
    refused: Vec<String>,
}

impl Proxy {
    /// Spoils calls whose request line holds `calls`, one fault each; the calls behind them pass.
    pub fn new(upstream: SocketAddr, calls: &'static str, faults: &[Fault]) -> Self {
        Self::at("127.0.0.1:0".parse().expect("an address"), upstream, calls, faults)
    }

    /// As [`Proxy::new`], at an address.
    pub fn at(address: SocketAddr, upstream: SocketAddr, calls: &'static str, faults: &[Fault]) -> Self {
        let listener = TcpListener::bind(address).expect("a free port");
        let address = listener.local_addr().expect("an address");
        let faults = faults.iter().copied().collect();
        let plan = Arc::new(Mutex::new(Plan {
            calls,
            faults,
            seen: Vec::new(),
            asked: Vec::new(),
            serial: Arc::default(),
            delay: Duration::ZERO,
            rules: None,
            refused: Vec::new(),
        }));
        let shared = Arc::clone(&plan);
        std::thread::spawn(move || {
            for client in listener.incoming().flatten() {
                let plan = Arc::clone(&shared);
                // A client that goes away in the middle is what some of the tests are about.
                std::thread::spawn(move || drop(serve(client, upstream, &plan)));
            }
        });
        Proxy { address, plan }
    }

    /// As [`Proxy::new`], with rules that a server behind it does not know.
    pub fn strict(
        upstream: SocketAddr,
        calls: &'static str,
        faults: &[Fault],
        rules: impl FnMut(&Call<'_>) -> Option<Refusal> + Send + 'static,
    ) -> Self {
        let proxy = Self::new(upstream, calls, faults);
        proxy.plan.lock().expect("whole").rules = Some(Box::new(rules));
        proxy
    }

    /// What the rules refused: each call, and the answer.
    pub fn refused(&self) -> Vec<String> {
        self.plan.lock().expect("whole").refused.clone()
    }

    /// Delays calls whose request line holds `calls`.
    pub fn slow(upstream: SocketAddr, calls: &'static str, delay: Duration) -> Self {
        let proxy = Self::new(upstream, calls, &[]);
        proxy.plan.lock().expect("whole").delay = delay;
        proxy
    }

    /// How many calls came whose request line holds this.
    pub fn calls(&self, part: &str) -> usize {
        self.plan.lock().expect("whole").seen.iter().filter(|(line, _)| line.contains(part)).count()
    }

    /// What queries asked, in order.
    pub fn asked(&self) -> Vec<String> {
        self.plan.lock().expect("whole").asked.clone()
    }

    /// The different tokens that calls came with, in order.
    pub fn tokens(&self) -> Vec<String> {
        let mut tokens: Vec<String> =
            self.plan.lock().expect("whole").seen.iter().map(|(_, token)| token.clone()).collect();
        tokens.dedup();
        tokens
    }

    /// The faults that nobody ran into yet.
    pub fn left(&self) -> usize {
        self.plan.lock().expect("whole").faults.len()
    }
}

fn serve(mut client: TcpStream, upstream: SocketAddr, plan: &Mutex<Plan>) -> std::io::Result<()> {
    let mut reader = BufReader::new(client.try_clone()?);
    let (head, body_bytes) = head(&mut reader)?;
    let line = head.lines().next().unwrap_or_default().to_owned();
    let token = header(&head, "authorization").unwrap_or_default().to_owned();
    let (fault, delay, serial) = {
        let mut plan = plan.lock().expect("whole");
        plan.seen.push((line.clone(), token.clone()));
        let meant = line.contains(plan.calls);
        let fault = if meant { plan.faults.pop_front() } else { None };
        let delay = if meant { plan.delay } else { Duration::ZERO };
        (fault.unwrap_or(Fault::Pass), delay, Arc::clone(&plan.serial))
    };
    if fault == Fault::ResetMidBody {
        return Ok(());
    }
    let mut body = vec![0; body_bytes];
    reader.read_exact(&mut body)?;
    if line.contains("/queries") {
        plan.lock().expect("whole").asked.push(String::from_utf8_lossy(&body).into_owned());
    }
    let error = |code: u16, reason: &str| {
        format!(
            "{{\"error\":{{\"code\":{code},\"message\":\"{reason}\",\"errors\":[{{\"reason\":\"{reason}\",\"message\":\"\"}}],\"status\":\"\"}}}}"
        )
    };
    let json = "content-type: application/json\r\n";
    match fault {
        Fault::TooManyRequests => {
            let headers = format!("{json}retry-after: 1\r\n");
            return answer(&mut client, "429 Too Many Requests", &headers, &error(429, "rateLimitExceeded"));
        }
        Fault::InternalError => return answer(&mut client, "500 Internal", json, &error(500, "backendError")),
        Fault::BadGateway => {
            return answer(&mut client, "502 Bad Gateway", "content-type: text/html\r\n", "<html>no</html>");
        }
        Fault::Unauthorized => return answer(&mut client, "401 Unauthorized", json, &error(401, "authError")),
        Fault::Invalid => return answer(&mut client, "400 Bad Request", json, &error(400, "invalid")),
        Fault::AccessDenied => return answer(&mut client, "403 Forbidden", json, &error(403, "accessDenied")),
        Fault::RowsStopped => {
            let error = |index: usize| format!("{{\"index\":{index},\"errors\":[{{\"reason\":\"stopped\"}}]}}");
            let rows = String::from_utf8_lossy(&body).matches("\"insertId\"").count();
            let errors = (0..rows).map(error).collect::<Vec<_>>().join(",");
            return answer(&mut client, "200 OK", json, &format!("{{\"insertErrors\":[{errors}]}}"));
        }
        Fault::Hang => {
            std::thread::sleep(Duration::from_secs(60));
            return Ok(());
        }
        Fault::ResetMidBody | Fault::LostAnswer | Fault::Pass => {}
    }
    if let Some(Refusal { code, body }) = refusal(plan, &Call { line: &line, token: &token, body: &body }) {
        return answer(&mut client, &format!("{code} Refused"), json, &body);
    }
    std::thread::sleep(delay);
    let _one_at_a_time = serial.lock().expect("whole");
    let mut server = TcpStream::connect(upstream)?;
    let head = head.replace("\r\n\r\n", "\r\nconnection: close\r\n\r\n");
    server.write_all(head.as_bytes())?;
    server.write_all(&body)?;
    let response = response(server)?;
    if fault == Fault::LostAnswer {
        return Ok(());
    }
    client.write_all(&response)
}

/// A whole response. Some servers keep the connection, whatever they are asked.
fn response(server: TcpStream) -> std::io::Result<Vec<u8>> {
    let mut reader = BufReader::new(server);
    let (head, body_bytes) = head(&mut reader)?;
    let mut response = head.replace("\r\n\r\n", "\r\nconnection: close\r\n\r\n").into_bytes();
    if header(&head, "transfer-encoding").is_some_and(|coding| coding.eq_ignore_ascii_case("chunked")) {
        while !response.ends_with(b"\r\n0\r\n\r\n") {
            if reader.read_until(b'\n', &mut response)? == 0 {
                return Err(std::io::ErrorKind::UnexpectedEof.into());
            }
        }
    } else if header(&head, "content-length").is_some() {
        let begin = response.len();
        response.resize(begin + body_bytes, 0);
        reader.read_exact(&mut response[begin..])?;
    } else {
        reader.read_to_end(&mut response)?;
    }
    Ok(response)
}

fn refusal(plan: &Mutex<Plan>, call: &Call<'_>) -> Option<Refusal> {
    let mut plan = plan.lock().expect("whole");
    let refusal = plan.rules.as_mut()?(call)?;
    plan.refused.push(format!("{}: {}", call.line, refusal.body));
    Some(refusal)
}

fn answer(client: &mut TcpStream, status: &str, headers: &str, body: &str) -> std::io::Result<()> {
    let length = body.len();
    write!(client, "HTTP/1.1 {status}\r\n{headers}content-length: {length}\r\nconnection: close\r\n\r\n{body}")
}

/// The head of a message, with its empty line, and the length of the body.
fn head(reader: &mut impl BufRead) -> std::io::Result<(String, usize)> {
    let mut head = String::new();
    while !head.ends_with("\r\n\r\n") {
        if reader.read_line(&mut head)? == 0 {
            return Err(std::io::ErrorKind::UnexpectedEof.into());
        }
    }
    let length = header(&head, "content-length").and_then(|text| text.parse().ok()).unwrap_or(0);
    Ok((head, length))
}

fn header<'h>(head: &'h str, name: &str) -> Option<&'h str> {
    let value = |line: &'h str| line.split_once(':').filter(|(key, _)| key.eq_ignore_ascii_case(name));
    head.lines().find_map(value).map(|(_, value)| value.trim())
}
