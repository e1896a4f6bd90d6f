#!/usr/bin/env bash
# Everything that has to pass, from a clean checkout. Needs Rust, a C compiler, Python 3.13 or newer, Java and the Google
# Cloud SDK with its pubsub-emulator; the rest is installed first.
set -euo pipefail
cd "$(dirname "$0")/.."
step() { printf '\n== %s\n' "$*"; "$@"; }
step tests/servers/setup.sh
step cargo fmt --check
step cargo clippy --locked --all-targets -- -D warnings
RUSTDOCFLAGS="-D warnings" step cargo doc --locked --no-deps
step tests/servers/released.sh
# With what the tests of faults print: how many messages, how many kills, what was lost.
step cargo test --locked -- --show-output
