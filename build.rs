//! Tells the binary which commit it is made from, for `--version` and the metrics.

use std::process::Command;

fn main() {
    println!("cargo::rerun-if-env-changed=BUILD_COMMIT");
    println!("cargo::rerun-if-changed=.git/HEAD");
    // An image is built from a copy without .git, and is told.
    let told = std::env::var("BUILD_COMMIT").ok().filter(|commit| !commit.is_empty());
    let commit = told.or_else(ask_git).unwrap_or_else(|| "unknown".to_owned());
    println!("cargo::rustc-env=BUILT_FROM_COMMIT={commit}");
}

fn ask_git() -> Option<String> {
    let output = Command::new("git").args(["rev-parse", "--short=12", "HEAD"]).output().ok()?;
    let commit = String::from_utf8(output.stdout).ok()?;
    output.status.success().then(|| commit.trim().to_owned())
}
