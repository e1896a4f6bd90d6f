//! Each row of the two tables: with what each rule's incidents end, and what is told of what happens.

use super::*;

const NOTHING: [&str; 0] = [];

/// A course on which over_limit was opened at minute 1, with 8 of 5.
fn opened() -> Course {
    let mut course = Course::new();
    assert_eq!(course.own(asks(1, 8)), ["opened over_limit 8/5 began"]);
    course
}

#[test]
fn over_the_limit_ends_when_no_contributor_is_over() {
    let mut course = opened();
    // An HPA that aims at the Deployment asks for more too.
    let mut hpa = Hpa::default();
    let mut turn = |course: &mut Course, at, says, target: &str| {
        let mut by = sighting(at, says);
        by.state.target = Some(target.to_owned());
        course.now = minute(at);
        let turn = hpa.see(&by);
        let standing =
            turn.to.filter(|(name, _)| name == "orders-api").and_then(|(_, standing)| standing).map(Box::new);
        course.told(&Input::Hpa { name: "scaler".to_owned(), standing, by })
    };
    assert_eq!(turn(&mut course, 2, Says::Number(7), "orders-api"), NOTHING);
    assert_eq!(course.own(asks(3, 2)), NOTHING);
    assert_eq!(course.at(60), NOTHING, "the HPA is still over");
    assert_eq!(turn(&mut course, 61, Says::Number(7), "another"), NOTHING);
    assert_eq!(course.at(72), ["recovered over_limit 7/5 over"]);
    // It turns back, and is removed.
    assert_eq!(turn(&mut course, 73, Says::Number(9), "orders-api"), ["opened over_limit 9/5 began"]);
    assert_eq!(turn(&mut course, 80, Says::Gone, "orders-api"), NOTHING);
    assert_eq!(course.at(90), ["recovered over_limit 9/5 over"]);
}

#[test]
fn over_the_limit_ends_with_a_version_that_allows_it_and_with_the_object() {
    let mut course = opened();
    assert_eq!(course.limit(Some(8), 5), NOTHING);
    assert_eq!(course.at(15), ["recovered over_limit 8/5 over"]);

    let mut course = opened();
    assert_eq!(course.own(sighting(5, Says::Gone)), NOTHING);
    assert_eq!(course.at(15), ["recovered over_limit 8/5 over"]);

    // Its namespace's end is its own, unless an answer shows it more than a minute later.
    let mut course = opened();
    course.ended.deployments = Some(minute(5));
    course.now = minute(6);
    assert_eq!(course.told(&Input::Timer), NOTHING);
    assert_eq!(course.own(asks(8, 8)), NOTHING, "it was refuted within the time in which it would have been told");
    assert_eq!(course.at(60), NOTHING);
    course.ended.deployments = Some(minute(59));
    assert_eq!(course.at(70), ["recovered over_limit 8/5 over"]);
}

#[test]
fn over_the_limit_ends_with_a_snapshot_that_agrees() {
    let mut course = opened();
    // A row of a listing: a version, a number, and nobody who wrote it.
    let mut row = asks(5, 3);
    row.state.touched = false;
    row.state.actor = String::new();
    assert_eq!(course.own(row), NOTHING);
    assert_eq!(course.at(15), ["recovered over_limit 8/5 over"]);
}

#[test]
fn outside_the_platforms_range_ends_inside_it_and_is_not_told_beside_over_limit() {
    let mut course = Course::new();
    course.limit(Some(20), 0);
    assert_eq!(course.own(asks(1, 9)), ["opened outside_platform_range 9/8 began"]);
    assert_eq!(course.own(asks(2, 12)), ["worsened outside_platform_range 12/8 further_over"]);
    assert_eq!(
        course.own(asks(3, 21)),
        ["opened over_limit 21/20 began", "worsened outside_platform_range 21/8 further_over"]
    );
    assert_eq!(course.own(asks(4, 1)), NOTHING, "1 is below the range, and no further outside");
    assert_eq!(course.at(14), ["recovered over_limit 21/20 over"]);
    assert_eq!(course.own(asks(15, 2)), NOTHING);
    assert_eq!(course.at(25), ["recovered outside_platform_range 1/2 over"]);
    assert_eq!(course.own(asks(26, 30)), ["opened over_limit 30/20 began"]);
}

#[test]
fn an_unknown_value_ends_with_the_next_number() {
    let mut course = Course::new();
    assert_eq!(course.own(sighting(1, Says::Unknown)), ["opened unknown_value ? began"]);
    assert_eq!(course.own(asks(5, 3)), NOTHING);
    assert_eq!(course.at(15), ["recovered unknown_value ? over"]);
    // While over_limit is open, it stays open.
    let mut course = opened();
    assert_eq!(course.own(sighting(2, Says::Unknown)), ["opened unknown_value ? began"]);
    assert_eq!(course.at(60), NOTHING);
    assert_eq!(course.own(asks(61, 3)), NOTHING);
    assert_eq!(course.at(71), ["recovered over_limit 8/5 over", "recovered unknown_value ? over"]);
}

