//! A Pub/Sub server that hands out as fast as it is asked: StreamingPull with flow control and deadlines, Acknowledge and
//! ModifyAckDeadline as the real one has them, and that there is the subscription. It leaves out ordering, filters and exactly-once delivery.
//!
//! Source of truth: <https://cloud.google.com/pubsub/docs/reference/rpc/google.pubsub.v1#subscriber>.

use std::collections::{HashMap, VecDeque};
use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use futures::stream;
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Full, StreamBody};
use hyper::body::{Bytes, Frame, Incoming};
use hyper::{HeaderMap, Request, Response};
use hyper_util::rt::{TokioExecutor, TokioIo};
use prost::Message;
use tokio::sync::Notify;

mod protocol;

use protocol::{
    AcknowledgeRequest, ModifyAckDeadlineRequest, PubsubMessage, ReceivedMessage, StreamingPullRequest,
    StreamingPullResponse, Timestamp,
};

/// Messages of one response, at most.
const RESPONSE_MESSAGES: usize = 100;

/// How often deadlines are looked at.
const EXPIRY: Duration = Duration::from_millis(100);

/// Hears of messages, by their number, whose acknowledgement has come.
type Hearer = Box<dyn Fn(&[usize]) + Send + Sync>;

/// A subscription with everything that was published before.
pub(crate) struct Subscription {
    messages: Vec<Bytes>,
    state: Mutex<State>,
    /// Something may be handed out again.
    changed: Notify,
    hear: Hearer,
}

#[derive(Default)]
struct State {
    /// Not handed out, or given back; by number.
    waiting: VecDeque<usize>,
    /// Handed out and not answered for, by the number of the delivery, which is its `ack_id`.
    outstanding: HashMap<u64, Delivered>,
    deliveries: u64,
    streams: u64,
    acknowledged: usize,
}

struct Delivered {
    message: usize,
    stream: u64,
    deadline: Instant,
}

/// What a stream has asked for.
#[derive(Clone, Copy)]
struct Flow {
    stream: u64,
    messages: usize,
    bytes: usize,
    deadline: Duration,
}

impl Subscription {
    /// Of these messages; `hear` hears of acknowledgements before they count.
    pub(crate) fn new(messages: Vec<Bytes>, hear: impl Fn(&[usize]) + Send + Sync + 'static) -> Arc<Self> {
        let state = State { waiting: (0..messages.len()).collect(), ..State::default() };
        Arc::new(Subscription { messages, state: Mutex::new(state), changed: Notify::new(), hear: Box::new(hear) })
    }

    /// Serves it, under whatever name it is asked for, on a port of its own.
    pub(crate) async fn serve(self: &Arc<Self>) -> SocketAddr {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("an address");
        let subscription = Arc::clone(self);
        tokio::spawn(async move {
            while let Ok((connection, _)) = listener.accept().await {
                let subscription = Arc::clone(&subscription);
                let answer = hyper::service::service_fn(move |request| Arc::clone(&subscription).answer(request));
                tokio::spawn(async move {
                    // gRPC, and REST for what a start asks.
                    let http = hyper_util::server::conn::auto::Builder::new(TokioExecutor::new());
                    // A caller that goes away ends it.
                    let _ = http.serve_connection(TokioIo::new(connection), answer).await;
                });
            }
        });
        address
    }

    /// How many messages are done with.
    pub(crate) fn acknowledged(&self) -> usize {
        self.state().acknowledged
    }

    /// How often messages were handed out.
    pub(crate) fn deliveries(&self) -> u64 {
        self.state().deliveries
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("nobody panics under it")
    }

    async fn answer(
        self: Arc<Self>,
        request: Request<Incoming>,
    ) -> Result<Response<UnsyncBoxBody<Bytes, Infallible>>, hyper::Error> {
        // Whether there is the subscription: https://cloud.google.com/pubsub/docs/reference/rest/v1/projects.subscriptions/get
        if let Some(name) = request.uri().path().strip_prefix("/v1/") {
            let found = serde_json::json!({"name": name}).to_string();
            let found =
                Response::builder().header("content-type", "application/json").body(Full::from(found).boxed_unsync());
            return Ok(found.expect("a response"));
        }
        let method = request.uri().path().trim_start_matches("/google.pubsub.v1.Subscriber/").to_owned();
        let response = Response::builder().header("content-type", "application/grpc");
        let body = request.into_body();
        let body = match method.as_str() {
            "StreamingPull" => self.streaming_pull(body).await?,
            "Acknowledge" | "ModifyAckDeadline" => {
                let frame = body.collect().await?.to_bytes();
                let message = frame.get(5..).unwrap_or_default();
                match method.as_str() {
                    "Acknowledge" => self.acknowledge(&AcknowledgeRequest::decode(message).expect("a request")),
                    _ => self.modify(&ModifyAckDeadlineRequest::decode(message).expect("a request")),
                }
                let trailers = async { Some(Ok(status("0"))) };
                Full::new(framed(&[])).with_trailers(trailers).boxed_unsync()
            }
            _ => {
                to_its_end(body).await;
                // 12: unimplemented.
                let unimplemented = response.header("grpc-status", "12").body(Full::default().boxed_unsync());
                return Ok(unimplemented.expect("a response"));
            }
        };
        Ok(response.body(body).expect("a response"))
    }

