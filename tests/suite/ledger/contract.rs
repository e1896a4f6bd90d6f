//! The contract.

use futures::future::join_all;
use pedwatch::audit::ObjectKind;
use pedwatch::incident::{Input, Place, Says, Settings, Sighting, Silence, State as Seen};
use pedwatch::notify::notice::{Addressed, Progress};
use pedwatch::notify::stepping::{Stepper, Surroundings};
use pedwatch::ped::limits::Limit;
use pedwatch::policy::{AlertType, Policy, Route, Severities};
use pedwatch::store::firestore::EXPIRY;

use super::*;
use crate::support::config;

fn put(key: &str, revision: Option<&str>, body: &str) -> Put {
    Put {
        key: key.to_owned(),
        revision: revision.map(str::to_owned),
        due_at: None,
        open_in: Vec::new(),
        body: body.to_owned(),
    }
}

fn change(document: Put, notices: Vec<Notice>) -> Change {
    Change { documents: vec![document], notices, over: Vec::new() }
}

#[test]
fn a_document_is_written_only_where_it_is_as_it_was_read() {
    on_every_ledger(async |ledger| {
        let key = ["k1".to_owned(), "k2".to_owned()];
        assert_eq!(ledger.documents(&key).await.expect("readable"), [None, None]);
        let create = |body: String| {
            let ledger = Arc::clone(&ledger);
            async move { ledger.commit(&change(put("k1", None, &body), Vec::new())).await }
        };
        let made = join_all((0..10).map(|number| create(number.to_string()))).await;
        assert_eq!(made.iter().filter(|made| made.is_ok()).count(), 1, "{made:?}");
        assert!(made.iter().all(|made| matches!(made, Ok(()) | Err(LedgerError::Conflict))), "{made:?}");
        let read = ledger.documents(&key).await.expect("readable");
        let [Some(first), None] = &read[..] else { panic!("{read:?}") };
        ledger.commit(&change(put("k1", Some(&first.revision), "next"), Vec::new())).await.expect("as it was read");
        // Neither the document nor what would follow from it.
        let stale = change(put("k1", Some(&first.revision), "late"), vec![notice("i1", Kind::Opened, 1)]);
        assert_eq!(ledger.commit(&stale).await, Err(LedgerError::Conflict));
        let both = Change { documents: vec![put("k2", None, "new"), put("k1", None, "again")], ..Change::default() };
        assert_eq!(ledger.commit(&both).await, Err(LedgerError::Conflict));
        let read = ledger.documents(&key).await.expect("readable");
        assert_eq!(read[0].as_ref().map(|stored| stored.body.as_str()), Some("next"));
        assert_eq!(read[1], None);
        assert_eq!(states(&*ledger, "i1").await, []);
    });
}

#[test]
fn documents_are_found_when_something_is_due() {
    on_every_ledger(async |ledger| {
        let due = |key: &str, minutes: Option<i64>| Put {
            due_at: minutes.map(|minutes| now() + Duration::minutes(minutes)),
            ..put(key, None, key)
        };
        let documents = vec![due("later", Some(5)), due("second", Some(0)), due("first", Some(-5)), due("never", None)];
        ledger.commit(&Change { documents, ..Change::default() }).await.expect("committed");
        let found = ledger.due_documents(now(), 10).await.expect("readable");
        assert_eq!(found.iter().map(|stored| stored.key.as_str()).collect::<Vec<_>>(), ["first", "second"]);
        assert_eq!(ledger.due_documents(now(), 1).await.expect("readable").len(), 1);
    });
}

#[test]
fn a_notice_comes_back_as_it_was_made_and_once() {
    on_every_ledger(async |ledger| {
        let made = notice("i1", Kind::Opened, 1);
        for _ in 0..3 {
            enqueue(&*ledger, [made.clone(), notice("i1", Kind::Worsened, 2)]).await;
        }
        let found = ledger.notices(Wanted::Incident("i1"), 10).await.expect("readable");
        assert_eq!(found, [made, notice("i1", Kind::Worsened, 2)]);
        assert_eq!(ledger.notices(Wanted::State(State::Pending), 1).await.expect("readable").len(), 1);
        assert_eq!(ledger.notices(Wanted::State(State::Sent), 10).await.expect("readable"), []);
    });
}

