//! `pedwatch explain`: for each entry what was read where, which limit applied and which rules fired.

use std::fmt::Write as _;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Result, bail};
use chrono::{DateTime, Utc};

use super::peds::{PedPath, peds_to_register, stdin_once};
use super::table::Screen;
use super::{Access, open_store, report};
use crate::audit::{Asked, DecodeError, Decoded, Ignored, ObjectKind, ObjectState, Outcome, Write};
use crate::config::{Config, STORE_URL, StoreUrl};
use crate::id;
use crate::names::Named;
use crate::ped::limits::{Claim, Limits};
use crate::ped::version::{Addition, additions};
use crate::pipeline::message::Envelope;
use crate::pipeline::{Pipeline, open, plausible};
use crate::policy::{AlertType, Policy, is_judged_at_once};
use crate::shown::Shown;
use crate::source::files;

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// PED files or folders to judge by, from TIME on (such as 2026-09-11), or else from the beginning
    #[arg(long, value_name = "[TIME=]PATH")]
    ped: Vec<PedPath>,
    /// A store whose registered limits to judge by; no fact is written to it
    #[arg(long, value_name = STORE_URL)]
    store: Option<StoreUrl>,
    /// Only the entry with this insertId
    #[arg(long, value_name = "ID")]
    insert_id: Option<String>,
    /// Log files, folders of them, or - for standard input
    #[arg(required = true, value_name = "INPUT")]
    inputs: Vec<PathBuf>,
}

/// When the PEDs are taken to be registered that somebody only supposes: behind all that a store holds, so that they
/// correct it, and at the same time in every run, so that it tells the same.
const SUPPOSED: DateTime<Utc> = DateTime::from_timestamp(4_102_444_800, 0).expect("the year 2100");

pub(super) async fn run(args: Args, config: &Config, screen: Screen) -> Result<ExitCode> {
    stdin_once(args.ped.iter().map(|ped| &ped.path).chain(&args.inputs))?;
    let files = files::expand(&args.inputs)?;
    let supposed = additions(&peds_to_register(&args.ped, config, SUPPOSED)?, Vec::new());
    let mut claims: Vec<Claim> = supposed.iter().flat_map(Addition::versions).map(Claim::from).collect();
    if let Some(store) = open_store(args.store, config, Access::Existing).await? {
        claims.extend(store.claims(None).await?);
    }
    let pipeline = Pipeline::new(config.policy.clone(), Limits::new(claims));
    let (mut found, mut is_entry) = (false, false);
    let mut is_read = Ok(true);
    files::read(&files, |chunk| {
        for document in chunk.documents() {
            let place = format!("{}:{}", chunk.file, document.line);
            let mut explanations = Vec::new();
            match document.fault() {
                Some(error) if args.insert_id.is_none() => explanations.push(headed(&place, None, &unreadable(&error))),
                Some(_) => {}
                None => open(document.bytes, Envelope::default(), |envelope, decoded| {
                    if args.insert_id.as_deref().is_none_or(|wanted| envelope.insert_id == Some(wanted)) {
                        is_entry |= decoded.is_ok();
                        explanations.push(headed(&place, envelope.insert_id, &explain(&pipeline, decoded)));
                    }
                }),
            }
            for explanation in explanations {
                found = true;
                is_read = report::sentences(&explanation, screen);
                if !matches!(is_read, Ok(true)) {
                    return false;
                }
            }
        }
        true
    })?;
    is_read?;
    match (found, &args.insert_id) {
        (false, None) => bail!("there is nothing in the input; expected audit entries"),
        (false, Some(id)) => bail!("there is no entry with the insertId {id} in these files"),
        (true, _) if !is_entry => bail!("nothing of the input could be read"),
        (true, _) => Ok(ExitCode::SUCCESS),
    }
}

fn headed(place: &str, insert_id: Option<&str>, body: &str) -> String {
    let body: String = body.lines().map(|line| format!("  {line}\n")).collect();
    format!("{}  insertId {}\n{body}\n", Shown(place), Shown(insert_id.unwrap_or("(none)")))
}

fn unreadable(error: &DecodeError) -> String {
    format!("quarantined ({}): {}", error.reason(), Shown(error))
}

fn explain(pipeline: &Pipeline, decoded: Result<Decoded<'_>, DecodeError>) -> String {
    match decoded {
        Err(error) => unreadable(&error),
        Ok(Decoded::Ignored(reason) | Decoded::Observed(reason, _)) => {
            format!("not a change ({reason}): {}", reason.explain())
        }
        Ok(Decoded::Canary(_)) => format!("not a change ({}): {}", Ignored::Canary, Ignored::Canary.explain()),
        Ok(Decoded::Writes(writes)) => match writes.iter().try_for_each(|write| plausible(write, Utc::now())) {
            Err(error) => unreadable(&error),
            Ok(()) => writes.iter().map(|write| explain_write(pipeline, write)).collect::<Vec<_>>().join("\n"),
        },
    }
}

