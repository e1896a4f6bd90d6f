//! Alerting rules and dashboard: tested by Prometheus' own tool, and about metrics that there are.

use std::collections::BTreeSet;
use std::process::Command;

use chrono::Utc;
use pedwatch::telemetry::metrics::Metrics;

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

#[test]
fn rules_and_dashboard_name_only_metrics_that_there_are() {
    let metrics = Metrics::default();
    let now = Utc::now();
    metrics.message("recorded", "");
    metrics.alert("over_limit", "critical");
    metrics.stage("append", std::time::Duration::from_millis(1));
    metrics.durable(now, now);
    metrics.batch_rows.observe(1.0);
    let text = metrics.text().expect("text");
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
