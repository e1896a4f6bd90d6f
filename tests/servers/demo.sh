#!/usr/bin/env bash
# The subscriber at work: Pub/Sub emulator → pedwatch pull → BigQuery server. Publishes the demo month entry by entry, and
# shows what arrives: alerts as the subscriber logs them, and then the rows. Needs the Google Cloud SDK's pubsub-emulator.
set -euo pipefail
cd "$(dirname "$0")/../.."
tests/servers/setup.sh
cargo build --release --locked
python=target/servers/bigquery/bin/python
pedwatch() { target/release/pedwatch --config fixtures/pedwatch.toml "$@"; }
trap 'kill $(jobs -p) 2>/dev/null' EXIT

port() { "$python" -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])'; }
await() { until (exec 3<>"/dev/tcp/127.0.0.1/$1") 2>/dev/null; do sleep 0.1; done; }

bigquery=$(port)
data=$(mktemp -d)
sleep infinity | "$python" tests/servers/bigquery.py --host 127.0.0.1 --port "$bigquery" --grpc-port "$(port)" \
  --project acme-prod --data-dir "$data" serve >"$data.log" 2>&1 &
pubsub=$(port)
java -Xmx512m -jar "$(gcloud info --format='value(installation.sdk_root)')"/platform/pubsub-emulator/lib/*-all.jar \
  --host=127.0.0.1 --port="$pubsub" >>"$data.log" 2>&1 &
await "$bigquery"
await "$pubsub"
export BIGQUERY_EMULATOR_HOST=127.0.0.1:$bigquery PUBSUB_EMULATOR_HOST=127.0.0.1:$pubsub
export PEDWATCH_STORE__URL=bigquery:acme-prod.pedwatch PEDWATCH_CONSUMER__METRICS_PORT=$(port)

pedwatch schema apply
for day in 2026-09-01 2026-09-11; do
  pedwatch ped register "fixtures/demo/ped/$day" --effective-at "$day" --updated-by demo --reason approved
done

call() { curl --silent --fail --header 'content-type: application/json' "http://127.0.0.1:$1/$2" "${@:3}"; }
topic=projects/acme-prod/topics/audit
subscription=projects/acme-prod/subscriptions/pedwatch
call "$pubsub" "v1/$topic" --request PUT --data '{}' >/dev/null
call "$pubsub" "v1/$subscription" --request PUT --data "{\"topic\": \"$topic\", \"ackDeadlineSeconds\": 10}" >/dev/null

target/release/pedwatch --config fixtures/pedwatch.toml pull --subscription "$subscription" &
subscriber=$!
while read -r entry; do
  data=$(base64 --wrap=0 <<<"$entry")
  call "$pubsub" "v1/$topic:publish" --data "{\"messages\": [{\"data\": \"$data\"}]}" >/dev/null
  sleep 0.3
done <fixtures/demo/audit/2026-09.ndjson
sleep 3
kill "$subscriber"
wait "$subscriber"

ask() {
  call "$bigquery" bigquery/v2/projects/acme-prod/queries --data "{\"useLegacySql\": false, \"query\": \"$1\"}" |
    "$python" -c 'import json, sys
for row in json.load(sys.stdin)["rows"]:
    print(*(str(cell["v"] if cell["v"] is not None else "·").ljust(24) for cell in row["f"]))'
}
printf '\nreplica_changes\n'
ask "SELECT FORMAT_TIMESTAMP('%F %T', event_time), namespace || '/' || deployment_name, previous_replicas, replicas, verdict FROM pedwatch.replica_changes ORDER BY event_time"
printf '\nalerts\n'
ask "SELECT FORMAT_TIMESTAMP('%F %T', alert_time), severity, alert_type, message FROM pedwatch.alerts ORDER BY alert_time, alert_type"