fn explain_write(pipeline: &Pipeline, write: &Write<'_>) -> String {
    let limits = pipeline.limits();
    let (limit, judgement) = pipeline.judge(write, &limits);
    let mut out = String::new();
    // Writing to a String cannot fail.
    let _ = writeln!(out, "what     {}", Shown(what(write)));
    let _ = writeln!(out, "when     {} (timestamp)", id::time(write.event_time));
    let _ = writeln!(out, "who      {}", Shown(who(pipeline.policy(), write)));
    let _ = writeln!(out, "number   {}", Shown(number(write)));
    let _ = match limit {
        Some(limit) => writeln!(
            out,
            "limit    {}, in force since {} (version {}; first applied for {})",
            limit.max_replicas,
            since(limit.from),
            Shown(&limit.limit_id),
            limit.initial_max_replicas
        ),
        None => writeln!(out, "limit    none was in force for this Deployment in this cluster at that time"),
    };
    let _ = writeln!(out, "verdict  {}", judgement.verdict);
    if !pipeline.policy().scope.holds(write) {
        let _ = writeln!(out, "scope    out of it: recorded, and nobody is told ([scope])");
    }
    for alert in &judgement.alerts {
        let message = Shown(&alert.message);
        let _ = writeln!(out, "alert    {} ({}): {message}", alert.alert_type.as_str(), alert.severity.as_str());
    }
    if !is_judged_at_once(write) {
        let _ = writeln!(out, "alerts   none at once: what it comes to shows in the order of its object's writes");
    } else if judgement.alerts.is_empty() {
        let _ = writeln!(out, "alerts   none: {}", why_none(pipeline.policy()));
    }
    out
}

fn what(write: &Write<'_>) -> String {
    let object = write.object_name.unwrap_or("(unnamed)");
    let about = match (write.object_kind, write.deployment_name) {
        (ObjectKind::HorizontalPodAutoscaler, Some(target)) => format!(", which scales the Deployment {target}"),
        (ObjectKind::HorizontalPodAutoscaler, None) => ", whose target no body names".to_owned(),
        _ => String::new(),
    };
    let Write { operation, object_kind, namespace, cluster_name, method_name, .. } = write;
    format!("{operation} of {object_kind} {namespace}/{object}{about}, in cluster {cluster_name} ({method_name})")
}

fn who(policy: &Policy, write: &Write<'_>) -> String {
    let actor = &write.actor;
    let behalf = actor.on_behalf_of.map_or_else(String::new, |name| format!(" on behalf of {name}"));
    let (route, why) = (policy.routes.route(actor), policy.routes.explain(actor));
    format!("{} ({}, from {}){behalf}; route {route}: {why}", actor.name, actor.kind, actor.field)
}

fn number(write: &Write<'_>) -> String {
    if write.ends() {
        return "none: the object is gone".to_owned();
    }
    let touched = if write.touched == Some(false) { "; the client did not write it" } else { "" };
    let version = write.object_version.map_or_else(String::new, |version| format!("; resourceVersion {version}"));
    let certain = match write.outcome {
        Outcome::Uncertain => "; the call timed out or broke, so it may have been stored or not",
        Outcome::Stored | Outcome::Observed => "",
    };
    let held = match write.object_state {
        Some(ObjectState::Terminating) => "; finalizers hold the object, which is being deleted",
        _ => "",
    };
    match write.asked {
        Asked::For(asked) => {
            format!("{}, from {} ({}){touched}{version}{certain}{held}", asked.replicas, asked.place, asked.source)
        }
        Asked::Unknown(why) => format!("unknown: {why}{certain}"),
        Asked::Nothing if write.removes_unknown() => "unknown: nothing tells what was removed, or whether".to_owned(),
        Asked::Nothing => format!("none{certain}{held}"),
    }
}

fn since(from: DateTime<Utc>) -> String {
    if from == DateTime::UNIX_EPOCH { "the beginning".to_owned() } else { id::time(from) }
}

fn why_none(policy: &Policy) -> String {
    let off = AlertType::ALL.iter().filter(|&&alert_type| policy.severity.get(alert_type).is_none());
    let off: Vec<&str> = off.map(|alert_type| alert_type.as_str()).collect();
    if off.is_empty() {
        "no rule fires".to_owned()
    } else {
        format!("no rule fires (switched off: {})", off.join(", "))
    }
}
