//! Attacks: what comes from outside, in the forms and sizes that hurt most, against the real binary under a memory limit.
//! Each prints what it cost. `PEDWATCH_TEST_ATTACK` multiplies the sizes; CI runs them as they stand.

use std::io::{Read, Write};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crate::support::root;

mod files;
pub mod messages;
pub mod neighbours;
mod push;

/// How often a size is taken.
pub fn knob() -> usize {
    std::env::var("PEDWATCH_TEST_ATTACK").map_or(1, |times| times.parse().expect("a number"))
}

/// pedwatch, with so many MiB of memory for its data and not a byte more.
pub fn limited(mib: u64, args: &[&str]) -> Command {
    let mut command = Command::new("prlimit");
    command.arg(format!("--data={}", mib << 20)).arg("--").arg(env!("CARGO_BIN_EXE_pedwatch")).args(args);
    command.current_dir(root()).env_remove("PEDWATCH_CONFIG").env_remove("RUST_LOG").env_remove("PEDWATCH_TEST_ATTACK");
    command
}

/// What an attack came to.
pub struct Ended {
    pub status: ExitStatus,
    pub stdout: String,
    pub stderr: String,
    /// Most memory that was resident at once.
    pub peak_mib: u64,
    pub took: Duration,
}

/// Runs a command to its end, with something on its standard input, and prints what it cost.
pub fn run(name: &str, command: &mut Command, input: &[u8]) -> Ended {
    let begun = Instant::now();
    let mut child =
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("prlimit starts");
    let peak = watch(&child);
    let mut stdin = child.stdin.take().expect("piped");
    let input = input.to_vec();
    // A command that fails early does not read its input.
    let feed = std::thread::spawn(move || drop(stdin.write_all(&input)));
    let drain = |mut output: Box<dyn Read + Send>| {
        std::thread::spawn(move || {
            let mut bytes = Vec::new();
            output.read_to_end(&mut bytes).expect("readable");
            String::from_utf8_lossy(&bytes).into_owned()
        })
    };
    let stdout = drain(Box::new(child.stdout.take().expect("piped")));
    let stderr = drain(Box::new(child.stderr.take().expect("piped")));
    let status = child.wait().expect("it ends");
    feed.join().expect("fed");
    let ended = Ended {
        status,
        stdout: stdout.join().expect("drained"),
        stderr: stderr.join().expect("drained"),
        peak_mib: peak.join().expect("watched"),
        took: begun.elapsed(),
    };
    println!("{name}: {status}, peak {} MiB, {:.2} s", ended.peak_mib, ended.took.as_secs_f64());
    ended
}

/// The most memory that a process has resident until it ends, in MiB.
pub fn watch(child: &Child) -> JoinHandle<u64> {
    let status = format!("/proc/{}/status", child.id());
    std::thread::spawn(move || {
        let mut peak = 0;
        while let Some(kib) = std::fs::read_to_string(&status).ok().as_deref().and_then(peak_kib) {
            peak = kib.max(peak);
            std::thread::sleep(Duration::from_millis(5));
        }
        peak >> 10
    })
}

fn peak_kib(status: &str) -> Option<u64> {
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    line.split_whitespace().next()?.parse().ok()
}
