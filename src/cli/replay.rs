//! `pedwatch replay`: reads log files into a store, and tells what happened.

use std::collections::BTreeSet;
use std::io::IsTerminal;
use std::path::PathBuf;
use std::process::ExitCode;
use std::str::FromStr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Result, anyhow, bail};
use chrono::{DateTime, Utc};
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use super::cost::Costing;
use super::ledger::{no_ledger, open_noting};
use super::peds::{PedPath, peds_to_register, stdin_once};
use super::snapshot::SnapshotFile;
use super::table::Screen;
use super::{Access, Format, Usage, hint, open_store, report};
use crate::audit::Ignored;
use crate::config::{Config, STORE_URL, StoreUrl};
use crate::id;
use crate::job::compare::{Compared, Rules, compare};
use crate::job::cost::Changed;
use crate::job::snapshot::Judging;
use crate::names::{Named, UnknownName};
use crate::ped::limits::Limits;
use crate::ped::version::{Addition, Version};
use crate::pipeline::again::judge_again;
use crate::pipeline::incidents::Telling;
use crate::pipeline::register::register;
use crate::pipeline::replay::{Recorder, Replayed, Take, replay};
use crate::pipeline::{Pipeline, Tally};
use crate::policy::{AlertType, Severity};
use crate::source::files;
use crate::store::Store;
use crate::store::query::{self, Counts, Recorded};
use crate::store::reach::Reach;
use crate::store::row::Snapshot;
use crate::store::sqlite::Sqlite;

/// How long a replay may take before a progress bar shows.
const PROGRESS_AFTER: Duration = Duration::from_secs(1);

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(flatten)]
    recording: Recording,
    /// Log files (an entry, an array, NDJSON and more; also .gz and .zst), folders of them, or - for standard input
    #[arg(required = true, value_name = "INPUT")]
    inputs: Vec<PathBuf>,
}

/// How entries are recorded and reported, wherever they are read.
#[derive(Debug, clap::Args)]
pub(super) struct Recording {
    /// PED files or folders to register first, from TIME on (such as 2026-09-11), or else from the beginning
    #[arg(long, value_name = "[TIME=]PATH")]
    ped: Vec<PedPath>,
    /// What `kubectl get deployments,hpa -A -o json` printed at TIME of a cluster (the NAME of [clusters.NAME], or
    /// projects/PROJECT/locations/LOCATION/clusters/NAME): recorded, and held against the log
    #[arg(long, value_name = "CLUSTER@TIME=FILE")]
    snapshot: Vec<SnapshotFile>,
    /// Where facts are kept; without it, and without store.url, in a temporary file until the report is printed
    #[arg(long, value_name = STORE_URL)]
    store: Option<StoreUrl>,
    /// How to print the report
    #[arg(long, value_enum, default_value = "table")]
    format: Format,
    /// Exit with 3 when an alert at least this severe (info, warning, critical) stands in the time of the entries, or when
    /// something is quarantined; both, with a comma
    #[arg(long, value_name = "SEVERITY|quarantined", value_delimiter = ',')]
    fail_on: Vec<FailOn>,
    /// Tell whom it concerns of what is open by the newest entries; without it, nobody is told. serve, pull or notify sends it
    #[arg(long)]
    notify: bool,
    /// Show changes of what is out of scope too ([scope] in the configuration)
    #[arg(long)]
    out_of_scope: bool,
}

/// What entries are recorded into.
pub(super) struct Run {
    pub(super) store: Arc<dyn Store>,
    pipeline: Arc<Pipeline>,
    telling: Option<Arc<Telling>>,
    now: DateTime<Utc>,
    begun: Instant,
    /// What it registered first, and for which namespaces.
    versions: Vec<Version>,
    registered: BTreeSet<String>,
    /// What it recorded of clusters, to be held against the log, in order of time.
    snapshots: Vec<Snapshot>,
    /// Whether any PED is registered.
    has_limits: bool,
}

/// What `--fail-on` names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum FailOn {
    /// An alert that is at least so severe.
    Alert(Severity),
    /// Something that could not be read or stored.
    Quarantined,
}

impl FromStr for FailOn {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "quarantined" => Ok(FailOn::Quarantined),
            _ => text.parse().map(FailOn::Alert).map_err(|unknown: UnknownName| format!("{unknown}, quarantined")),
        }
    }
}

