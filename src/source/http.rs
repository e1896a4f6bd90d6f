//! HTTP for callers who may be slow, many or hostile: none of them keeps another from being heard.
//!
//! Callers are spoken to on a thread that does nothing else. What takes long (decoding 10 MB, a store) happens on other
//! threads, so `/livez` waits for none of it.
//!
//! HTTP/1 alone, which Cloud Run and load balancers speak to a container unless told otherwise: one connection is one
//! request at a time. Over HTTP/2, a handful of connections would be hundreds of requests.

use std::collections::BTreeMap;
use std::io::{self, ErrorKind};
use std::net::Ipv4Addr;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use anyhow::{Context as _, Result};
use axum::Router;
use axum::body::Body;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::{Service, service_fn};
use hyper_util::rt::TokioIo;
use hyper_util::service::TowerToHyperService;
use tokio::io::{AsyncRead, ReadBuf};
use tokio::net::tcp::OwnedReadHalf;
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::sync::{Notify, oneshot, watch};
use tokio::time::Instant;

use super::shutdown::Shutdown;
use crate::telemetry::steady::Steady;

/// How long the head of a request may take: of the first since the connection began, of a later one since its first byte.
/// Whoever has something to say says it at once.
const HEAD: Duration = Duration::from_secs(10);

/// How long a connection may be silent between requests, or leave an answer unread. Google's load balancers keep theirs
/// for 600 s, and must not find one closed: <https://cloud.google.com/load-balancing/docs/https#timeouts_and_retries>.
const KEEP_ALIVE: Duration = Duration::from_secs(620);

/// How often those are looked for who have taken too long.
const SWEEP: Duration = Duration::from_secs(1);

/// Longest head of a request, and how much of a body is buffered for us. A token has about 1 KB.
const HEAD_MAX_BYTES: usize = 64 << 10;

/// Connections that wait to be accepted. The system's own limit is 4096 as a rule; fewer would make callers of a busy
/// moment wait for a second, which is when their system tries again.
const BACKLOG: u32 = 4_096;

/// How long nothing is accepted when the system has no room for a connection (no file descriptors left): until those
/// who were parted with are gone.
const NO_ROOM: Duration = Duration::from_millis(50);

/// So many file descriptors are left to others from then on: the store's files, and connections to Google.
const FILES_SPARE: usize = 32;

/// Serves `routes` on this port to so many connections at once, until it is time to stop. What it returns resolves when
/// every request is answered.
///
/// # Errors
/// When the port is taken.
pub(super) fn serve(port: u16, routes: Router, connections: usize, stop: Shutdown) -> Result<oneshot::Receiver<()>> {
    let socket = TcpSocket::new_v4()?;
    // After a restart, connections of the time before may still be closing.
    socket.set_reuseaddr(true)?;
    socket.bind((Ipv4Addr::UNSPECIFIED, port).into())?;
    let listener = socket.listen(BACKLOG)?.into_std()?;
    let (done, ended) = oneshot::channel();
    let serve = move || -> Result<()> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        runtime.block_on(async {
            accept(TcpListener::from_std(listener)?, routes, Callers::new(connections), stop).await;
            // Nobody waits any more when it fails.
            let _ = done.send(());
            Ok(())
        })
    };
    std::thread::Builder::new().name(format!("http-{port}")).spawn(serve).context("cannot start a thread")?;
    Ok(ended)
}

