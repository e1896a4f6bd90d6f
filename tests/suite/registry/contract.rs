//! What every registry has to do, wherever its versions are.

use futures::future::join_all;
use pedwatch::ped::limits::{Claim, Limits};
use pedwatch::ped::retirement::Retirement;
use pedwatch::ped::version::{Addition, additions};
use pedwatch::ped::{Clusters, Deployment, Subject};
use pedwatch::store::{RetireError, retire};

use super::*;
use crate::support::ped_with;

const NOW: &str = "2026-09-01T08:00:00Z";

fn deployment(name: &str) -> Deployment {
    ("payments".to_owned(), name.to_owned())
}

/// Each once, in the order of their ids: a table may hold a row twice.
fn by_id(mut versions: Vec<Version>) -> Vec<Version> {
    versions.sort_by(|left, right| left.id.cmp(&right.id));
    versions.dedup_by(|left, right| left.id == right.id);
    versions
}

fn claims_by_id(mut claims: Vec<Claim>) -> Vec<Claim> {
    claims.sort_by(|left, right| left.id.cmp(&right.id));
    claims.dedup_by(|left, right| left.id == right.id);
    claims
}

/// Of every kind: another maximum later, scopes of clusters, exceptions, an end.
fn of_every_kind() -> Vec<Version> {
    let path = "projects/acme-prod/locations/us-east1/clusters/prod-1";
    let exception = [("2026-10-01T00:00:00Z", "2026-10-08T00:00:00Z", 12)];
    let mut registered = registrations(&ped_with("payments", None, 3, &exception), None, NOW, "ci");
    for cluster in [Some(path), Some("prod-1")] {
        registered.extend(registrations(&ped("payments", "orders-api", cluster, 4), None, NOW, "ci"));
    }
    let later = "2026-09-20T00:00:00.000001Z";
    registered.extend(registrations(&ped("payments", "orders-api", None, 6), Some(later), NOW, "carol@example.com"));
    registered.extend(registrations(&ped("payments", "invoices-api", None, 5), None, NOW, "ci"));
    let mut versions: Vec<Version> =
        additions(&registered, Vec::new()).iter().flat_map(Addition::versions).cloned().collect();
    let subject =
        Subject { namespace: "payments".to_owned(), deployment: "invoices-api".to_owned(), clusters: Clusters::Any };
    let known: Vec<Version> = versions.iter().filter(|version| version.subject == subject).cloned().collect();
    versions.extend(retirement(subject, "2026-09-15T00:00:00Z").apply(&known).versions);
    assert_eq!(versions.len(), 7);
    versions
}

fn retirement(subject: Subject, at: &str) -> Retirement {
    let (updated_by, reason) = ("carol@example.com".to_owned(), "not needed".to_owned());
    Retirement { subject, effective_at: time(at), now: time(at), updated_by, reason }
}

#[test]
fn versions_come_back_as_they_were_appended() {
    on_every_registry(async |store| {
        let appended = by_id(of_every_kind());
        let of = |name: &str| -> Vec<Version> {
            appended.iter().filter(|version| version.subject.deployment == name).cloned().collect()
        };
        assert_eq!(store.versions(None).await.expect("readable"), []);
        // The second time changes nothing.
        for _ in 0..2 {
            store.append_versions(&appended).await.expect("appended");
            assert_eq!(by_id(store.versions(None).await.expect("readable")), appended);
        }
        let claims: Vec<Claim> = appended.iter().map(Claim::from).collect();
        assert_eq!(claims_by_id(store.claims(None).await.expect("readable")), claims);
        for (wanted, expected) in [
            (vec![deployment("orders-api")], of("orders-api")),
            (vec![deployment("search-api"), deployment("invoices-api")], of("invoices-api")),
            (vec![deployment("orders-api"), deployment("invoices-api")], appended.clone()),
            (vec![deployment("search-api")], Vec::new()),
        ] {
            let found = store.versions(Some(&wanted)).await.expect("readable");
            assert_eq!(by_id(found), expected, "{wanted:?}");
            let claims: Vec<Claim> = expected.iter().map(Claim::from).collect();
            assert_eq!(claims_by_id(store.claims(Some(&wanted)).await.expect("readable")), claims, "{wanted:?}");
        }
        // What was read once is read again where it is another.
        let more = registrations(&ped("payments", "search-api", None, 2), None, NOW, "ci");
        pedwatch::store::register(&*store, more).await.expect("registered");
        assert_eq!(claims_by_id(store.claims(None).await.expect("readable")).len(), appended.len() + 1);
        // Views find the same.
        let found = rows(&*store, "deployment_config", &["config_id"]).await;
        let found: BTreeSet<String> = found.iter().map(Json::to_string).collect();
        assert_eq!(found.len(), appended.len() + 1);
    });
}

