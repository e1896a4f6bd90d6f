#!/usr/bin/env bash
# Everything that has to pass, from a clean checkout. Needs Rust, a C compiler, Python 3.13 or newer, Java and the Google
# Cloud SDK with its pubsub-emulator and cloud-firestore-emulator, Terraform 1.9 or newer, and apt; the rest is installed first, among it a Kubernetes API
# server that is built once, in 4 to 10 minutes, into a cache.
set -euo pipefail
cd "$(dirname "$0")/.."
for tool in cargo cc java gcloud terraform; do
  command -v "$tool" >/dev/null || { echo "$tool is not there: see the first lines of tests/run.sh" >&2; exit 1; }
done
step() { printf '\n== %s\n' "$*"; "$@"; }
step tests/servers/setup.sh
step cargo fmt --check
step cargo clippy --locked --all-targets --all-features -- -D warnings
# What README's first command builds, which does without what speaks to others.
step cargo clippy --locked --no-default-features -- -D warnings
RUSTDOCFLAGS="-D warnings" step cargo doc --locked --no-deps --all-features
step tests/servers/released.sh
# With what the tests of faults print: how many messages, how many kills, what was lost.
step cargo test --locked --all-features -- --show-output