#[test]
fn an_unknown_removal_ends_with_what_tells() {
    let mut course = Course::new();
    assert_eq!(course.own(asks(1, 3)), NOTHING);
    assert_eq!(course.own(sighting(2, Says::MayBeGone)), ["opened unknown_removal ? began"]);
    // A snapshot, or a write that has nothing to do with the number, shows the object.
    assert_eq!(course.own(sighting(5, Says::Nothing)), NOTHING);
    assert_eq!(course.at(15), ["recovered unknown_removal ? over"]);
}

#[test]
fn unregistered_ends_with_a_version_or_with_the_object() {
    for end in [true, false] {
        let mut course = Course::new();
        course.limit = None;
        assert_eq!(course.own(asks(1, 3)), ["opened unregistered 3 began"]);
        assert_eq!(course.own(asks(2, 6)), NOTHING, "more replicas are not more unregistered");
        if end {
            assert_eq!(course.own(sighting(5, Says::Gone)), NOTHING);
        } else {
            assert_eq!(course.limit(Some(6), 5), NOTHING);
        }
        assert_eq!(course.at(15), ["recovered unregistered 6 over"]);
        // Retired, it is unregistered by the same write again, and that is another incident.
        let again = course.limit(None, 20);
        assert_eq!(again.is_empty(), end, "{again:?}");
    }
}

#[test]
fn a_rule_without_an_end_is_told_once_in_a_while() {
    let by_hand = |at, replicas| {
        let mut by_hand = asks(at, replicas);
        by_hand.state.route = Route::Bypass;
        by_hand
    };
    let mut course = Course::new();
    course.limit.as_mut().expect("a limit").initial_max_replicas = 3;
    assert_eq!(course.own(by_hand(1, 3)), ["once bypass 3/5 written"]);
    let again = ["digest bypass 4/5 written", "once over_initial 4/3 written"];
    assert_eq!(course.own(by_hand(2, 4)), again, "a bypass again is a line of the next digest");
    assert_eq!(course.own(by_hand(1439, 2)), NOTHING);
    assert_eq!(course.own(by_hand(1441, 2)), ["once bypass 2/5 written"]);
    assert_eq!(course.own(by_hand(2900, 8)), ["opened over_limit 8/5 began"], "over the limit, that says it all");
}

#[test]
fn the_same_number_again_is_not_told() {
    let mut course = opened();
    assert_eq!(course.own(asks(2, 8)), NOTHING, "a redeploy");
    let mut dry_run = asks(2, 9);
    dry_run.state.place.generation = Some(9);
    let mut stored = asks(2, 8);
    stored.state.place.generation = Some(8);
    let mut course = opened();
    assert_eq!(course.own(stored), NOTHING);
    dry_run.state.place.time += Duration::seconds(20);
    assert_eq!(course.own(dry_run), NOTHING, "a dry run");
    for _ in 0..1000 {
        assert_eq!(course.late(asks(1, 8)), NOTHING, "another copy");
    }
}

#[test]
fn further_over_than_was_told_is_told() {
    let mut course = opened();
    assert_eq!(course.own(asks(2, 10)), ["worsened over_limit 10/5 further_over"]);
    assert_eq!(course.own(asks(3, 7)), NOTHING);
    assert_eq!(course.own(asks(4, 9)), NOTHING, "less than was told");
    assert_eq!(course.own(asks(5, 11)), ["worsened over_limit 11/5 further_over"]);
    assert_eq!(course.limit(Some(2), 6), ["worsened over_limit 11/2 further_over"]);
}

#[test]
fn more_severe_is_told() {
    let mut course = Course::new();
    let severe = course.policy.severity.clone();
    course.policy.severity = pedwatch::policy::Severities::from_fn(|_| Some(Severity::Warning));
    assert_eq!(course.own(asks(1, 8)), ["opened over_limit 8/5 began"]);
    course.policy.severity = severe;
    assert_eq!(course.at(2), ["worsened over_limit 8/5 more_severe"]);
    assert_eq!(course.at(3), NOTHING);
}

