#!/usr/bin/env bash
# Keeps a release in fixtures/released: its source, and what its binary writes into both stores.
#   tests/released/make.sh NAME COMMIT
set -euo pipefail
cd "$(dirname "$0")/../.."
name=$1 commit=$2
kept=$PWD/fixtures/released/$name
source=$PWD/target/released/$name/source
python=$PWD/target/servers/bigquery/bin/python
trap 'kill $(jobs -p) 2>/dev/null' EXIT

# What the binary is built from (the manifest names the benches), and the inputs of that day, which a later commit changes.
mkdir -p "$kept"
git archive "$commit" -- Cargo.toml Cargo.lock build.rs src benches terraform/schemas terraform/views \
  fixtures/pedwatch.toml fixtures/demo fixtures/audit fixtures/ped | gzip -9n >"$kept/source.tar.gz"
tests/servers/setup.sh
tests/servers/released.sh

pedwatch() { (cd "$source" && ../pedwatch --config fixtures/pedwatch.toml "$@"); }
fill() {
  pedwatch replay --ped 2026-09-01=fixtures/demo/ped/2026-09-01 --ped 2026-09-11=fixtures/demo/ped/2026-09-11 \
    --store "$1" --format json fixtures/demo/audit
  # The folder holds the malformed ones too.
  pedwatch replay --ped 2026-09-01=fixtures/ped --store "$1" --format json fixtures/audit
}

rm -f "$kept"/facts.db*
fill "sqlite:$kept/facts.db"
# What closes it last takes the log along: one file is left.
"$python" -c 'import sqlite3, sys; file = sqlite3.connect(sys.argv[1]); file.execute("VACUUM"); file.close()' "$kept/facts.db"

port() { "$python" -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])'; }
port=$(port)
data=$(mktemp -d)
sleep infinity | "$python" tests/servers/bigquery.py --host 127.0.0.1 --port "$port" --grpc-port "$(port)" \
  --project acme-prod --data-dir "$data" serve >"$data.log" 2>&1 &
until (exec 3<>"/dev/tcp/127.0.0.1/$port") 2>/dev/null; do sleep 0.1; done
export BIGQUERY_EMULATOR_HOST=127.0.0.1:$port
pedwatch schema apply --store bigquery:acme-prod.pedwatch
fill bigquery:acme-prod.pedwatch
rm -rf "$kept/bigquery"
"$python" tests/released/dump.py "http://$BIGQUERY_EMULATOR_HOST" acme-prod pedwatch "$kept/bigquery"