pub(super) async fn run(args: Args, config: &Config, screen: Screen) -> Result<ExitCode> {
    stdin_once(args.recording.paths().chain(&args.inputs))?;
    let files = files::expand(&args.inputs)?;
    if files.is_empty() {
        bail!("there is no .json, .ndjson, .jsonl or .log file (or .gz or .zst of one) in these folders");
    }
    let run = args.recording.begin(config).await?;
    let size_bytes = files::size_bytes(&files);
    let progress = Progress::new(size_bytes, if size_bytes == 0 { BYTES_OF_MANY } else { BYTES });
    let read = move |take: Take<'_>| files::read_side_by_side(&files, take);
    let replayed = replay(read, run.recorder(), |bytes| progress.advance(bytes)).await?;
    progress.finish();
    args.recording.finish(&run, replayed, false, config, screen).await
}

impl Recording {
    /// What it reads beside the entries.
    fn paths(&self) -> impl Iterator<Item = &PathBuf> {
        self.ped.iter().map(|ped| &ped.path).chain(self.snapshot.iter().map(|snapshot| &snapshot.path))
    }

    /// Opens the store, and registers what is to be registered first.
    pub(super) async fn begin(&self, config: &Config) -> Result<Run> {
        let (begun, now) = (Instant::now(), Utc::now());
        let mut registrations = peds_to_register(&self.ped, config, now)?;
        // Before anything is stored: what cannot be told is to be known first.
        let telling = self.telling(config).await?;
        let clusters = self.snapshot.iter().map(|file| file.read(config)).collect::<Result<Vec<_>>>()?;
        let store: Arc<dyn Store> = match open_store(self.store.clone(), config, Access::OrNew).await? {
            Some(store) => store,
            None => {
                report::note("no --store: facts are kept in memory (and a temporary file), and gone after this report");
                Arc::new(Sqlite::temporary()?)
            }
        };
        // "From the beginning" is as early as the store takes a row.
        for registration in registrations.iter_mut().filter(|one| one.effective_at == DateTime::UNIX_EPOCH) {
            registration.effective_at = store.takes_from(now);
        }
        let registered = register(&*store, &config.policy, registrations, now).await?;
        let claims = store.claims(None).await?;
        let has_limits = !claims.is_empty();
        let limits = Limits::new(claims);
        let mut snapshots = Vec::new();
        for cluster in clusters {
            let judging = Judging { limits: &limits, scope: &config.policy.scope };
            snapshots.push(cluster.record(&*store, judging).await?);
        }
        snapshots.sort_by_key(|snapshot| snapshot.started_at);
        let pipeline = Pipeline::new(config.policy.clone(), limits);
        let pipeline = Arc::new(if telling.is_some() { pipeline.followed() } else { pipeline });
        let versions: Vec<Version> = registered.additions.iter().flat_map(Addition::versions).cloned().collect();
        let registered = versions.iter().map(|version| version.subject.namespace.clone()).collect();
        Ok(Run { store, pipeline, telling, now, begun, versions, registered, snapshots, has_limits })
    }

    /// Whom to tell, where somebody is to be told.
    async fn telling(&self, config: &Config) -> Result<Option<Arc<Telling>>> {
        if !self.notify {
            return Ok(None);
        }
        if self.store.is_none() && config.store.is_none() {
            return Err(Usage("--notify tells of what is kept; expected --store, or store.url".to_owned()).into());
        }
        open_noting(config).await?.ok_or_else(no_ledger).map(Some)
    }

    /// Reports what was recorded, and tells what to exit with. A span of time may hold nothing; a file is expected to.
    pub(super) async fn finish(
        &self,
        run: &Run,
        replayed: Replayed,
        is_span: bool,
        config: &Config,
        screen: Screen,
    ) -> Result<ExitCode> {
        let Replayed { mut tally, unread } = replayed;
        run.compare(config, &mut tally).await?;
        let reach = run.reach(&tally).await?;
        let counts = query::counts(&*run.store, run.now, &reach).await?;
        let printed = print(self, run, &tally, &counts, &reach, config, screen).await;
        let gate =
            Gate { fail_on: &self.fail_on, store: self.store.as_ref(), config, has_limits: run.has_limits, is_span };
        // What could be read may be alarming, whatever could not be, and wherever nothing can be printed.
        let alarms = gate.alarms(&*run.store, &tally, &counts, &reach).await?;
        let missing = unread.is_none().then(|| gate.missing(&tally)).flatten();
        let failed: Vec<anyhow::Error> = printed.err().into_iter().chain(unread).chain(missing).collect();
        failed.iter().for_each(|error| report::note(&format!("{error:#}")));
        alarms.iter().for_each(|alarm| report::note(&format!("exit code 3: {alarm}")));
        Ok(match failed.as_slice() {
            _ if !alarms.is_empty() => ExitCode::from(3),
            [] => ExitCode::SUCCESS,
            _ => ExitCode::FAILURE,
        })
    }
}

