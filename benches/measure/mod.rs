//! What a bench came to: printed, and kept where that is wanted.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Child;
use std::time::{Duration, Instant};

use serde_json::json;

/// What one run of a bench measured.
#[derive(Default)]
pub(crate) struct Figures(BTreeMap<String, f64>);

impl Figures {
    /// Keeps a figure, and gives it back.
    pub(crate) fn keep(&mut self, name: impl Into<String>, value: f64) -> f64 {
        // Three digits are more than two runs agree on.
        let digits = 10_f64.powf(2.0 - value.abs().max(f64::MIN_POSITIVE).log10().floor());
        self.0.insert(name.into(), (value * digits).round() / digits);
        value
    }

    /// Writes them to `benches/figures`, where `BENCH_KEEP` says beside what else it ran.
    pub(crate) fn write(&self, bench: &str) {
        let Ok(beside) = std::env::var("BENCH_KEEP") else { return };
        let cores = std::thread::available_parallelism().expect("cores").get();
        let date = chrono::Utc::now().format("%F").to_string();
        let kept = json!({"beside": beside, "cores": cores, "date": date, "figures": self.0});
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("benches/figures");
        std::fs::create_dir_all(&folder).expect("a folder");
        std::fs::write(folder.join(format!("{bench}.json")), format!("{kept:#}\n")).expect("written");
    }
}

/// The middle of some values, and how far they go to both sides.
#[derive(Clone, Copy)]
#[allow(dead_code, reason = "each bench reads some of it")]
pub(crate) struct Spread {
    pub(crate) least: f64,
    pub(crate) median: f64,
    pub(crate) most: f64,
}

impl Spread {
    pub(crate) fn of(values: impl IntoIterator<Item = f64>) -> Self {
        let mut values: Vec<f64> = values.into_iter().collect();
        values.sort_by(f64::total_cmp);
        let at = |index: usize| values.get(index).copied().expect("some");
        Spread { least: at(0), median: at(values.len() / 2), most: at(values.len() - 1) }
    }
}

impl std::fmt::Display for Spread {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Spread { least, median, most } = self;
        write!(formatter, "{median:.2} ({least:.2} to {most:.2})")
    }
}

/// What a process has used, as Linux tells it: <https://man7.org/linux/man-pages/man5/proc_pid_stat.5.html>.
#[derive(Clone, Copy, Default)]
#[allow(dead_code, reason = "each bench reads some of it")]
pub(crate) struct Used {
    pub(crate) cpu: Duration,
    /// The most memory it had.
    pub(crate) peak_mb: f64,
    /// What it has now.
    pub(crate) now_mb: f64,
}

impl Used {
    /// Of a process that has not been waited for.
    pub(crate) fn by(process: u32) -> Self {
        let read = |name: &str| std::fs::read_to_string(PathBuf::from(format!("/proc/{process}/{name}"))).ok();
        let (Some(stat), Some(status)) = (read("stat"), read("status")) else { return Used::default() };
        // Behind the name in parentheses; a tick is a hundredth of a second.
        let behind = stat.rsplit_once(')').map_or("", |(_, behind)| behind);
        let ticks: u64 = behind.split_whitespace().skip(11).take(2).filter_map(|ticks| ticks.parse::<u64>().ok()).sum();
        let mb = |key: &str| {
            let line = status.lines().find_map(|line| line.strip_prefix(key)).unwrap_or_default();
            line.split_whitespace().next().and_then(|kb| kb.parse::<f64>().ok()).unwrap_or_default() / 1_000.0
        };
        Used { cpu: Duration::from_millis(10 * ticks), peak_mb: mb("VmHWM:"), now_mb: mb("VmRSS:") }
    }
}

/// Waits for a process, and tells how long that took from `begun` on, and what it had used shortly before its end.
#[allow(dead_code, reason = "only some benches wait for one")]
pub(crate) fn ended(mut child: Child, begun: Instant) -> (Duration, Used) {
    let mut used = Used::default();
    loop {
        let now = Used::by(child.id());
        used = if now.cpu >= used.cpu && now.peak_mb > 0.0 { now } else { used };
        match child.try_wait().expect("a child") {
            Some(status) => {
                assert!(status.success(), "{status}");
                return (begun.elapsed(), used);
            }
            None => std::thread::sleep(Duration::from_millis(5)),
        }
    }
}