#[test]
fn two_workers_never_send_one_notice_at_once() {
    on_every_ledger(async |ledger| {
        let ids: Vec<String> = (0..6).map(|number| format!("i{number}")).collect();
        enqueue(&*ledger, ids.iter().map(|id| notice(id, Kind::Opened, 1))).await;
        let work = |worker: usize| {
            let ledger = Arc::clone(&ledger);
            async move { claimed(&*ledger, &format!("w{worker}"), now()).await }
        };
        let mut taken: Vec<Notice> = Vec::new();
        while taken.len() < ids.len() {
            let found = join_all((0..4).map(work)).await;
            taken.extend(found.into_iter().flatten());
        }
        taken.sort_by(|left, right| left.incident_id.cmp(&right.incident_id));
        assert_eq!(taken.iter().map(|notice| &notice.incident_id).collect::<Vec<_>>(), ids.iter().collect::<Vec<_>>());
        assert!(taken.iter().all(|notice| !notice.progress.unsure && notice.progress.attempts == 1));
        // Nobody gets one before its lease ends; then it is not known whether it arrived.
        assert_eq!(claimed(&*ledger, "other", now() + Duration::seconds(59)).await, None);
        let again = claimed(&*ledger, "other", now() + Duration::seconds(60)).await.expect("its lease has ended");
        assert_eq!((again.progress.unsure, again.progress.attempts), (true, 2));
        // The first owner comes too late.
        let first = taken.iter().find(|notice| notice.notification_id == again.notification_id).expect("claimed");
        let own = first.progress.owner.clone().expect("an owner");
        let late = now() + Duration::seconds(61);
        assert!(!ledger.settle(first, &sent(), &claim(&own, late)).await.expect("a ledger"));
        assert!(ledger.settle(&again, &sent(), &claim("other", late)).await.expect("a ledger"));
        assert!(!ledger.settle(&again, &sent(), &claim("other", late)).await.expect("a ledger"), "once");
        let found = ledger.notices(Wanted::State(State::Sent), 10).await.expect("readable");
        assert_eq!(found.len(), 1);
        let progress = &found[0].progress;
        assert_eq!((progress.provider_ref.as_deref(), progress.sent_at), (Some("r1"), Some(late)));
        assert_eq!((progress.due_at, &progress.owner), (None, &None));
    });
}

#[test]
fn the_notices_of_an_incident_go_one_after_the_other() {
    on_every_ledger(async |ledger| {
        enqueue(&*ledger, [notice("i1", Kind::Worsened, 2), notice("i1", Kind::Opened, 1)]).await;
        let first = claimed(&*ledger, "w", now()).await.expect("due");
        assert_eq!(first.seq, 1);
        assert_eq!(claimed(&*ledger, "v", now() + Duration::seconds(2)).await, None, "the first is being sent");
        let at = now() + Duration::seconds(3);
        assert!(ledger.settle(&first, &later(None, false), &claim("w", at)).await.expect("a ledger"));
        assert_eq!(claimed(&*ledger, "w", at).await, None, "the first waits");
        let at = at + Duration::seconds(5);
        let first = claimed(&*ledger, "w", at).await.expect("it has waited");
        assert_eq!((first.seq, first.progress.attempts), (1, 2));
        assert!(ledger.settle(&first, &sent(), &claim("w", at)).await.expect("a ledger"));
        assert_eq!(claimed(&*ledger, "w", at).await.expect("at once").seq, 2);
        // Another receiver's notices, and another incident's, wait for nobody.
        enqueue(&*ledger, [notice("i2", Kind::Opened, 1)]).await;
        assert_eq!(claimed(&*ledger, "w", at).await.expect("due").incident_id, "i2");
        let other = Claim { receiver: "mail", ..claim("w", at) };
        assert_eq!(ledger.claim(&other).await.expect("a ledger"), None);
    });
}

