//! A notice survives whoever sends it: senders are killed at any moment, all is sent, and each copy says that it may be one.

use std::collections::HashMap;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Instant;

use super::sending::{Hook, sender};
use super::*;

/// Tells a process of the tests that it is a sender: where the ledger is, and where to send.
const SENDER: &str = "PEDWATCH_TEST_SENDER";

/// Short, so that the test does not wait for long; far longer than an attempt takes.
const LEASE: Duration = Duration::seconds(2);

fn patience() -> Patience {
    Patience { lease: LEASE, give_up_after: Duration::hours(1) }
}

/// Sends what is due, to the end of the process or until a while passes in which nothing is.
async fn send(ledger: Arc<dyn Ledger>, url: String, owner: &str, idle: std::time::Duration) {
    let sender = sender(ledger, url, owner, patience());
    let mut last = Instant::now();
    while last.elapsed() < idle {
        match sender.send_one(Utc::now).await {
            Ok(Some(_)) => last = Instant::now(),
            Ok(None) | Err(LedgerError::Transient(_)) => tokio::time::sleep(std::time::Duration::from_millis(10)).await,
            Err(error) => panic!("{error}"),
        }
    }
}

/// By itself, a test of a sender that nobody kills; and the process that [`what_is_killed_is_sent_all_the_same`] kills.
#[test]
fn a_sender_sends_what_is_due() {
    let second = std::time::Duration::from_secs(1);
    if let Ok(task) = std::env::var(SENDER) {
        let (path, url) = task.split_once(' ').expect("a path and a URL");
        let ledger = Arc::new(Sqlite::open(Path::new(path)).expect("a ledger"));
        return block_on(send(ledger, url.to_owned(), &format!("process {}", std::process::id()), 600 * second));
    }
    block_on(async {
        let (hook, ledger) = (Hook::new(0), Arc::new(Sqlite::in_memory().expect("memory")));
        let mut made =
            vec![notice("i1", Kind::Opened, 1), notice("i1", Kind::Worsened, 2), notice("i2", Kind::Opened, 1)];
        made.iter_mut().for_each(|notice| notice.created_at = Utc::now());
        enqueue(&*ledger, made.clone()).await;
        send(Arc::clone(&ledger) as Arc<dyn Ledger>, hook.url(), "w", second / 4).await;
        let posts = hook.posts();
        assert_eq!(posts.len(), 3, "{posts:?}");
        let place = |notice: &Notice| posts.iter().position(|post| post.id == notice.notification_id);
        assert!(place(&made[0]) < place(&made[1]), "one after the other");
        assert_eq!(ledger.notices(Wanted::State(State::Sent), 10).await.expect("readable").len(), 3);
    });
}

/// A sender in a process of its own, killed when it is dropped.
struct Process(Child);

impl Process {
    fn start(ledger: &Path, url: &str) -> Self {
        let own = std::env::current_exe().expect("this program");
        let child = Command::new(own)
            .args(["--exact", "ledger::kills::a_sender_sends_what_is_due"])
            .env(SENDER, format!("{} {url}", ledger.display()))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .spawn();
        Process(child.expect("a process"))
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.0.kill().expect("SIGKILL");
        self.0.wait().expect("gone");
    }
}

fn knob(name: &str, usual: usize) -> usize {
    std::env::var(name).map_or(usual, |value| value.parse().expect("a number"))
}

#[test]
fn what_is_killed_is_sent_all_the_same_and_every_copy_says_so() {
    let (kills, count) = (knob("PEDWATCH_TEST_KILLS", 8), knob("PEDWATCH_TEST_NOTICES", 48));
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("ledger.db");
    let ledger = Sqlite::open(&path).expect("a ledger");
    let hook = Hook::new(40);
    // Two notices an incident; as many come between two kills.
    let mut notices: Vec<Notice> = (0..count.div_ceil(2))
        .flat_map(|number| {
            [Kind::Opened, Kind::Worsened].map(|kind| notice(&format!("i{number}"), kind, kind as u32 + 1))
        })
        .collect();
    let mut processes: Vec<Process> = (0..3).map(|_| Process::start(&path, &hook.url())).collect();
    let mut enqueued = 0;
    for kill in 0..=kills {
        let due = notices.len() * (kill + 1) / (kills + 1);
        let made = notices[enqueued..due].iter_mut().map(|notice| {
            notice.created_at = Utc::now();
            notice.progress.due_at = Some(notice.created_at);
            notice.clone()
        });
        block_on(enqueue(&ledger, made.collect::<Vec<_>>()));
        enqueued = due;
        if kill < kills {
            std::thread::sleep(std::time::Duration::from_millis(40 + kill as u64 * 7919 % 260));
            processes.remove(0);
            processes.push(Process::start(&path, &hook.url()));
        }
    }
    let begun = Instant::now();
    let is_done =
        || block_on(ledger.notices(Wanted::State(State::Sent), 10_000)).expect("readable").len() == notices.len();
    while !is_done() {
        assert!(begun.elapsed().as_secs() < 60, "not all was sent");
        std::thread::sleep(std::time::Duration::from_millis(50));
    }
    drop(processes);
    let posts = hook.posts();
    let mut copies: HashMap<&str, Vec<bool>> = HashMap::new();
    for post in &posts {
        copies.entry(&post.id).or_default().push(post.unsure);
    }
    let extra = posts.len() - notices.len();
    let unsure = posts.iter().filter(|post| post.unsure).count();
    println!(
        "{count} notices, {kills} kills: {} posts, {extra} of them extra, {unsure} said that they may be copies",
        posts.len()
    );
    assert_eq!(copies.len(), notices.len(), "each was sent");
    for (id, copies) in copies {
        assert!(copies.iter().skip(1).all(|unsure| *unsure), "a copy of {id} does not say so: {copies:?}");
    }
}
