//! Alerting rules and dashboard: tested by Prometheus' own tool, and about metrics that there are.

use std::collections::BTreeSet;
use std::process::Command;

use chrono::Utc;
use pedwatch::telemetry::metrics::Metrics;

use crate::cli::run;
use crate::support::root;

#[test]
fn the_alerting_rules_hold_what_they_promise() {
    for args in [["check", "rules", "rules.yaml"], ["test", "rules", "rules_test.yaml"]] {
        let output = Command::new("promtool").args(args).current_dir(root().join("terraform/prometheus")).output();
        let output = output.expect("promtool: the Debian package prometheus is needed");
        let said = [output.stdout, output.stderr].concat();
        assert!(output.status.success(), "{args:?}: {}", String::from_utf8_lossy(&said));
    }
}

/// As `promtool check metrics` reads it from standard input: it knows the older format alone.
#[test]
fn the_metrics_are_as_prometheus_wants_them() {
    let metrics = metrics();
    let text = metrics.text_0_0_4().expect("text");
    let output = run(Command::new("promtool").args(["check", "metrics"]), text.as_bytes());
    let said = [output.stdout, output.stderr].concat();
    assert!(output.status.success() && said.is_empty(), "{}\nof\n{text}", String::from_utf8_lossy(&said));
    let samples =
        |text: &str| -> Vec<String> { text.lines().filter(|line| !line.starts_with('#')).map(str::to_owned).collect() };
    let open_metrics = metrics.text().expect("text");
    assert_eq!(samples(&open_metrics), samples(&text), "the same samples, in both");
    assert!(open_metrics.ends_with("# EOF\n") && !text.contains("# EOF"));
    for line in
        ["# TYPE pedwatch_messages_total counter", "# TYPE pedwatch_build_info gauge", "# HELP pedwatch_messages_total"]
    {
        assert!(text.lines().any(|other| other.starts_with(line)), "{line} is not in {text}");
    }
}

/// All metrics, each with a value.
fn metrics() -> Metrics {
    let metrics = Metrics::default();
    let now = Utc::now();
    metrics.message("recorded", "");
    metrics.alert("over_limit", "critical");
    metrics.stage("append", std::time::Duration::from_millis(1));
    metrics.durable(now, now);
    metrics.recorded("projects/p/locations/l/clusters/c".to_owned(), now);
    metrics.canary("projects/p/locations/l/clusters/c".to_owned(), now, 1.5);
    metrics.batch_rows.observe(1.0);
    metrics.notice("hook", "sent");
    metrics.untold(Some(now), 1);
    metrics
}

#[test]
fn rules_and_dashboard_name_only_metrics_that_there_are() {
    let text = metrics().text().expect("text");
    let there: BTreeSet<&str> = text.lines().filter_map(|line| line.split(['{', ' ']).next()).collect();
    for file in ["rules.yaml", "grafana-dashboard.json"] {
        let text = std::fs::read_to_string(root().join("terraform/prometheus").join(file)).expect("readable");
        let words = text.split(|c: char| !c.is_ascii_alphanumeric() && c != '_');
        let named: BTreeSet<&str> = words.filter(|word| word.starts_with("pedwatch_")).collect();
        assert!(named.len() > 4, "{file} names {named:?}");
        for name in named {
            assert!(there.contains(name), "{file} names {name}, which is not in {text}");
        }
    }
}

#[test]
fn the_rules_for_watch_hold_what_they_promise() {
    for args in [["check", "rules", "watch.yaml"], ["test", "rules", "watch_test.yaml"]] {
        let output = Command::new("promtool").args(args).current_dir(root().join("deploy/prometheus")).output();
        let output = output.expect("promtool: the Debian package prometheus is needed");
        let said = [output.stdout, output.stderr].concat();
        assert!(output.status.success(), "{args:?}: {}", String::from_utf8_lossy(&said));
    }
}
