#!/usr/bin/env bash
# Installs what the tests start: the BigQuery server (local-bigquery, on DuckDB) into target/servers, for which Python
# 3.13 or newer and PyPI are needed; a Kubernetes API server (see kubernetes.sh), built into a cache; and promtool,
# where Debian's packages are at hand. Does nothing when they are there.
set -euo pipefail
cd "$(dirname "$0")/../.."

if ! command -v promtool >/dev/null && command -v apt-get >/dev/null; then
  root() { if [ "$(id -u)" = 0 ]; then "$@"; else sudo "$@"; fi; }
  root apt-get update -qq
  root env DEBIAN_FRONTEND=noninteractive apt-get install -qq --yes --no-install-recommends prometheus >/dev/null
fi

tests/servers/kubernetes.sh >/dev/null

home=target/servers/bigquery
[ -f "$home/.complete" ] && exit 0

python=
for candidate in python3.14 python3.13 "$HOME"/.pyenv/versions/3.1[3-9]*/bin/python python3; do
  if "$candidate" -c 'import sys; sys.exit(sys.version_info < (3, 13))' 2>/dev/null; then python=$candidate && break; fi
done
if [ -z "$python" ]; then
  echo "the BigQuery server of the tests needs Python 3.13 or newer; there is none as python3.13, in pyenv, or as python3" >&2
  exit 1
fi

rm -rf "$home"
"$python" -m venv "$home"
pip() { "$home/bin/python" -m pip --quiet --disable-pip-version-check "$@"; }
pip install local-bigquery==0.4.0
# 0.4.0 asks for a DuckDB whose extensions are not on PyPI; with this one, and its extensions from there, it needs no
# other internet. pip says that the versions do not fit; the tests say that they do.
pip install duckdb==1.5.5 duckdb-extension-ducklake==1.5.5 2>/dev/null
pip install --no-deps duckdb-extension-spatial==1.5.5
touch "$home/.complete"
