#!/usr/bin/env bash
# The subscriber at work: Pub/Sub emulator → pedwatch pull → BigQuery server, and whom it concerns: Slack (a stand-in), a mail
# server and Alertmanager. Publishes the demo month entry by entry, and shows what arrives: alerts as the subscriber logs them, who
# hears of them, and then the rows. Needs the Google Cloud SDK's pubsub-emulator. (Kills are the tests' affair, telling/serving.rs:
# this emulator goes on giving messages to a subscriber that is gone.)
#
# demo.sh [en|zh]: the language of the messages. PEDWATCH names a program that is built already.
set -euo pipefail
cd "$(dirname "$0")/../.."
tests/servers/setup.sh
[ -n "${PEDWATCH:-}" ] || { cargo build --release --locked && PEDWATCH=target/release/pedwatch; }
python=target/servers/bigquery/bin/python
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

ring=$(port) mail=$(port) alertmanager=$(port)
folder=$(mktemp -d)
"$python" tests/servers/heard.py "$ring" &
sleep infinity | target/servers/smtp/bin/python tests/servers/smtp.py "$mail" "$folder" 2>>"$data.log" &
cat >"$folder/alertmanager.yml" <<END
route: {receiver: heard, group_by: ["..."], group_wait: 0s, group_interval: 1s}
receivers: [{name: heard, webhook_configs: [{url: "http://127.0.0.1:$ring/alertmanager", send_resolved: true}]}]
END
prometheus-alertmanager --config.file="$folder/alertmanager.yml" --storage.path="$folder/alertmanager" --cluster.listen-address= \
  --web.listen-address="127.0.0.1:$alertmanager" 2>>"$data.log" &
await "$ring" && await "$mail" && await "$alertmanager"
echo "http://127.0.0.1:$ring/slack" >"$folder/slack"
printf s3cret >"$folder/password"
cat fixtures/pedwatch.toml - >"$folder/pedwatch.toml" <<END
[notify]
ledger = "sqlite:$folder/ledger.db"
language = "${1:-en}"
# The month is over: what is told of it would be old news otherwise.
max_age_seconds = 300000000
flap_seconds = 0
[receivers.slack]
kind = "slack_webhook"
webhook_url_file = "$folder/slack"
[receivers.mail]
kind = "email"
host = "localhost"
port = $mail
ca_file = "$folder/ca.pem"
username = "pedwatch"
password_file = "$folder/password"
from = "pedwatch@example.com"
to = ["platform@example.com"]
[receivers.alertmanager]
kind = "alertmanager"
url = "http://127.0.0.1:$alertmanager"
[[routes]]
receivers = ["slack", "mail", "alertmanager"]
END
pedwatch() { "$PEDWATCH" --config "$folder/pedwatch.toml" "$@"; }

pedwatch schema apply
for day in 2026-09-01 2026-09-11; do
  pedwatch ped register "fixtures/demo/ped/$day" --effective-at "$day" --updated-by demo --reason approved
done

call() { curl --silent --fail --header 'content-type: application/json' "http://127.0.0.1:$1/$2" "${@:3}"; }
topic=projects/acme-prod/topics/audit
subscription=projects/acme-prod/subscriptions/pedwatch
call "$pubsub" "v1/$topic" --request PUT --data '{}' >/dev/null
call "$pubsub" "v1/$subscription" --request PUT --data "{\"topic\": \"$topic\", \"ackDeadlineSeconds\": 10}" >/dev/null

"$PEDWATCH" --config "$folder/pedwatch.toml" pull --subscription "$subscription" &
subscriber=$!
handled() {
  curl --silent "http://127.0.0.1:$PEDWATCH_CONSUMER__METRICS_PORT/metrics" |
    awk '/^pedwatch_messages_total/ { handled += $2 } END { print handled + 0 }'
}
published=0
while read -r entry; do
  data=$(base64 --wrap=0 <<<"$entry")
  call "$pubsub" "v1/$topic:publish" --data "{\"messages\": [{\"data\": \"$data\"}]}" >/dev/null
  published=$((published + 1))
  # One after the other, as in a month: of what is over before anybody could be told, nobody is.
  until [ "$(handled)" -ge "$published" ]; do sleep 0.2; done
  until [ "$(pedwatch notify list --format json)" = "[]" ]; do sleep 0.2; done
done <fixtures/demo/audit/2026-09.ndjson
sleep 2
kill "$subscriber"
wait "$subscriber" || true

printf '\nby mail\n'
"$python" - "$folder/mail.ndjson" <<'END'
import email, email.policy, json, sys
for line in open(sys.argv[1]):
    mail = email.message_from_string(json.loads(line)["data"], policy=email.policy.default)
    print(mail["to"], "|", mail["subject"])
END

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