impl Run {
    /// How entries are recorded.
    pub(super) fn recorder(&self) -> Recorder<'_> {
        let Run { store, pipeline, telling, now, registered, .. } = self;
        Recorder { pipeline, store: &**store, telling: telling.as_deref(), now: *now, registered }
    }

    /// Holds what it recorded of clusters against the log. What that raises and teaches is about the run too.
    async fn compare(&self, config: &Config, tally: &mut Tally) -> Result<()> {
        let rules = Rules { policy: &config.policy, thresholds: config.thresholds };
        for Compared { alerts, taught, .. } in
            compare(&*self.store, rules, self.snapshots.clone(), None, self.now).await?
        {
            // All would be judged, where none is named.
            if !taught.namespaces.is_empty() {
                judge_again(&*self.store, &config.policy, &taught.namespaces, taught.since(), self.now).await?;
            }
            tally.merge(taught);
            for alert in alerts {
                let at = alert.alert_time;
                tally.span = Some(tally.span.map_or((at, at), |(from, to)| (from.min(at), to.max(at))));
                tally.namespaces.insert(alert.namespace);
            }
        }
        Ok(())
    }

    /// What is asked about the run: what it recorded, and what its versions and entries touch.
    async fn reach(&self, tally: &Tally) -> Result<Reach> {
        let namespaces = &tally.namespaces | &self.registered;
        let effects = self.versions.iter().map(|version| version.effective_at);
        let since = effects.chain(tally.since()).min().unwrap_or(self.now);
        Ok(query::reach(&*self.store, &namespaces, Some(since)).await?)
    }
}

async fn print(
    args: &Recording,
    run: &Run,
    tally: &Tally,
    counts: &Counts,
    reach: &Reach,
    config: &Config,
    screen: Screen,
) -> Result<()> {
    let store = &*run.store;
    let recorded = Recorded { run: run.now, out_of_scope: args.out_of_scope, reach };
    let elapsed_seconds = || run.begun.elapsed().as_secs_f64();
    match args.format {
        Format::Json => report::json_text(&format_args!("{}\n", report::summary(tally, counts, elapsed_seconds()))),
        Format::Ndjson => report::ndjson(store, recorded).await,
        Format::Table => {
            let report = query::report(store, recorded, report::ROWS_MAX).await?;
            let changed = report.changes.iter().filter_map(Changed::by_change);
            let changed = changed.chain(report.alerts.iter().filter_map(Changed::by_alert)).collect();
            let costing = Costing::of(store, &config.prices, changed).await?;
            // Without a store what was recorded before is gone.
            let stored = args.store.as_ref().or(config.store.as_ref());
            let earlier = stored.map(|_| hint::command("alerts", args.store.as_ref(), config));
            report::story(&report, tally, counts, &costing, earlier.as_deref(), elapsed_seconds(), screen)
        }
    }
}

/// What a run has to come to: a pipeline goes by its exit code.
struct Gate<'a> {
    fail_on: &'a [FailOn],
    /// The store, where the command line names it.
    store: Option<&'a StoreUrl>,
    config: &'a Config,
    /// Whether any PED is registered.
    has_limits: bool,
    /// Whether a span of time was asked for, in which there may be nothing.
    is_span: bool,
}