#[test]
fn what_fails_is_tried_again_later_and_later_until_it_is_given_up() {
    on_every_ledger(async |ledger| {
        enqueue(&*ledger, [notice("i1", Kind::Opened, 1)]).await;
        let mut at = now();
        let mut waits = Vec::new();
        while let Some(found) = claimed(&*ledger, "w", at).await {
            // The second time it says when to come again.
            let after = (found.progress.attempts == 2).then(|| Duration::seconds(1000));
            assert!(ledger.settle(&found, &later(after, false), &claim("w", at)).await.expect("a ledger"));
            let found = ledger.notices(Wanted::Incident("i1"), 1).await.expect("readable").remove(0);
            assert_eq!(found.progress.last_error.as_deref(), Some("it answers 503"));
            let Some(due_at) = found.progress.due_at else { break };
            waits.push((due_at - at).num_seconds());
            at = due_at;
        }
        assert_eq!(states(&*ledger, "i1").await, [State::Failed]);
        assert!((3..=5).contains(&waits[0]) && waits[1] == 1000 && (15..=20).contains(&waits[2]), "{waits:?}");
        assert!(waits.iter().skip(8).all(|wait| (450..=600).contains(wait)), "{waits:?}");
        assert!(waits.iter().sum::<i64>() > 6_500, "{waits:?}");
        // A refusal is final.
        enqueue(&*ledger, [notice("i2", Kind::Opened, 1)]).await;
        let found = claimed(&*ledger, "w", now()).await.expect("due");
        let refused = Outcome::Refused { why: "x".repeat(5000) };
        assert!(ledger.settle(&found, &refused, &claim("w", now())).await.expect("a ledger"));
        let found = ledger.notices(Wanted::State(State::Failed), 10).await.expect("readable");
        assert_eq!(found.len(), 2);
        assert!(found.iter().all(|notice| notice.progress.last_error.as_ref().is_some_and(|why| why.len() <= 300)));
        // A person begins anew with it, once.
        let id = &found[0].notification_id;
        let again = ledger.retry(id, at).await.expect("a ledger").expect("it had failed");
        assert_eq!(ledger.notices(Wanted::Notice(id), 9).await.expect("readable"), [again]);
        assert_eq!(ledger.retry(id, at).await.expect("a ledger"), None);
        assert_eq!(ledger.retry("none", at).await.expect("a ledger"), None);
        assert_eq!(claimed(&*ledger, "w", at).await.expect("due").progress.attempts, 1);
    });
}

/// The incident is over, with its last notice.
async fn recover(ledger: &dyn Ledger, incident: &str, seq: u32) {
    let notices = vec![notice(incident, Kind::Recovered, seq)];
    let over = vec![incident.to_owned()];
    ledger.commit(&Change { notices, over, ..Change::default() }).await.expect("committed");
}

#[test]
fn what_was_over_before_it_was_sent_is_told_to_nobody() {
    use State::{Failed, Pending, Sending, Sent, Superseded};
    on_every_ledger(async |ledger| {
        // Opened is pending: both are superseded.
        enqueue(&*ledger, [notice("i1", Kind::Opened, 1), notice("i1", Kind::Worsened, 2)]).await;
        recover(&*ledger, "i1", 3).await;
        assert_eq!(claimed(&*ledger, "w", now()).await, None);
        assert_eq!(states(&*ledger, "i1").await, [Superseded, Superseded, Superseded]);
        // It is being sent: recovered goes behind it, and is superseded only where it fails.
        for (outcome, expected) in
            [(sent(), [Sent, Pending]), (Outcome::Refused { why: String::new() }, [Failed, Superseded])]
        {
            let incident = format!("i-{expected:?}");
            enqueue(&*ledger, [notice(&incident, Kind::Opened, 1)]).await;
            let opened = claimed(&*ledger, "w", now()).await.expect("due");
            recover(&*ledger, &incident, 2).await;
            assert_eq!(states(&*ledger, &incident).await, [Sending, Pending]);
            assert!(ledger.settle(&opened, &outcome, &claim("w", now())).await.expect("a ledger"));
            let recovered = claimed(&*ledger, "w", now()).await;
            assert_eq!(recovered.is_some(), expected[1] == Pending);
            if let Some(recovered) = recovered {
                assert!(ledger.settle(&recovered, &sent(), &claim("w", now())).await.expect("a ledger"));
                assert_eq!(states(&*ledger, &incident).await, [Sent, Sent]);
            } else {
                assert_eq!(states(&*ledger, &incident).await, expected);
            }
        }
        // It may have arrived: it is sent for certain, and then its end.
        enqueue(&*ledger, [notice("i4", Kind::Opened, 1)]).await;
        let opened = claimed(&*ledger, "w", now()).await.expect("due");
        assert!(ledger.settle(&opened, &later(None, true), &claim("w", now())).await.expect("a ledger"));
        recover(&*ledger, "i4", 2).await;
        assert_eq!(states(&*ledger, "i4").await, [Pending, Pending]);
        let at = now() + Duration::seconds(5);
        let opened = claimed(&*ledger, "w", at).await.expect("due");
        assert_eq!((opened.seq, opened.progress.unsure), (1, true));
    });
}