#[test]
fn a_breach_is_told_when_it_held_and_its_end_when_it_stayed() {
    let mut course = Course::new();
    course.settings.hold = Duration::minutes(2);
    assert_eq!(course.own(asks(1, 8)), NOTHING);
    assert_eq!(course.document.due_at(&course.settings, course.now), Some(minute(3)));
    // A short wave is a line in the digest.
    assert_eq!(course.own(asks(2, 3)), NOTHING);
    assert_eq!(course.document.due_at(&course.settings, course.now), Some(minute(12)));
    assert_eq!(course.at(12), ["digest over_limit 8/5 healed"]);
    assert_eq!(course.own(asks(20, 8)), NOTHING);
    assert_eq!(course.at(22), ["opened over_limit 8/5 began"]);
    assert_eq!(course.own(asks(30, 3)), NOTHING);
    assert_eq!(course.at(39), NOTHING);
    let recovered = {
        course.now = minute(40);
        course.steps(&Input::Timer)
    };
    assert_eq!(said(&recovered[0]), "recovered over_limit 8/5 over");
    let Step { began_at, ended_at, highest, .. } = recovered[0];
    assert_eq!((began_at, ended_at, highest), (minute(20), Some(minute(30)), Some(8)));
}

#[test]
fn again_within_the_time_the_incident_goes_on() {
    let mut course = opened();
    let incident = course.document.incidents()[0].incident_id.clone();
    assert_eq!(course.own(asks(5, 3)), NOTHING);
    assert_eq!(course.own(asks(14, 8)), NOTHING);
    assert_eq!(course.at(60), NOTHING);
    assert_eq!(course.document.incidents()[0].incident_id, incident);
    // Later, it is another one, even if nobody looked in between.
    assert_eq!(course.own(asks(70, 3)), NOTHING);
    assert_eq!(course.own(asks(80, 8)), ["recovered over_limit 8/5 over", "opened over_limit 8/5 began"]);
    assert_ne!(course.document.incidents()[0].incident_id, incident);
}

#[test]
fn what_is_old_when_it_arrives_is_history_unless_it_still_holds() {
    let mut course = Course::new();
    course.now = minute(3000);
    for (at, replicas) in [(1, 8), (2, 3), (3, 9), (4, 3), (5, 7)] {
        assert_eq!(course.late(asks(at, replicas)), NOTHING);
    }
    assert_eq!(course.told(&Input::Timer), NOTHING);
    assert_eq!(course.told(&Input::Sweep), ["opened over_limit 7/5 held_since"]);
    assert_eq!(course.document.incidents()[0].began_at, minute(5));
    assert_eq!(course.told(&Input::Sweep), NOTHING);
    // A fresh entry asks too.
    let mut course = Course::new();
    course.now = minute(3000);
    assert_eq!(course.late(asks(1, 8)), NOTHING);
    assert_eq!(course.own(asks(2999, 8)), ["opened over_limit 8/5 held_since"]);
}

#[test]
fn what_is_older_than_what_is_known_is_never_told() {
    let mut course = opened();
    assert_eq!(course.own(asks(0, 20)), NOTHING);
    assert_eq!(course.own(asks(9, 3)), NOTHING);
    assert_eq!(course.late(asks(8, 30)), NOTHING);
    let mut by_hand = asks(7, 4);
    by_hand.state.route = Route::Bypass;
    assert_eq!(course.late(by_hand), NOTHING);
    assert_eq!(course.at(19), ["recovered over_limit 8/5 over"]);
}

#[test]
fn under_a_silence_nothing_is_told_until_it_ends() {
    let mut course = Course::new();
    course.silence(&[AlertType::OverLimit]);
    assert_eq!(course.own(asks(1, 8)), ["opened over_limit 8/5 began (held back)"]);
    assert_eq!(course.own(asks(2, 8)), NOTHING, "counted once");
    assert_eq!(course.own(asks(3, 9)), NOTHING);
    course.silences.clear();
    course.now = minute(30);
    assert_eq!(course.told(&Input::Limits), ["opened over_limit 9/5 silence_ended"]);
    // An end after it was told is told when the silence ends.
    course.silence(&[AlertType::OverLimit]);
    assert_eq!(course.own(asks(40, 12)), ["worsened over_limit 12/5 further_over (held back)"]);
    assert_eq!(course.own(asks(50, 3)), NOTHING);
    assert_eq!(course.at(60), ["recovered over_limit 12/5 over (held back)"]);
    assert_eq!(course.at(70), NOTHING);
    course.silences.clear();
    assert_eq!(course.told(&Input::Limits), ["recovered over_limit 12/5 silence_ended"]);
    // What came and went under it is told to nobody.
    course.silence(&[AlertType::OverLimit]);
    assert_eq!(course.own(asks(80, 8)), ["opened over_limit 8/5 began (held back)"]);
    assert_eq!(course.own(asks(81, 3)), NOTHING);
    assert_eq!(course.at(91), NOTHING);
    course.silences.clear();
    assert_eq!(course.told(&Input::Limits), NOTHING);
    // A silence for another rule holds nothing back.
    course.silence(&[AlertType::Bypass]);
    assert_eq!(course.own(asks(100, 8)), ["opened over_limit 8/5 began"]);
}