impl Gate<'_> {
    /// The least of the severities that are named.
    fn threshold(&self) -> Option<Severity> {
        let severity = |fail_on: &FailOn| if let FailOn::Alert(severity) = fail_on { Some(*severity) } else { None };
        self.fail_on.iter().filter_map(severity).min()
    }

    /// What of that which was named there is.
    async fn alarms(&self, store: &dyn Store, tally: &Tally, counts: &Counts, reach: &Reach) -> Result<Vec<String>> {
        let mut alarms = Vec::new();
        if self.fail_on.contains(&FailOn::Quarantined) && tally.quarantined > 0 {
            alarms.push(format!(
                "{} of the input {} in quarantine, from this run or before{} (--fail-on quarantined)",
                tally.quarantined,
                if tally.quarantined == 1 { "is" } else { "are" },
                self.shown_by("quarantine list")
            ));
        }
        let (Some(threshold), Some((from, to))) = (self.threshold(), tally.span) else { return Ok(alarms) };
        let Some(worst) = query::worst(store, (from, to), reach).await?.filter(|&worst| worst >= threshold) else {
            return Ok(alarms);
        };
        let severity = |name: &String| self.config.policy.severity.get(AlertType::from_name(name)?);
        let whose = match counts.alerts.keys().filter_map(severity).max() {
            Some(new) if new >= threshold => String::new(),
            _ => {
                let (since, until) = (id::time(from), id::time(to + Duration::from_micros(1)));
                let shown = self.shown_by(&format!("alerts --severity {worst} --since {since} --until {until}"));
                format!(", recorded by an earlier run{shown}")
            }
        };
        alarms.push(format!("{worst} alerts stand in the time of these entries (--fail-on {threshold}){whose}"));
        Ok(alarms)
    }

    /// Which command shows it, where it is kept.
    fn shown_by(&self, words: &str) -> String {
        match self.store.or(self.config.store.as_ref()) {
            Some(_) => format!("; {} shows them", hint::command(words, self.store, self.config)),
            None => String::new(),
        }
    }

    /// Why nothing that is alarming could have been found.
    fn missing(&self, tally: &Tally) -> Option<anyhow::Error> {
        if tally.entries == 0 {
            return (!self.is_span).then(|| anyhow!("there is nothing in the input; expected audit entries"));
        }
        if tally.ignored.get(&Ignored::OtherLog) == Some(&tally.entries) {
            return Some(anyhow!(
                "there is no audit entry in the input; expected some, such as `pedwatch filter` finds"
            ));
        }
        if tally.unreadable == tally.entries {
            return Some(anyhow!("nothing of the input could be read: all of it ({}) is in quarantine", tally.entries));
        }
        let threshold = self.threshold()?;
        let severity = &self.config.policy.severity;
        if !AlertType::ALL.iter().any(|rule| severity.get(*rule) >= Some(threshold)) {
            return Some(anyhow!(
                "no rule raises an alert that is {threshold}, which --fail-on waits for; see [rules]"
            ));
        }
        if !self.has_limits {
            return Some(anyhow!(
                "no PED is registered, so nothing can be over its limit, whatever --fail-on {threshold} waits for; expected \
                 --ped, or a store with PEDs"
            ));
        }
        // A quiet span is no mistake; a file whose writes are all of others most likely is.
        (!self.is_span && tally.span.is_some() && tally.limited == 0).then(|| {
            anyhow!(
                "no limit was in force for any of these entries, so nothing can be over it, whatever --fail-on {threshold} \
                 waits for; expected PEDs of these Deployments that took effect before (--ped, or ped register \
                 --effective-at)"
            )
        })
    }
}

/// What the bar shows where what is to do is counted in bytes.
const BYTES: &str = "{percent:>3}% {wide_bar} {binary_bytes_per_sec} {eta} left";

/// Nobody knows how long standard input is.
const BYTES_OF_MANY: &str = "{binary_bytes} {binary_bytes_per_sec}";

/// A bar on a terminal, for work that takes a while; nothing in a pipe.
pub(super) struct Progress {
    bar: ProgressBar,
    begun: Instant,
}

impl Progress {
    pub(super) fn new(total: u64, template: &str) -> Self {
        let bar = ProgressBar::with_draw_target(Some(total), ProgressDrawTarget::hidden());
        if let Ok(style) = ProgressStyle::with_template(template) {
            bar.set_style(style);
        }
        Progress { bar, begun: Instant::now() }
    }

    pub(super) fn advance(&self, by: u64) {
        self.bar.inc(by);
        if self.bar.is_hidden() && self.begun.elapsed() > PROGRESS_AFTER && std::io::stderr().is_terminal() {
            self.bar.set_draw_target(ProgressDrawTarget::stderr());
        }
    }

    pub(super) fn finish(&self) {
        self.bar.finish_and_clear();
    }
}