async fn accept(listener: TcpListener, routes: Router, callers: Arc<Callers>, stop: Shutdown) {
    // Each connection holds a receiver, so that the last one that ends is noticed.
    let (open, connected) = watch::channel(());
    let mut stopping = std::pin::pin!(stop.begun());
    let mut sweep = tokio::time::interval(SWEEP);
    let trouble = Steady::default();
    loop {
        let accepted = tokio::select! {
            () = &mut stopping => break,
            _ = sweep.tick() => {
                callers.part_with_overdue(Instant::now());
                callers.try_more();
                continue;
            }
            accepted = listener.accept() => accepted,
        };
        match accepted {
            Ok((stream, _)) => {
                if let Some(caller) = callers.admit() {
                    tokio::spawn(converse(stream, routes.clone(), caller, stop.clone(), connected.clone()));
                }
                // What it has said already is heard before the next one might take its place.
                tokio::task::yield_now().await;
            }
            Err(error) if is_callers_fault(error.kind()) => {}
            Err(error) => {
                if let Some(times) = trouble.failed(&error.to_string()) {
                    tracing::warn!(%error, times, "no connection can be accepted");
                }
                if is_lack_of_room(&error) {
                    callers.make_room();
                }
                tokio::time::sleep(NO_ROOM).await;
            }
        }
    }
    drop((listener, connected));
    open.closed().await;
}

/// Of file descriptors, of the process or the system, or of memory.
fn is_lack_of_room(error: &io::Error) -> bool {
    const ENOMEM: i32 = 12;
    const ENFILE: i32 = 23;
    const EMFILE: i32 = 24;
    const ENOBUFS: i32 = 105;
    matches!(error.raw_os_error(), Some(ENOMEM | ENFILE | EMFILE | ENOBUFS))
}

/// A connection that was gone before it was accepted.
fn is_callers_fault(kind: ErrorKind) -> bool {
    matches!(kind, ErrorKind::ConnectionAborted | ErrorKind::ConnectionReset | ErrorKind::ConnectionRefused)
}

async fn converse(stream: TcpStream, routes: Router, caller: Caller, stop: Shutdown, _connected: watch::Receiver<()>) {
    let (routes, place) = (TowerToHyperService::new(routes), caller.clone());
    let (input, output) = stream.into_split();
    let stream = tokio::io::join(Heard { input, caller: caller.clone() }, output);
    let answer = service_fn(move |mut request: hyper::Request<Incoming>| {
        caller.has_asked();
        request.extensions_mut().insert(caller.clone());
        let (answer, caller) = (routes.call(request.map(Body::new)), caller.clone());
        async move {
            // One request a turn, so that many which were sent in one go make nobody else wait.
            tokio::task::yield_now().await;
            let answer = answer.await;
            caller.is_answered();
            answer
        }
    });
    let mut http = http1::Builder::new();
    // Times are ours to keep: this one would also close connections that rest between two requests. And who has said
    // all it has to say may still want the answer.
    http.header_read_timeout(None).max_buf_size(HEAD_MAX_BYTES).half_close(true);
    let mut connection = std::pin::pin!(http.serve_connection(TokioIo::new(stream), answer));
    let ended = tokio::select! {
        ended = connection.as_mut() => ended,
        () = place.is_parted_with() => return,
        () = stop.begun() => {
            connection.as_mut().graceful_shutdown();
            tokio::select! { ended = connection => ended, () = place.is_parted_with() => return }
        }
    };
    if let Err(error) = ended {
        tracing::debug!(%error, "a connection failed");
    }
}

/// What a caller sends, which tells us when it begins again.
struct Heard {
    input: OwnedReadHalf,
    caller: Caller,
}

impl AsyncRead for Heard {
    fn poll_read(mut self: Pin<&mut Self>, context: &mut Context<'_>, read: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let before = read.filled().len();
        let polled = Pin::new(&mut self.input).poll_read(context, read);
        if read.filled().len() > before {
            self.caller.is_heard();
        }
        polled
    }
}

/// Who is connected. Beyond the limit, a newcomer takes the place of whoever has kept us waiting longest: for the rest
/// of a request, for the next one, or for its answer to be read.
struct Callers {
    limit: usize,
    /// How many the system was seen to take; the limit, until it lacks room.
    most: AtomicUsize,
    open: AtomicUsize,
    awaited: Mutex<Awaited>,
}

/// Those whom we wait for, in the order in which it began.
#[derive(Default)]
struct Awaited {
    next: u64,
    by_turn: BTreeMap<u64, (Instant, Arc<Notify>)>,
}

