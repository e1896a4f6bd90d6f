#!/usr/bin/env bash
# Feeds each target inputs that libFuzzer makes out of the fixtures, for so many seconds each: fuzz/run.sh [SECONDS [TARGET…]].
# An input that breaks something is left in fuzz/found, and fails the run. Needs Rust and a C++ compiler; not part of CI.
set -euo pipefail
cd "$(dirname "$0")/.."
seconds=${1:-60}
[ "$#" -gt 0 ] && shift
targets=("$@")
[ "${#targets[@]}" -gt 0 ] || targets=(entry push ped config)

# The flags of `cargo fuzz` without a sanitizer, which stable Rust takes: there is no unsafe code to look into.
host=$(rustc -vV | sed -n 's/^host: //p')
coverage="-Cpasses=sancov-module -Cllvm-args=-sanitizer-coverage-level=4 -Cllvm-args=-sanitizer-coverage-inline-8bit-counters \
  -Cllvm-args=-sanitizer-coverage-pc-table -Cllvm-args=-sanitizer-coverage-trace-compares -Ccodegen-units=1 --cfg fuzzing"
# A target: what builds on the way is not to be fuzzed.
RUSTFLAGS=$coverage cargo build --release --manifest-path fuzz/Cargo.toml --target "$host"

# One document a file.
seeds() {
  local folder=$1
  mkdir -p "$folder"
  case $2 in
    entry | push)
      cat fixtures/cases/*.ndjson | split -l 1 -a 5 - "$folder/line-"
      cp fixtures/audit/*.json "$folder/"
      find fixtures/forms -type f -exec cp --backup=numbered {} "$folder/" ';'
      ;;
    ped) find fixtures/ped fixtures/ped_clusters fixtures/ped_invalid fixtures/demo/ped -name '*.y*ml' -exec cp --backup=numbered {} "$folder/" ';' ;;
    config) find src/config fixtures deploy -name '*.toml' -exec cp --backup=numbered {} "$folder/" ';' ;;
  esac
}

mkdir -p fuzz/found
for target in "${targets[@]}"; do
  corpus=fuzz/target/corpus/$target
  [ -d "$corpus" ] || seeds "$corpus" "$target"
  echo "== $target"
  "fuzz/target/$host/release/$target" -max_total_time="$seconds" -rss_limit_mb=2048 -timeout=10 -max_len=65536 \
    -artifact_prefix="fuzz/found/$target-" -print_final_stats=1 "$corpus" 2>&1 | tail -n 12
done
