//! `pedwatch notify explain`: who hears of an alert, and why or why not.

use std::fmt::Write as _;
use std::process::ExitCode;

use anyhow::{Context, Result};
use chrono::Utc;

use super::ledger::require_noting;
use super::notify::notices_table;
use super::table::Screen;
use super::{Access, Usage, report, require_store};
use crate::config::{Config, StoreUrl};
use crate::incident::{Deployment, Document, Incident};
use crate::notify::channel::Channel;
use crate::notify::ledger::Wanted;
use crate::notify::matcher::About;
use crate::notify::open;
use crate::notify::route::Said;
use crate::ped::limits::Limits;
use crate::shown::Shown;
use crate::store::query;
use crate::store::row::AlertLog;

pub(super) async fn explain(id: &str, store: Option<StoreUrl>, config: &Config, screen: Screen) -> Result<ExitCode> {
    let telling = require_noting(config).await?;
    let store = require_store(store, config, Access::Existing).await?;
    let alert = query::raised(&*store, id).await?;
    let alert = alert.ok_or_else(|| Usage(format!("there is no alert {id}; see pedwatch alerts --all")))?;
    let deployment = deployment(&alert);
    let limits = Limits::new(store.claims(None).await?);
    let version = telling.at(Utc::now(), &config.policy, &*store, &limits).version(&deployment).await?;
    let owner = version.as_ref().map(|version| version.terms.owner.as_str());
    let about = About { rule: alert.alert_type, severity: alert.severity, deployment: &deployment, owner };
    let mut lines = format!("{}\n", Shown(&alert.message));
    let _ = writeln!(
        lines,
        "owner: {}",
        owner.map_or("none, no PED is in force".to_owned(), |owner| Shown(owner).to_string())
    );
    let contacts = version.as_ref().map(|version| version.terms.notify.clone()).unwrap_or_default();
    for (index, said) in telling.channels.routes().explain(&about).iter().enumerate() {
        let _ = writeln!(lines, "routes[{index}]: {}", told_by(said));
    }
    for name in telling.channels.routes().receivers(&about) {
        let reached = telling.channels.reached(name, &contacts);
        let _ = writeln!(lines, "{name}: {}", reaches(name, reached));
    }
    let documents = open::documents(&*telling.ledger).await.context("the ledger cannot be read")?;
    let document = documents.iter().find(|document| document.deployment == deployment);
    let incident = document.and_then(|document| of_rule(document, &alert));
    let _ = writeln!(lines, "incident: {}", state(incident, config));
    report::sentences(&lines, screen)?;
    if let Some(incident) = incident {
        let notices = telling.ledger.notices(Wanted::Incident(&incident.incident_id), u32::MAX >> 1).await?;
        report::table(&notices_table(&notices), screen)?;
    }
    Ok(ExitCode::SUCCESS)
}

fn deployment(alert: &AlertLog) -> Deployment {
    let text = |text: &Option<String>| text.clone().unwrap_or_default();
    Deployment {
        project: text(&alert.project_id),
        location: text(&alert.location),
        cluster: alert.cluster_name.clone(),
        namespace: alert.namespace.clone(),
        name: text(&alert.deployment_name),
    }
}

fn of_rule<'d>(document: &'d Document, alert: &AlertLog) -> Option<&'d Incident> {
    document.incidents().iter().find(|incident| incident.rule == alert.alert_type)
}

fn told_by(said: &Said<'_>) -> String {
    match said {
        Said::Misses(field) => format!("is for others, by {field}"),
        Said::Tells([]) => "tells nobody, and that is meant".to_owned(),
        Said::Tells(names) => format!("tells {}", names.join(", ")),
        Said::NotAsked => "is not asked: one before it has the last word".to_owned(),
    }
}

fn reaches(name: &str, reached: Option<(&Channel, Vec<String>)>) -> String {
    match reached {
        None => "tells nobody: the PED names no address, and no fallback stands in".to_owned(),
        Some((channel, _)) if channel.name != name => {
            format!("the PED names no address, so {} is told instead", channel.name)
        }
        Some((_, to)) if to.is_empty() => "tells whom the configuration names".to_owned(),
        Some((_, to)) => format!("tells the PED's {}", Shown(to.join(", "))),
    }
}

fn state(incident: Option<&Incident>, config: &Config) -> String {
    let Some(incident) = incident else {
        return format!(
            "none is open: it is over, it has no end and was told once, or what was known when it came was newer; what is \
             older than {} s when it comes is no news",
            config.notify.settings.max_age.num_seconds()
        );
    };
    let since = report::short(incident.began_at);
    let told = match &incident.told {
        Some(told) => format!("and a message about it was queued at {} UTC", report::short(told.at)),
        None if incident.is_held_back() => "held back by a silence".to_owned(),
        None => format!("not told yet: it is to hold for {} s", config.notify.settings.hold.num_seconds()),
    };
    format!("{} is open since {since} UTC, {told}", incident.incident_id)
}