#[test]
fn what_a_silence_holds_back_is_kept_and_not_sent() {
    on_every_ledger(async |ledger| {
        let held_back = Step { silenced_by: Some("s1".to_owned()), ..step("i1", Kind::Opened, 1) };
        enqueue(&*ledger, [Notice::new(&held_back, &deployment("orders-api"), "hook", String::new(), now())]).await;
        assert_eq!(claimed(&*ledger, "w", now()).await, None);
        let found = ledger.notices(Wanted::State(State::Silenced), 10).await.expect("readable");
        assert_eq!(found[0].content.silence_id.as_deref(), Some("s1"));
    });
}

/// The Deployment, or an HPA, asks for so many at a minute.
fn sighting(minute: i64, says: Says, target: Option<&str>) -> Sighting {
    let place = Place {
        version: (says != Says::Gone).then(|| (1000 + minute).to_string()),
        generation: None,
        time: now() + Duration::minutes(minute),
        insert_id: format!("i{minute}"),
        event_id: format!("e{minute}"),
    };
    let state = Seen {
        place,
        says,
        target: target.map(str::to_owned),
        counts: true,
        touched: true,
        creates: false,
        write_id: format!("w{minute}"),
        actor: "alice@example.com".to_owned(),
        on_behalf_of: None,
        route: Route::Pipeline,
    };
    let shows = says != Says::Gone;
    Sighting { uid: Some("uid-1".to_owned()), born_at: None, shows, state }
}

/// Steps on a ledger at a minute, with a limit of 5, told to a hook and by mail.
struct Steps {
    policy: Policy,
    settings: Settings,
    limit: Limit,
}

impl Steps {
    fn new() -> Self {
        let settings = Settings {
            hold: Duration::zero(),
            flap: Duration::minutes(10),
            suppress: Duration::days(1),
            repeat_every: None,
            max_age: Duration::days(1),
        };
        let from = now() - Duration::days(9);
        let limit = Limit { limit_id: "v1".to_owned(), from, max_replicas: 5, initial_max_replicas: 5 };
        Steps { policy: config().policy, settings, limit }
    }

