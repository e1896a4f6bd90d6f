#!/usr/bin/env bash
# Installs what the tests start: the BigQuery server (local-bigquery, on DuckDB) into target/servers, for which Python
# 3.13 or newer and PyPI are needed; an SMTP server and what checks manifests and workflows against Kubernetes' and GitHub's schemas beside it; a Kubernetes
# API server (see kubernetes.sh), built into a cache; promtool, Alertmanager and a browser, where Debian's packages are at hand.
# Does nothing when they are there.
set -euo pipefail
cd "$(dirname "$0")/../.."

missing=()
command -v promtool >/dev/null || missing+=(prometheus)
command -v prometheus-alertmanager >/dev/null || missing+=(prometheus-alertmanager)
command -v chromium >/dev/null || missing+=(chromium)
if [ "${#missing[@]}" -gt 0 ] && command -v apt-get >/dev/null; then
  root() { if [ "$(id -u)" = 0 ]; then "$@"; else sudo "$@"; fi; }
  root apt-get update -qq
  root env DEBIAN_FRONTEND=noninteractive apt-get install -qq --yes --no-install-recommends "${missing[@]}" >/dev/null
fi

tests/servers/kubernetes.sh >/dev/null

home=target/servers/bigquery smtp=target/servers/smtp validate=target/servers/kubernetes-validate \
  workflows=target/servers/check-jsonschema
mkdir -p target/servers
# One installs, the others wait for it.
exec 9>target/servers/.lock
flock 9
is_there() { for of in "$@"; do [ -f "$of/.complete" ] || return 1; done; }
is_there "$home" "$smtp" "$validate" "$workflows" && exit 0

python=
for candidate in python3.14 python3.13 "$HOME"/.pyenv/versions/3.1[3-9]*/bin/python python3; do
  if "$candidate" -c 'import sys; sys.exit(sys.version_info < (3, 13))' 2>/dev/null; then python=$candidate && break; fi
done
if [ -z "$python" ]; then
  echo "the BigQuery server of the tests needs Python 3.13 or newer; there is none as python3.13, in pyenv, or as python3" >&2
  exit 1
fi

pip() { "$1/bin/python" -m pip --quiet --disable-pip-version-check install "${@:2}"; }

if [ ! -f "$smtp/.complete" ]; then
  rm -rf "$smtp"
  "$python" -m venv "$smtp"
  pip "$smtp" aiosmtpd==1.4.6
  touch "$smtp/.complete"
fi
if [ ! -f "$validate/.complete" ]; then
  rm -rf "$validate"
  "$python" -m venv "$validate"
  pip "$validate" kubernetes-validate==1.37.0
  touch "$validate/.complete"
fi
if [ ! -f "$workflows/.complete" ]; then
  rm -rf "$workflows"
  "$python" -m venv "$workflows"
  pip "$workflows" check-jsonschema==0.39.0
  touch "$workflows/.complete"
fi
[ -f "$home/.complete" ] && exit 0

rm -rf "$home"
"$python" -m venv "$home"
pip "$home" local-bigquery==0.4.0
# 0.4.0 asks for a DuckDB whose extensions are not on PyPI; with this one, and its extensions from there, it needs no
# other internet. pip says that the versions do not fit; the tests say that they do.
pip "$home" duckdb==1.5.5 duckdb-extension-ducklake==1.5.5 2>/dev/null
pip "$home" --no-deps duckdb-extension-spatial==1.5.5
touch "$home/.complete"
