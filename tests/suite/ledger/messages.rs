//! What messages say, in each language and form, and what templates are refused.

use chrono_tz::Tz;
use pedwatch::incident::{Place, Says, Standing, State as Seen};
use pedwatch::names::Named;
use pedwatch::notify::message::{Besides, Message};
use pedwatch::notify::template::{Form, Language, Templates};
use pedwatch::policy::Route;

use super::*;

/// Somebody set 8 replicas, from 3.
pub(super) fn standing(actor: &str) -> Standing {
    let place =
        Place { version: None, generation: None, time: now(), insert_id: "a\"b".to_owned(), event_id: "e1".to_owned() };
    let set_by = Seen {
        place,
        says: Says::Number(8),
        target: None,
        counts: true,
        touched: true,
        creates: false,
        write_id: "w1".to_owned(),
        actor: actor.to_owned(),
        on_behalf_of: None,
        route: Route::Bypass,
    };
    Standing { set_by, since: now(), previous: Some(3) }
}

fn message(change: impl FnOnce(&mut Step)) -> Message {
    let mut step = Step { standing: Some(standing("alice@example.com")), ..step("i1", Kind::Opened, 1) };
    change(&mut step);
    let besides = Besides {
        owner: Some("team-payments".to_owned()),
        source: Some("peds/orders-api.yaml".to_owned()),
        cost: Some("85.50 USD".to_owned()),
    };
    Message::new(&step, &deployment("orders-api"), besides, now() + Duration::minutes(125))
}

fn rendered(language: Language, form: Form, message: &Message) -> String {
    Templates::new(language, Tz::Asia__Shanghai).expect("built in").render(form, message).expect("rendered")
}

const LOG: &str = "https://console.cloud.google.com/logs/query;query=insertId%3D%22a%5C%22b%22%0Atimestamp%3D%222026-09-04T20%3A41%3A00.000000Z%22;\
                   cursorTimestamp=2026-09-04T20:41:00.000000Z?project=acme-prod";

#[test]
fn a_message_says_what_a_person_acts_on() {
    let opened = message(|_| ());
    assert_eq!(
        rendered(Language::English, Form::Text, &opened),
        format!(
            "🔴 payments/orders-api asks for 8 replicas, over its limit of 5 (before: 3).\n\
             By alice@example.com at 2026-09-05 04:41 CST.\n\
             Cluster prod-1 in acme-prod, europe-west1; owner team-payments.\n\
             It adds 85.50 USD to this month.\n\
             Scale back to 5, or apply for more in peds/orders-api.yaml.\n{LOG}"
        )
    );
    assert_eq!(
        rendered(Language::Chinese, Form::Slack, &opened),
        format!(
            "🔴 *payments/orders-api* 申请 8 个副本，超过上限 5（之前：3）。\n\
             操作者：alice@example.com，时间：2026-09-05 04:41 CST。\n\
             集群：prod-1（acme-prod，europe-west1）；负责人：team-payments。\n\
             本月费用增加 85.50 USD。\n\
             请缩减到 5 个，或在 peds/orders-api.yaml 中申请更高的上限。\n<{LOG}|日志条目>"
        )
    );
    let recovered = message(|step| {
        step.kind = Kind::Recovered;
        step.ended_at = Some(now() + Duration::minutes(61));
    });
    let first = |text: String| text.lines().next().unwrap_or_default().to_owned();
    assert_eq!(
        first(rendered(Language::English, Form::Slack, &recovered)),
        "✅ *payments/orders-api*: over_limit is over, after 1 h 1 min; it had up to 8 replicas."
    );
    assert_eq!(
        first(rendered(Language::Chinese, Form::Text, &recovered)),
        "✅ payments/orders-api：over_limit 告警已恢复，持续 1 小时 1 分钟，最高 8 个副本。"
    );
    let held = message(|step| step.reason = Reason::HeldSince);
    assert!(rendered(Language::English, Form::Text, &held).contains("\nSince 2026-09-05 04:41 CST, 2 h 5 min.\n"));
}

/// No combination is without words, whatever is not known.
#[test]
fn every_step_of_every_rule_can_be_told() {
    for &language in Language::ALL {
        let templates = Templates::new(language, Tz::UTC).expect("built in");
        for (&form, &kind) in Form::ALL.iter().flat_map(|form| Kind::ALL.iter().map(move |kind| (form, kind))) {
            for (&rule, &reason) in
                AlertType::ALL.iter().flat_map(|rule| Reason::ALL.iter().map(move |reason| (rule, reason)))
            {
                let known = message(|step| (step.kind, step.rule, step.reason) = (kind, rule, reason));
                let bare = Step { kind, rule, reason, highest: None, standing: None, ..step("i1", kind, 1) };
                let bare = Message::new(&bare, &deployment("orders-api"), Besides::default(), now());
                for message in [known, bare] {
                    let text = templates.render(form, &message).expect("rendered");
                    assert!(text.contains("payments/orders-api") && !text.contains("none"), "{text}");
                    assert!(text.lines().all(|line| !line.trim().is_empty()), "{text:?}");
                }
            }
        }
    }
}

#[test]
fn a_template_may_be_replaced_and_what_is_misspelt_is_refused_with_its_line() {
    let mut templates = Templates::new(Language::English, Tz::UTC).expect("built in");
    templates.replace(Form::Text, "{{ deployment }}: {{ value }} of {{ limit }}").expect("valid");
    assert_eq!(templates.render(Form::Text, &message(|_| ())).expect("rendered"), "orders-api: 8 of 5");
    for (source, line, part) in [
        ("{{ deployment }}\n{{ deploymnt }}", 2, "\"deploymnt\" is not known; expected one of actor"),
        ("ok\n\n{% if value %}", 3, "syntax error"),
        ("{{ value | shout }}", 1, "unknown filter"),
    ] {
        let fault = templates
            .replace(Form::Text, source)
            .and_then(|()| templates.render(Form::Text, &message(|_| ())).map(drop));
        let fault = fault.expect_err(source);
        assert_eq!(fault.line, line, "{fault}");
        assert!(fault.message.contains(part), "{fault}");
    }
}