    async fn at<T>(&self, ledger: &dyn Ledger, minute: i64, work: impl AsyncFn(Stepper<'_>) -> T) -> T {
        let around = AtMinute { steps: self, now: now() + Duration::minutes(minute) };
        work(Stepper { ledger, around: &around }).await
    }

    async fn own(&self, ledger: &dyn Ledger, name: &str, minute: i64, says: Says) -> Vec<String> {
        let input = Input::Own(sighting(minute, says, None));
        self.at(ledger, minute, async |stepper| told(stepper.step(&deployment(name), &input).await)).await
    }

    async fn hpa(&self, ledger: &dyn Ledger, minute: i64, says: Says, target: Option<&str>) -> Vec<String> {
        let sighting = sighting(minute, says, target);
        self.at(ledger, minute, async |stepper| told(stepper.step_hpa(&deployment("scaler"), &sighting).await)).await
    }

    async fn timer(&self, ledger: &dyn Ledger, name: &str, minute: i64) -> Vec<String> {
        self.at(ledger, minute, async |stepper| told(stepper.step(&deployment(name), &Input::Timer).await)).await
    }
}

/// Where the store is the ledger, rows and what follows from a step are written together; one that comes too late costs its rows
/// nothing, nor others.
#[test]
fn rows_and_steps_are_one_append_where_the_store_is_the_ledger() {
    use pedwatch::store::batch::{Batcher, Batching};
    use pedwatch::store::row::{Record, Watermark};
    use pedwatch::store::{Appended, Store, query};
    block_on(async {
        let file = tempfile::tempdir().expect("a folder");
        let store = Arc::new(Sqlite::open(&file.path().join("facts.db")).expect("a file"));
        let again = Sqlite::open(&file.path().join("facts.db")).expect("a file");
        let other = Sqlite::open(&file.path().join("ledger.db")).expect("a file");
        assert!(Store::file(&*store).is_some() && Store::file(&*store) == Ledger::file(&again));
        assert_ne!(Store::file(&*store), Ledger::file(&other));
        let batcher = Batcher::new(Arc::clone(&store) as _, Batching::default(), Default::default());
        let row = |name: &str| vec![Record::Watermark(Watermark { name: name.to_owned(), through: now(), at: now() })];
        let begins = |key: &str| change(put(key, None, "1"), vec![notice(key, Kind::Opened, 1)]);
        let all = [("a", begins("k1")), ("b", begins("k1")), ("c", begins("k2"))];
        let written = join_all(all.iter().map(|(name, change)| batcher.append_with(row(name), change.clone()))).await;
        let written: Vec<_> = written.into_iter().map(|written| written.expect("written")).collect();
        assert!(written.iter().all(|(rows, _)| *rows == [Appended::Stored]));
        let changed: Vec<_> = written.into_iter().map(|(_, changed)| changed).collect();
        assert_eq!(changed, [Ok(()), Err(LedgerError::Conflict), Ok(())]);
        for name in ["a", "b", "c"] {
            assert!(query::watermark(&*store, name).await.expect("readable").is_some(), "{name}");
        }
        let keys = ["k1", "k2"].map(str::to_owned);
        assert!(again.documents(&keys).await.expect("readable").iter().all(Option::is_some));
        let due = again.due_notices("hook", now(), 10).await.expect("readable");
        assert_eq!(due.len(), 2);
        // A notice that cannot be read is in the way of its own incident, and of nothing that is written with it.
        let broken = rusqlite::Connection::open(file.path().join("facts.db")).expect("opened");
        broken.execute("UPDATE notifications SET content = 'broken'", []).expect("written");
        let over = Change { over: vec![due[0].incident_id.clone()], ..Change::default() };
        let (stuck, fine) =
            tokio::join!(batcher.append_with(row("d"), over), batcher.append_with(row("e"), begins("k3")));
        let (stuck, fine) = (stuck.expect("written"), fine.expect("written"));
        assert!(
            matches!(stuck, (ref rows, Err(LedgerError::Permanent(_))) if *rows == [Appended::Stored]),
            "{stuck:?}"
        );
        assert_eq!(fine, (vec![Appended::Stored], Ok(())));
    });
}

/// Firestore drops what has expired: what is over and told, and nothing of what is open, which later notices refer to.
#[test]
fn what_is_over_goes_by_itself_and_what_is_open_stays() {
    block_on(async {
        let (name, ledger) = named_firestore().await;
        let (project, database) = name.split_once('/').expect("a database");
        let documents = format!("http://{}/v1/projects/{project}/databases/{database}/documents", firestore());
        let expires = async |notice: &Notice| {
            let url = format!("{documents}/notifications/{}", notice.notification_id);
            let found = reqwest::Client::new().get(url).bearer_auth("owner").send().await.expect("the emulator");
            let found: serde_json::Value = found.json().await.expect("JSON");
            assert!(found["fields"].is_object(), "{found}");
            let (collection, field) = EXPIRY;
            assert_eq!(collection, "notifications");
            found["fields"][field]["timestampValue"].is_string()
        };
        let (opened, other) = (notice("i1", Kind::Opened, 1), notice("i2", Kind::Opened, 1));
        let once = notice("o1", Kind::Once, 1);
        enqueue(&ledger, [opened.clone(), other.clone(), once.clone()]).await;
        while let Some(taken) = claimed(&ledger, "w", now()).await {
            assert!(ledger.settle(&taken, &sent(), &claim("w", now())).await.expect("noted"));
        }
        assert_eq!((expires(&opened).await, expires(&other).await, expires(&once).await), (false, false, true));
        let recovered = notice("i1", Kind::Recovered, 2);
        let over = vec!["i1".to_owned()];
        let notices = vec![recovered.clone()];
        ledger.commit(&Change { notices, over, ..Change::default() }).await.expect("committed");
        let taken = claimed(&ledger, "w", now()).await.expect("due");
        assert!(ledger.settle(&taken, &sent(), &claim("w", now())).await.expect("noted"));
        assert_eq!((expires(&opened).await, expires(&recovered).await, expires(&other).await), (true, true, false));
    });
}

/// What many notices tell, one digest may tell: all of them, or none where somebody is at one of them.
#[test]
fn a_digest_tells_all_of_its_notices_or_none() {
    on_every_ledger(async |ledger| {
        let notices: Vec<Notice> = (0..3).map(|number| notice(&format!("g{number}"), Kind::Opened, 1)).collect();
        enqueue(&*ledger, notices).await;
        let due = ledger.due_notices("hook", now(), 10).await.expect("readable");
        assert_eq!(due.len(), 3);
        assert_eq!(ledger.due_notices("other", now(), 10).await.expect("readable"), []);
        let digest = Notice { incident_id: "d".to_owned(), ..notice("d", Kind::Digest, 1) };
        let digest = Notice { progress: Progress::new(State::Pending, now()), ..digest };
        let taken = claimed(&*ledger, "a", now()).await.expect("due");
        assert_eq!(ledger.gather(&digest, &due).await, Err(LedgerError::Conflict));
        let state = |id: String| {
            let ledger = Arc::clone(&ledger);
            async move {
                let found = ledger.notices(Wanted::Notice(&id), 1).await.expect("readable");
                found.first().map(|notice| notice.progress.state)
            }
        };
        assert_eq!(state(digest.notification_id.clone()).await, None, "nothing was written");
        let left: Vec<Notice> = due.into_iter().filter(|one| one.notification_id != taken.notification_id).collect();
        for _ in 0..2 {
            ledger.gather(&digest, &left).await.expect("written");
        }
        assert_eq!(state(digest.notification_id.clone()).await, Some(State::Pending));
        for notice in &left {
            assert_eq!(state(notice.notification_id.clone()).await, Some(State::Digested));
        }
        // An end of what a digest told is news.
        enqueue(&*ledger, [notice(&left[0].incident_id, Kind::Recovered, 2)]).await;
        let mut kinds = Vec::new();
        while let Some(next) = claimed(&*ledger, "a", now()).await {
            kinds.push(next.content.kind.to_string());
        }
        kinds.sort();
        assert_eq!(kinds, ["digest", "recovered"]);
    });
}

/// What a receiver could not be told is told by the one that stands in, once; and so is the end of it.
#[test]
fn who_stands_in_is_told_in_the_same_transaction() {
    on_every_ledger(async |ledger| {
        let instead = |body: &str| {
            let addressed =
                Addressed { receiver: "mail".to_owned(), to: Vec::new(), body: body.to_owned(), instead: None };
            Some(Box::new(addressed))
        };
        let with = |kind, seq, body| {
            let mut notice = notice("f1", kind, seq);
            notice.content.instead = instead(body);
            notice
        };
        enqueue(&*ledger, [with(Kind::Opened, 1, "it began")]).await;
        let taken = claimed(&*ledger, "a", now()).await.expect("due");
        let refused = Outcome::Refused { why: "gone".to_owned() };
        assert!(ledger.settle(&taken, &refused, &claim("a", now())).await.expect("noted"));
        let of_mail = async || ledger.due_notices("mail", now(), 10).await.expect("readable");
        let told: Vec<String> = of_mail().await.into_iter().map(|notice| notice.content.body).collect();
        assert_eq!(told, ["it began"]);
        let mail = Claim { receiver: "mail", ..claim("b", now()) };
        let taken = ledger.claim(&mail).await.expect("readable").expect("due");
        let sent = Outcome::Sent { provider_ref: None };
        assert!(ledger.settle(&taken, &sent, &mail).await.expect("noted"));
        // The receiver itself was told nothing, so its end is no news there.
        enqueue(&*ledger, [with(Kind::Recovered, 2, "it ended")]).await;
        assert_eq!(claimed(&*ledger, "a", now()).await, None);
        let taken = ledger.claim(&mail).await.expect("readable").expect("due");
        assert_eq!(taken.content.body, "it ended");
    });
}

/// Two receivers of one step fail: the one that stands in for both is told once.
#[test]
fn who_stands_in_for_two_is_told_once() {
    on_every_ledger(async |ledger| {
        let of = |receiver: &str| {
            let mut notice = notice("t1", Kind::Opened, 1);
            notice.notification_id = format!("t1-{receiver}");
            notice.receiver = receiver.to_owned();
            let (to, body) = (Vec::new(), "it began".to_owned());
            notice.content.instead = Some(Box::new(Addressed { receiver: "mail".to_owned(), to, body, instead: None }));
            notice
        };
        enqueue(&*ledger, [of("hook"), of("chat")]).await;
        for receiver in ["hook", "chat"] {
            let claim = Claim { receiver, ..claim("a", now()) };
            let taken = ledger.claim(&claim).await.expect("readable").expect("due");
            let refused = Outcome::Refused { why: "gone".to_owned() };
            assert!(ledger.settle(&taken, &refused, &claim).await.expect("noted"));
        }
        assert_eq!(ledger.due_notices("mail", now(), 10).await.expect("readable").len(), 1);
    });
}

struct AtMinute<'s> {
    steps: &'s Steps,
    now: DateTime<Utc>,
}

