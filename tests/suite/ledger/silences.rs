//! Silences: what they refuse, what they hold back, and that they are kept.

use pedwatch::notify::matcher::{Field, Matcher};
use pedwatch::notify::silence::{self, Draft, Silence};

use super::*;
use crate::support::config;

fn draft(matchers: &[(Field, &str)]) -> Draft {
    let matcher = |(field, text): &(Field, &str)| Matcher::read(*field, text).expect("a matcher");
    Draft {
        matchers: matchers.iter().map(matcher).collect(),
        starts_at: now(),
        ends_at: now() + Duration::hours(2),
        reason: "a migration".to_owned(),
        created_by: "alice@example.com".to_owned(),
        ticket: None,
    }
}

fn silence(matchers: &[(Field, &str)]) -> Silence {
    Silence::new(draft(matchers), now()).expect("valid")
}

#[test]
fn a_silence_tells_all_that_is_wrong_with_it() {
    let faults = |draft| Silence::new(draft, now()).expect_err("wrong");
    let usual = || draft(&[(Field::Namespace, "payments")]);
    let all = faults(Draft {
        ends_at: now(),
        reason: " \n".to_owned(),
        ..draft(&[(Field::Namespace, "*"), (Field::Rule, "**")])
    });
    for (fault, part) in all.iter().zip(["for everything", "a time after its beginning", "no reason"]) {
        assert!(fault.contains(part), "{fault}");
    }
    assert_eq!(all.len(), 3);
    assert_eq!(faults(Draft { ends_at: now() + Duration::days(31), ..usual() }).len(), 1);
    assert_eq!(faults(Draft { starts_at: now() - Duration::hours(2), ends_at: now(), ..usual() }).len(), 1);
    assert_eq!(faults(draft(&[])).len(), 1);
    assert!(Silence::new(draft(&[(Field::Owner, "!*@example.com")]), now()).is_ok());
}

#[test]
fn a_silence_holds_back_what_it_names() {
    let severities = config().policy.severity;
    let held = |matchers: &[(Field, &str)], owner| {
        let found = silence(matchers).for_deployment(&deployment("orders-api"), owner, &severities);
        found.map_or(Vec::new(), |found| found.rules.into_iter().map(|(rule, _)| rule).collect())
    };
    assert_eq!(
        held(&[(Field::Namespace, "payments"), (Field::Rule, "over_*")], None),
        [AlertType::OverLimit, AlertType::OverInitial]
    );
    assert_eq!(held(&[(Field::Severity, "critical")], None), [AlertType::OverLimit, AlertType::SinkBroken]);
    assert_eq!(held(&[(Field::Deployment, "orders-*"), (Field::Deployment, "!orders-api")], None), []);
    assert_eq!(held(&[(Field::Cluster, "prod-2")], None), []);
    assert_eq!(
        held(&[(Field::Owner, "*@example.com"), (Field::Rule, "bypass")], Some("team-a@Example.com")),
        [AlertType::Bypass]
    );
    assert_eq!(held(&[(Field::Owner, "*@example.com")], None), []);
}

#[test]
fn a_silence_is_kept_until_it_is_over_and_its_end_was_told() {
    on_every_ledger(async |ledger| {
        let at = |minutes| now() + Duration::minutes(minutes);
        let (first, second) = (silence(&[(Field::Namespace, "payments")]), silence(&[(Field::Namespace, "billing")]));
        for one in [&first, &second] {
            silence::add(&*ledger, one).await.expect("kept");
            assert_eq!(silence::add(&*ledger, one).await, Err(LedgerError::Conflict), "once");
        }
        assert_eq!(silence::standing(&*ledger, at(119)).await.expect("readable").len(), 2);
        let ended = silence::end(&*ledger, &first.silence_id, "bob@example.com", at(30))
            .await
            .expect("a ledger")
            .expect("there");
        assert_eq!((ended.is_in_force(at(29)), ended.is_in_force(at(30))), (true, false));
        assert_eq!(silence::end(&*ledger, &first.silence_id, "bob@example.com", at(31)).await.expect("a ledger"), None);
        assert_eq!(silence::standing(&*ledger, at(30)).await.expect("readable"), std::slice::from_ref(&second));
        // What is open under it is told, and then it is forgotten; a kill in between finds it again.
        for _ in 0..2 {
            assert_eq!(silence::over(&*ledger, at(30)).await.expect("readable"), std::slice::from_ref(&ended));
        }
        silence::forget(&*ledger, &first.silence_id).await.expect("kept");
        silence::forget(&*ledger, &first.silence_id).await.expect("again");
        assert_eq!(silence::over(&*ledger, at(30)).await.expect("readable"), []);
        assert_eq!(silence::over(&*ledger, at(120)).await.expect("readable"), [second]);
        assert!(ledger.documents(&[first.silence_id]).await.expect("readable")[0].is_some(), "it stays for the record");
    });
}