#[test]
fn what_could_not_be_told_to_be_over_is_not_opened_twice() {
    let mut course = opened();
    course.silence(&[AlertType::OverLimit]);
    assert_eq!(course.own(asks(5, 3)), NOTHING);
    assert_eq!(course.at(15), ["recovered over_limit 8/5 over (held back)"]);
    assert_eq!(course.own(asks(30, 8)), NOTHING);
    course.silences.clear();
    assert_eq!(course.told(&Input::Limits), NOTHING, "it was told to be open, and is");
    assert_eq!(course.own(asks(40, 3)), NOTHING);
    assert_eq!(course.at(50), ["recovered over_limit 8/5 over"]);
}

#[test]
fn what_stays_open_is_repeated_until_somebody_takes_it_on() {
    let mut course = opened();
    assert_eq!(course.at(1440), NOTHING);
    assert_eq!(course.document.due_at(&course.settings, course.now), Some(minute(1441)));
    assert_eq!(course.at(1500), ["repeated over_limit 8/5 still_open"]);
    assert_eq!(course.at(1501), NOTHING);
    let id = course.document.incidents()[0].incident_id.clone();
    assert!(course.document.acknowledge(&id, "alice@example.com", minute(1600)));
    assert!(course.document.assign(&id, "bob@example.com"));
    assert!(!course.document.acknowledge("another", "alice@example.com", minute(1600)));
    assert_eq!(course.document.due_at(&course.settings, course.now), None);
    assert_eq!(course.at(9000), NOTHING);
    assert_eq!(course.own(asks(9001, 20)), ["worsened over_limit 20/5 further_over"]);
    course.settings.repeat_every = None;
    let mut never = opened();
    never.settings.repeat_every = None;
    assert_eq!(never.at(1_000_000), NOTHING);
}

#[test]
fn a_version_with_the_number_standing_is_as_a_write() {
    let mut course = Course::new();
    assert_eq!(course.own(asks(1, 5)), NOTHING);
    assert_eq!(course.limit(Some(4), 10), ["opened over_limit 5/4 began"]);
    let opened = course.document.incidents()[0].clone();
    assert_eq!(opened.began_at, minute(10), "since the limit is what it is");
    assert_eq!(course.limit(Some(3), 20), ["worsened over_limit 5/3 further_over"]);
    assert_eq!(course.limit(Some(5), 30), NOTHING);
    assert_eq!(course.at(40), ["recovered over_limit 5/3 over"]);
    // The version of before comes back, as after an exception: the same write is over again, in another incident.
    assert_eq!(course.limit(Some(4), 50), ["opened over_limit 5/4 began"]);
    assert_ne!(course.document.incidents()[0].incident_id, opened.incident_id);
}

#[test]
fn a_rule_that_is_off_tells_nothing() {
    let mut course = Course::new();
    course.policy.severity = pedwatch::policy::Severities::from_fn(|_| None);
    assert_eq!(course.own(asks(1, 8)), NOTHING);
    course.policy = config().policy;
    assert_eq!(course.at(2), ["opened over_limit 8/5 began"]);
}

#[test]
fn a_clock_that_is_ahead_delays_nothing() {
    let mut course = Course::new();
    assert_eq!(course.late(asks(30, 8)), ["opened over_limit 8/5 began"]);
    assert_eq!(course.document.incidents()[0].began_at, start());
}

/// What is stored between two steps is the document, as JSON.
#[test]
fn a_document_survives_being_stored() {
    let mut course = opened();
    course.silence(&[AlertType::Bypass]);
    let mut by_hand = asks(2, 4);
    by_hand.state.route = Route::Bypass;
    course.own(by_hand);
    let id = course.document.incidents()[0].incident_id.clone();
    course.document.acknowledge(&id, "alice@example.com", minute(3));
    let text = serde_json::to_string(&course.document).expect("JSON");
    assert_eq!(serde_json::from_str::<Document>(&text).expect("a document"), course.document);
}

/// The types of the decoder, as an incident looks at them.
#[test]
fn a_sighting_is_what_an_entry_says_by_itself() {
    let sample = || Sample::patch("a", "2026-09-04T00:01:00Z", 8).version(7, 2);
    let found = |sample: Sample| decoded(&sample).map(|sighting| (sighting.state.says, sighting.shows));
    assert_eq!(found(sample()), Some((Says::Number(8), true)));
    assert_eq!(found(sample().scale()), Some((Says::Number(8), true)));
    assert_eq!(found(sample().delete()), Some((Says::Gone, false)));
    // The call timed out, and may have been stored.
    let uncertain = |sample: Sample| {
        sample.set("/protoPayload/status/code", 4).set("/protoPayload/response", serde_json::json!({}))
    };
    assert_eq!(found(uncertain(sample())), None);
    assert_eq!(found(uncertain(sample().delete())), Some((Says::MayBeGone, false)));
}