#[async_trait::async_trait]
impl Surroundings for AtMinute<'_> {
    fn now(&self) -> DateTime<Utc> {
        self.now
    }

    fn policy(&self) -> &Policy {
        &self.steps.policy
    }

    fn settings(&self) -> &Settings {
        &self.steps.settings
    }

    fn limit(&self, _: &Deployment) -> Option<Limit> {
        Some(self.steps.limit.clone())
    }

    async fn limit_anew(&self, deployment: &Deployment) -> Result<Option<Limit>, LedgerError> {
        Ok(self.limit(deployment))
    }

    async fn silences(&self, _: &Deployment) -> Result<Vec<Silence>, LedgerError> {
        Ok(Vec::new())
    }

    async fn addressed(&self, _: &Deployment, step: &Step) -> Result<Vec<Addressed>, LedgerError> {
        let addressed = |name: &str| Addressed {
            receiver: name.to_owned(),
            to: Vec::new(),
            body: step.kind.to_string(),
            instead: None,
        };
        Ok(vec![addressed("hook"), addressed("mail")])
    }
}

fn told(steps: Result<Vec<Step>, LedgerError>) -> Vec<String> {
    let steps = steps.expect("a ledger");
    steps.iter().map(|step| format!("{} {}", step.kind, step.value.unwrap_or_default())).collect()
}

