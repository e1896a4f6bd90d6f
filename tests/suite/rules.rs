//! The verdicts and alerts at their edges.

use pedwatch::audit::{Decoded, Entry, decode};
use pedwatch::ped::limits::Limit;
use pedwatch::pipeline::message::Envelope;
use pedwatch::policy::{AlertType, Judgement, Severity, Verdict, judge};
use serde_json::json;

use crate::support::{PEDS_FROM, Sample, config, time};

const PIPELINE: &str = "deployer@acme-prod.iam.gserviceaccount.com";
const AT: &str = "2026-09-04T20:41:03Z";

/// A version that was first applied for with 3.
fn limit(max_replicas: i64) -> Limit {
    Limit { limit_id: "l".to_owned(), from: time(PEDS_FROM), max_replicas, initial_max_replicas: 3 }
}

fn judged(sample: &Sample, limit: Option<&Limit>) -> Judgement {
    let bytes = sample.bytes();
    let entry = Entry::parse(&bytes).expect("JSON");
    match decode(&entry).expect("decoded") {
        Decoded::Writes(writes) => judge(&writes[0], limit, &config().policy),
        Decoded::Ignored(reason) | Decoded::Observed(reason, _) => panic!("ignored: {reason}"),
        Decoded::Canary(canary) => panic!("{canary:?}"),
    }
}

fn types(judgement: &Judgement) -> Vec<AlertType> {
    judgement.alerts.iter().map(|alert| alert.alert_type).collect()
}

#[test]
fn the_verdict_and_the_alerts_at_every_edge() {
    use AlertType::{Bypass, OutsidePlatformRange, OverInitial, OverLimit, Unregistered};
    for (replicas, max, actor, verdict, alerts) in [
        // At the limit is not over it.
        (3, Some(3), PIPELINE, Verdict::Within, &[][..]),
        (4, Some(3), PIPELINE, Verdict::OverLimit, &[OverLimit]),
        // Above what was first applied for, but within what is in force now.
        (6, Some(6), PIPELINE, Verdict::Within, &[OverInitial]),
        // Zero is outside the range of 2 to 8, but allowed; one is not.
        (0, Some(3), PIPELINE, Verdict::Within, &[]),
        (1, Some(3), PIPELINE, Verdict::OutsidePlatformRange, &[OutsidePlatformRange]),
        (2, Some(3), PIPELINE, Verdict::Within, &[]),
        // Over its own limit says more than outside the range.
        (9, Some(3), PIPELINE, Verdict::OverLimit, &[OverLimit]),
        // A limit above the range (registered when the range was wider) does not lift the platform's.
        (9, Some(10), PIPELINE, Verdict::OutsidePlatformRange, &[OutsidePlatformRange, OverInitial]),
        (3, None, PIPELINE, Verdict::Unregistered, &[Unregistered]),
        (9, None, PIPELINE, Verdict::Unregistered, &[OutsidePlatformRange, Unregistered]),
        // Past the pipeline: told by itself within the limit; above it, the breach says it all.
        (3, Some(3), "alice@example.com", Verdict::Within, &[Bypass]),
        (4, Some(3), "alice@example.com", Verdict::OverLimit, &[OverLimit]),
        // An autoscaler and a controller are no bypass, and no excuse either.
        (4, Some(3), "system:serviceaccount:kube-system:horizontal-pod-autoscaler", Verdict::OverLimit, &[OverLimit]),
        (3, Some(3), "system:addon-manager", Verdict::Within, &[]),
    ] {
        let judgement = judged(&Sample::patch("a", AT, replicas).actor(actor), max.map(limit).as_ref());
        assert_eq!(judgement.verdict, verdict, "{replicas} of {max:?} by {actor}");
        assert_eq!(types(&judgement), alerts, "{replicas} of {max:?} by {actor}");
    }
}

#[test]
fn a_patch_of_something_else_is_no_bypass_but_still_over_the_limit() {
    let image = json!({"@type": "k8s.io/Patch", "spec": {"template": {"spec": {"containers": []}}}});
    let within = Sample::patch("a", AT, 3).set("/protoPayload/request", image.clone());
    assert_eq!(types(&judged(&within, Some(&limit(3)))), []);
    let over = Sample::patch("a", AT, 7).set("/protoPayload/request", image);
    let judgement = judged(&over, Some(&limit(3)));
    assert_eq!(judgement.verdict, Verdict::OverLimit);
    assert!(judgement.alerts[0].message.contains("this write did not set them"), "{:?}", judgement.alerts);
}

#[test]
fn a_removal_raises_nothing() {
    let judgement = judged(&Sample::patch("a", AT, 3).delete(), Some(&limit(3)));
    assert_eq!((judgement.verdict, judgement.alerts), (Verdict::Removed, Vec::new()));
}

#[test]
fn a_rule_can_be_switched_off_and_has_the_severity_it_was_given() {
    let variables =
        [("PEDWATCH_RULES__OVER_INITIAL__ENABLED", "false"), ("PEDWATCH_RULES__OVER_LIMIT__SEVERITY", "info")];
    let env = variables.map(|(name, value)| (name.to_owned(), value.to_owned()));
    let policy = pedwatch::config::Config::load(None, env).expect("valid").policy;
    let bytes = Sample::patch("a", AT, 4).bytes();
    let entry = Entry::parse(&bytes).expect("JSON");
    let Ok(Decoded::Writes(writes)) = decode(&entry) else { panic!("a write") };
    let judgement = judge(&writes[0], Some(&limit(3)), &policy);
    let found: Vec<_> = judgement.alerts.iter().map(|alert| (alert.alert_type, alert.severity)).collect();
    assert_eq!(found, [(AlertType::OverLimit, Severity::Info)]);
}

#[test]
fn no_message_names_a_person() {
    for (_, bytes) in crate::support::fixtures("audit") {
        pedwatch::pipeline::open(&bytes, Envelope::default(), |_, decoded| {
            let Ok(Decoded::Writes(writes)) = decoded else { return };
            for write in writes {
                for alert in judge(&write, Some(&limit(3)), &config().policy).alerts {
                    assert!(!alert.message.contains('@'), "{}", alert.message);
                }
            }
        });
    }
}
