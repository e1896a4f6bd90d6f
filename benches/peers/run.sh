#!/usr/bin/env bash
# What one would use instead, on the same file, in turn with pedwatch: benches/peers/run.sh FILE.ndjson [PEDWATCH]
# BENCH_INPUT=FOLDER cargo bench --bench replay leaves such files in a folder, with their PEDs. Installs DuckDB from PyPI into target/peers.
set -euo pipefail
home=$(cd "$(dirname "$0")/../.." && pwd)
input=$1 pedwatch=${2:-$home/target/release/pedwatch}
[ -x "$home/target/peers/bin/python" ] || python3 -m venv "$home/target/peers"
"$home/target/peers/bin/python" -m pip --quiet --disable-pip-version-check install 'duckdb>=1.4'
folder=$(mktemp -d)
# Who deploys in these entries.
export PEDWATCH_ACTORS__PIPELINE=deployer@acme-prod.iam.gserviceaccount.com
trap 'rm -rf "$folder"' EXIT
for pair in 1 2 3; do
  "$home/target/peers/bin/python" "$home/benches/peers/bare_rows.py" "$input"
  # GNU's own time would be one more thing to install.
  "$home/target/peers/bin/python" - "$pedwatch" "$folder/$pair.db" "$(dirname "$input")/peds.yaml" "$input" <<'PYTHON'
import json, resource, subprocess, sys, time
pedwatch, store, peds, file = sys.argv[1:]
begun = time.perf_counter()
subprocess.run([pedwatch, "replay", "--format", "json", "--store", f"sqlite:{store}", "--ped", peds, file],
               check=True, stdout=subprocess.DEVNULL)
seconds = time.perf_counter() - begun
used = resource.getrusage(resource.RUSAGE_CHILDREN)
print(json.dumps({"pedwatch": True, "seconds": round(seconds, 3),
                  "cpu_seconds": round(used.ru_utime + used.ru_stime, 3), "peak_mb": used.ru_maxrss // 1000}))
PYTHON
done
