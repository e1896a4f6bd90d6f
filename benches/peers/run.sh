#!/usr/bin/env bash
# What one would use instead, on the same file, in turn with pedwatch: benches/peers/run.sh FILE.ndjson [PEDWATCH]
# BENCH_INPUT=FOLDER cargo bench --bench replay leaves such files in a folder, with their PEDs. Installs DuckDB from PyPI into target/peers.
set -euo pipefail
home=$(cd "$(dirname "$0")/../.." && pwd)
input=$1 pedwatch=${2:-$home/target/release/pedwatch}
[ -x "$home/target/peers/bin/python" ] || python3 -m venv "$home/target/peers"
"$home/target/peers/bin/python" -m pip --quiet --disable-pip-version-check install 'duckdb>=1.4'
exec "$home/target/peers/bin/python" "$home/benches/peers/compare.py" "$input" "$pedwatch"