    /// Hands out what waits, as far as the stream's flow control lets it. Of the stream's requests only the first counts: what
    /// follows are signs of life.
    async fn streaming_pull(
        self: Arc<Self>,
        mut requests: Incoming,
    ) -> Result<UnsyncBoxBody<Bytes, Infallible>, hyper::Error> {
        let mut first = Vec::new();
        while frame_bytes(&first).is_none_or(|bytes| first.len() < bytes) {
            let Some(frame) = requests.frame().await else { break };
            if let Some(data) = frame?.data_ref() {
                first.extend_from_slice(data);
            }
        }
        let end = frame_bytes(&first).expect("a request");
        let asked = StreamingPullRequest::decode(first.get(5..end).expect("a request")).expect("a request");
        tokio::spawn(to_its_end(requests));
        let limit = |most: i64| usize::try_from(most).ok().filter(|most| *most > 0).unwrap_or(usize::MAX);
        let flow = Flow {
            stream: {
                let mut state = self.state();
                state.streams += 1;
                state.streams
            },
            messages: limit(asked.max_outstanding_messages),
            bytes: limit(asked.max_outstanding_bytes),
            deadline: Duration::from_secs(asked.stream_ack_deadline_seconds.unsigned_abs().into()),
        };
        let responses = stream::unfold(self, move |subscription| async move {
            let response = subscription.next(flow).await;
            Some((Ok(Frame::data(framed(&response.encode_to_vec()))), subscription))
        });
        Ok(StreamBody::new(responses).boxed_unsync())
    }

    /// The next messages for a stream, as soon as there are some.
    async fn next(&self, flow: Flow) -> StreamingPullResponse {
        loop {
            let changed = self.changed.notified();
            let received_messages = self.hand_out(flow);
            if !received_messages.is_empty() {
                return StreamingPullResponse { received_messages };
            }
            let _ = tokio::time::timeout(EXPIRY, changed).await;
        }
    }

    fn hand_out(&self, flow: Flow) -> Vec<ReceivedMessage> {
        let mut state = self.state();
        let now = Instant::now();
        if state.waiting.is_empty() {
            state.expire(now);
        }
        let of_stream = state.outstanding.values().filter(|delivered| delivered.stream == flow.stream);
        let size_bytes = |message: usize| self.messages.get(message).map_or(0, Bytes::len);
        let (mut messages, mut bytes) =
            of_stream.fold((0, 0), |(count, bytes), delivered| (count + 1, bytes + size_bytes(delivered.message)));
        let mut handed_out = Vec::new();
        while handed_out.len() < RESPONSE_MESSAGES && messages < flow.messages && bytes < flow.bytes {
            let Some(message) = state.waiting.pop_front() else { break };
            (messages, bytes) = (messages + 1, bytes + size_bytes(message));
            state.deliveries += 1;
            let delivery = state.deliveries;
            let delivered = Delivered { message, stream: flow.stream, deadline: now + flow.deadline };
            state.outstanding.insert(delivery, delivered);
            let data = self.messages.get(message).cloned().unwrap_or_default();
            let publish_time = Some(Timestamp { seconds: chrono::Utc::now().timestamp() });
            let message = Some(PubsubMessage { data, message_id: message.to_string(), publish_time });
            handed_out.push(ReceivedMessage { ack_id: delivery.to_string(), message });
        }
        handed_out
    }

    fn acknowledge(&self, request: &AcknowledgeRequest) {
        let deliveries = request.ack_ids.iter().filter_map(|ack_id| ack_id.parse::<u64>().ok());
        let mut state = self.state();
        let done: Vec<Delivered> = deliveries.filter_map(|delivery| state.outstanding.remove(&delivery)).collect();
        drop(state);
        let done: Vec<usize> = done.into_iter().map(|delivered| delivered.message).collect();
        (self.hear)(&done);
        state = self.state();
        state.acknowledged += done.len();
        drop(state);
        self.changed.notify_waiters();
    }

    fn modify(&self, request: &ModifyAckDeadlineRequest) {
        let mut state = self.state();
        let deadline = Instant::now() + Duration::from_secs(request.ack_deadline_seconds.unsigned_abs().into());
        for delivery in request.ack_ids.iter().filter_map(|ack_id| ack_id.parse().ok()) {
            if let Some(delivered) = state.outstanding.get_mut(&delivery) {
                delivered.deadline = deadline;
            }
        }
        // A deadline of nothing gives back.
        if request.ack_deadline_seconds == 0 {
            state.expire(deadline);
            drop(state);
            self.changed.notify_waiters();
        }
    }
}

impl State {
    /// Takes back what was not answered for in time.
    fn expire(&mut self, now: Instant) {
        let expired = self.outstanding.extract_if(|_, delivered| delivered.deadline <= now);
        self.waiting.extend(expired.map(|(_, delivered)| delivered.message));
    }
}

/// Takes the rest of a request. One that breaks off says so again and again.
async fn to_its_end(mut body: Incoming) {
    while let Some(Ok(_)) = body.frame().await {}
}

/// How long the frame is that begins here, with its head; `None` when that is not all there.
fn frame_bytes(frame: &[u8]) -> Option<usize> {
    let length = frame.get(1..5)?.try_into().ok().map(u32::from_be_bytes)?;
    Some(5 + usize::try_from(length).expect("small"))
}

fn framed(message: &[u8]) -> Bytes {
    let length = u32::try_from(message.len()).expect("small");
    [&[0], &length.to_be_bytes()[..], message].concat().into()
}

fn status(code: &str) -> HeaderMap {
    let mut trailers = HeaderMap::new();
    trailers.insert("grpc-status", code.parse().expect("a status"));
    trailers
}