const NOTHING: [&str; 0] = [];

/// Steps from many sides at once, each message several times: state and notices are one transaction.
#[test]
fn a_message_that_is_delivered_again_and_again_tells_once() {
    let steps = Steps::new();
    on_every_ledger(async |ledger| {
        let numbers = [7, 6, 8, 7, 6, 8, 8, 6];
        // The higher the number, the later.
        let own = |number| steps.own(&*ledger, "orders-api", number, Says::Number(number));
        let told: usize = join_all(numbers.map(own)).await.iter().map(Vec::len).sum();
        let notices = ledger.notices(Wanted::State(State::Pending), 100).await.expect("readable");
        assert_eq!(notices.len(), 2 * told, "what was told is what is enqueued");
        let opened = notices.iter().filter(|notice| notice.content.kind == Kind::Opened);
        assert_eq!(opened.count(), 2, "one for each receiver");
        assert_eq!(notices.iter().filter_map(|notice| notice.content.value).max(), Some(8));
        let before = ledger.documents(&[deployment("orders-api").key()]).await.expect("readable");
        for number in numbers {
            assert_eq!(own(number).await, NOTHING);
        }
        let after = ledger.documents(&[deployment("orders-api").key()]).await.expect("readable");
        assert_eq!(after, before, "nor is anything written");
    });
}

/// What is open under a rule that was switched off is due again and again, and moves nowhere: it holds up no other.
#[test]
fn what_does_not_move_holds_up_nobody() {
    on_every_ledger(async |ledger| {
        let mut steps = Steps::new();
        steps.settings.repeat_every = Some(Duration::hours(1));
        let names: Vec<String> = (0..101).map(|number| format!("over-{number}")).collect();
        for name in &names {
            assert_eq!(steps.own(&*ledger, name, 0, Says::Number(7)).await, ["opened 7"]);
        }
        assert_eq!(steps.own(&*ledger, "unknown", 1, Says::Unknown).await, ["opened 0"]);
        let severity = steps.policy.severity.clone();
        let without = |rule| severity.get(rule).filter(|_| rule != AlertType::OverLimit);
        steps.policy.severity = Severities::from_fn(without);
        let mut repeated = Vec::new();
        for _ in 0..2 {
            repeated.extend(steps.at(&*ledger, 62, async |stepper| told(stepper.due().await)).await);
        }
        assert_eq!(repeated, ["repeated 0"]);
    });
}

