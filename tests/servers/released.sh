#!/usr/bin/env bash
# Builds the binary of each release in fixtures/released into target/released, where the tests find it: during a
# deployment it writes beside today's. Does nothing for those that are there.
set -euo pipefail
cd "$(dirname "$0")/../.."

for archive in fixtures/released/*/source.tar.gz; do
  home=target/released/$(basename "$(dirname "$archive")")
  hash=$(sha256sum "$archive" | cut -d ' ' -f 1)
  [ "$(cat "$home/.complete" 2>/dev/null)" = "$hash" ] && continue
  rm -rf "$home"
  mkdir -p "$home/source"
  tar -xzf "$archive" -C "$home/source"
  # git writes into an archive which commit it is of.
  BUILD_COMMIT=$(git get-tar-commit-id < <(gzip -dc "$archive") | cut -c 1-12)
  export BUILD_COMMIT
  # In today's target directory, and (by --examples, of which there are none) with the features that the tests' own
  # dependencies add: so what both have in common is compiled once.
  cargo build --locked --manifest-path "$home/source/Cargo.toml" --target-dir target --bin pedwatch --examples
  # Moved, so that nobody takes it for today's: the next build puts that one back.
  mv target/debug/pedwatch "$home/pedwatch"
  echo "$hash" >"$home/.complete"
done