/// Several at once on one Deployment, in its scopes: nothing is lost, and everybody sees one order.
#[test]
fn those_who_register_at_once_lose_nothing_and_stand_in_one_order() {
    on_every_registry(async |store| {
        let by = async |max: i64, cluster: Option<&str>| {
            let yaml = ped("payments", "orders-api", cluster, max);
            let registrations = registrations(&yaml, None, NOW, "ci");
            pedwatch::store::register(&*store, registrations).await.expect("registered").remove(0).version
        };
        let registered = join_all((2..10).map(|max| by(max, (max % 4 == 1).then_some("prod-1")))).await;
        let registered = by_id(registered.into_iter().map(|version| version.expect("another limit")).collect());
        let found = by_id(store.versions(None).await.expect("readable"));
        assert_eq!(found, registered);
        let maxima: BTreeSet<i64> = found.iter().filter_map(|version| version.terms.max_replicas).collect();
        assert_eq!(maxima, (2..10).collect());
        let claims = store.claims(None).await.expect("readable");
        let limit = |claims: Vec<Claim>| {
            let limits = Limits::new(claims);
            let subject = Subject { clusters: Clusters::Any, ..found[0].subject.clone() };
            limits.of_scope(&subject, time("2026-09-02T00:00:00Z")).map(|limit| limit.limit_id.clone())
        };
        assert_eq!(limit(claims.clone()), limit(claims.iter().rev().cloned().collect()));
        if store.is_serial() {
            // Each was decided upon by all those before it: what it says of them is what they come to.
            let mut in_order = found.clone();
            in_order.sort_by_key(|version| (version.subject.clone(), version.effective_at, version.registered_at));
            assert_eq!(history(found.clone()), in_order);
            let times: BTreeSet<_> =
                found.iter().map(|version| (&version.subject, version.effective_at, version.registered_at)).collect();
            assert_eq!(times.len(), found.len(), "no two at one instant");
        }
    });
}

/// More than one commit takes, and all of it once.
#[test]
fn the_same_peds_twice_add_nothing() {
    on_every_registry(async |store| {
        let texts = many(120, 3);
        let first = registrations(&texts, None, NOW, "ci");
        let added = pedwatch::store::register(&*store, first).await.expect("registered");
        assert_eq!(added.iter().filter(|addition| addition.version.is_some()).count(), 120);
        let again = registrations(&texts, None, "2026-09-02T08:00:00Z", "ci");
        let added = pedwatch::store::register(&*store, again).await.expect("registered");
        assert_eq!(added, vec![Addition::default(); 120]);
        assert_eq!(store.claims(None).await.expect("readable").len(), 120);
        // Of these, only what is another one.
        let mixed = many(119, 3) + &format!("---\n{}", ped("team-119", "api-119", None, 4));
        let mixed = registrations(&mixed, None, "2026-09-03T08:00:00Z", "ci");
        let added = pedwatch::store::register(&*store, mixed).await.expect("registered");
        let new: Vec<usize> = (0..120).filter(|&number| added[number].version.is_some()).collect();
        assert_eq!(new, [119]);
    });
}

#[test]
fn a_retirement_ends_what_is_in_force_in_its_scope() {
    on_every_registry(async |store| {
        let store = &*store;
        let subject = |clusters: Clusters| Subject {
            namespace: "payments".to_owned(),
            deployment: "orders-api".to_owned(),
            clusters,
        };
        let at = "2026-09-10T00:00:00Z";
        let nothing = retire(store, &retirement(subject(Clusters::Any), at)).await;
        assert_eq!(nothing, Err(RetireError::NotRegistered { elsewhere: BTreeSet::new() }));
        assert!(limit(store, 3, None, NOW).await);
        let prod = Clusters::Named("prod-1".to_owned());
        let elsewhere = retire(store, &retirement(subject(prod), at)).await;
        assert_eq!(elsewhere, Err(RetireError::NotRegistered { elsewhere: BTreeSet::from([Clusters::Any]) }));
        let retired = retire(store, &retirement(subject(Clusters::Any), at)).await.expect("retired");
        assert_eq!(retired.versions.len(), 1);
        let expected = [("09-01", 3), ("09-10", -1)].map(|(from, max)| (from.to_owned(), max));
        assert_eq!(versions(store).await, expected);
        let again = retire(store, &retirement(subject(Clusters::Any), "2026-09-11T00:00:00Z")).await;
        assert_eq!(again.expect("nothing to do").versions, []);
        assert!(limit(store, 3, None, "2026-09-12T00:00:00Z").await, "it may come again");
    });
}