/// An HPA that aims elsewhere steps two Deployments; one that shows no target aims where it did.
#[test]
fn an_hpa_that_turns_steps_both_in_one_transaction() {
    let steps = Steps::new();
    on_every_ledger(async |ledger| {
        assert_eq!(steps.hpa(&*ledger, 1, Says::Number(9), Some("orders-api")).await, ["opened 9"]);
        assert_eq!(steps.hpa(&*ledger, 2, Says::Number(11), None).await, ["worsened 11"]);
        assert_eq!(steps.hpa(&*ledger, 3, Says::Number(11), Some("invoices-api")).await, ["opened 11"]);
        assert_eq!(steps.hpa(&*ledger, 3, Says::Number(11), Some("invoices-api")).await, NOTHING, "again");
        assert_eq!(steps.hpa(&*ledger, 2, Says::Number(11), None).await, NOTHING, "an older one");
        assert_eq!(steps.timer(&*ledger, "orders-api", 13).await, ["recovered 11"]);
        assert_eq!(steps.hpa(&*ledger, 14, Says::Gone, None).await, NOTHING);
        assert_eq!(steps.timer(&*ledger, "invoices-api", 24).await, ["recovered 11"]);
    });
}

#[test]
fn the_end_of_a_namespace_or_a_cluster_ends_what_is_open_in_it() {
    let steps = Steps::new();
    on_every_ledger(async |ledger| {
        let own = |name: &'static str, minute, number| steps.own(&*ledger, name, minute, Says::Number(number));
        for name in ["orders-api", "invoices-api"] {
            assert_eq!(own(name, 1, 8).await, ["opened 8"]);
        }
        assert_eq!(own("within", 1, 3).await, NOTHING);
        let end = async |kind, at: i64, minute| {
            let inside = deployment("");
            let at = now() + Duration::minutes(at);
            steps.at(&*ledger, minute, async |stepper: Stepper<'_>| told(stepper.end(&inside, kind, at).await)).await
        };
        assert_eq!(end(ObjectKind::HorizontalPodAutoscaler, 20, 20).await, NOTHING, "these are no HPAs");
        assert_eq!(steps.timer(&*ledger, "orders-api", 40).await, NOTHING);
        assert_eq!(end(ObjectKind::Deployment, 50, 50).await, NOTHING, "in a moment");
        // One of them was held, and is shown again.
        assert_eq!(own("orders-api", 55, 8).await, NOTHING);
        assert_eq!(end(ObjectKind::Deployment, 50, 60).await, ["recovered 8"], "delivered again");
        assert_eq!(steps.timer(&*ledger, "invoices-api", 70).await, NOTHING);
        assert_eq!(end(ObjectKind::Cluster, 80, 95).await, ["recovered 8"]);
        assert_eq!(end(ObjectKind::Cluster, 80, 95).await, NOTHING);
        // What is made in the namespace of that name later is there.
        assert_eq!(own("orders-api", 100, 8).await, ["opened 8"]);
    });
}

#[test]
fn what_is_open_is_found_page_by_page() {
    on_every_ledger(async |ledger| {
        let documents = (0..7).map(|number| Put {
            open_in: if number == 3 { Vec::new() } else { vec!["p1".to_owned(), format!("p{}", number + 10)] },
            ..put(&format!("k{number}"), None, "{}")
        });
        ledger.commit(&Change { documents: documents.collect(), ..Change::default() }).await.expect("committed");
        let (mut found, mut after) = (Vec::new(), None);
        loop {
            let page = ledger.open_documents("p1", after.as_deref(), 2).await.expect("readable");
            let Some(last) = page.last() else { break };
            after = Some(last.key.clone());
            found.extend(page.into_iter().map(|stored| stored.key));
        }
        assert_eq!(found, ["k0", "k1", "k2", "k4", "k5", "k6"]);
        assert_eq!(ledger.open_documents("p12", None, 9).await.expect("readable").len(), 1);
        // It is over.
        let revision = ledger.documents(&["k2".to_owned()]).await.expect("readable").remove(0).expect("there").revision;
        let closed = Change { documents: vec![put("k2", Some(&revision), "{}")], ..Change::default() };
        ledger.commit(&closed).await.expect("committed");
        assert_eq!(ledger.open_documents("p12", None, 9).await.expect("readable"), []);
    });
}