impl Callers {
    fn new(limit: usize) -> Arc<Self> {
        Arc::new(Callers {
            limit,
            most: AtomicUsize::new(limit),
            open: AtomicUsize::default(),
            awaited: Mutex::default(),
        })
    }

    /// A place for a newcomer. `None` while all others wait for us: there are too many, and this one comes again.
    fn admit(self: &Arc<Self>) -> Option<Caller> {
        if self.open.load(Ordering::Relaxed) >= self.most.load(Ordering::Relaxed) && !self.part_with_longest() {
            return None;
        }
        self.open.fetch_add(1, Ordering::Relaxed);
        let caller = Caller(Arc::new(Place {
            callers: Arc::clone(self),
            turn: AtomicU64::default(),
            rests: AtomicBool::default(),
            parted: Arc::default(),
        }));
        caller.0.wait(HEAD);
        Some(caller)
    }

    /// The system takes fewer connections than we would: for a while, fewer are the limit.
    fn make_room(&self) {
        let most = self.open.load(Ordering::Relaxed).saturating_sub(FILES_SPARE).max(FILES_SPARE);
        self.most.fetch_min(most, Ordering::Relaxed);
        for _ in 0..FILES_SPARE {
            self.part_with_longest();
        }
    }

    /// One more a second, until the system says again how many it takes.
    fn try_more(&self) {
        if self.most.load(Ordering::Relaxed) < self.limit {
            self.most.fetch_add(1, Ordering::Relaxed);
        }
    }

    fn part_with_longest(&self) -> bool {
        let longest = self.awaited().by_turn.pop_first();
        longest.map(|(_, (_, parted))| parted.notify_one()).is_some()
    }

    fn part_with_overdue(&self, now: Instant) {
        self.awaited().by_turn.retain(|_, (until, parted)| {
            let overdue = *until < now;
            if overdue {
                parted.notify_one();
            }
            !overdue
        });
    }

    fn awaited(&self) -> MutexGuard<'_, Awaited> {
        // A panic while it was held leaves a whole map.
        self.awaited.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Whose request it is; handlers find it among the request's extensions.
#[derive(Clone)]
pub(super) struct Caller(Arc<Place>);

impl Caller {
    /// From now on it waits for us, and is not parted with.
    pub(super) fn waits_for_us(&self) {
        self.0.leave(&mut self.0.callers.awaited());
    }

    /// The head of a request is there. How long the rest of it may take is for the handler to say.
    fn has_asked(&self) {
        self.0.rests.store(false, Ordering::Relaxed);
        self.0.wait(KEEP_ALIVE);
    }

    /// Its request is answered: it may rest until the next one.
    fn is_answered(&self) {
        self.0.rests.store(true, Ordering::Relaxed);
        self.0.wait(KEEP_ALIVE);
    }

    /// Bytes of it came: after a rest, the next head begins with them.
    fn is_heard(&self) {
        if self.0.rests.swap(false, Ordering::Relaxed) {
            self.0.wait(HEAD);
        }
    }

    /// Returns when somebody else takes its place, or it has taken too long.
    async fn is_parted_with(&self) {
        self.0.parted.notified().await;
    }
}

/// A connection's place among the others; it ends with the connection.
struct Place {
    callers: Arc<Callers>,
    turn: AtomicU64,
    /// Between two requests.
    rests: AtomicBool,
    parted: Arc<Notify>,
}

impl Place {
    fn wait(&self, at_most: Duration) {
        let mut awaited = self.callers.awaited();
        self.leave(&mut awaited);
        awaited.next += 1;
        let turn = awaited.next;
        awaited.by_turn.insert(turn, (Instant::now() + at_most, Arc::clone(&self.parted)));
        self.turn.store(turn, Ordering::Relaxed);
    }

    fn leave(&self, awaited: &mut Awaited) {
        awaited.by_turn.remove(&self.turn.load(Ordering::Relaxed));
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.leave(&mut self.callers.awaited());
        self.callers.open.fetch_sub(1, Ordering::Relaxed);
    }
}
