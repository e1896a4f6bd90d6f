#!/usr/bin/env bash
# What is in the binary: benches/binary.sh [PEDWATCH]. Its largest sections, and the crates whose code is largest, in MB; generic
# code counts for the crate that wrote it.
set -euo pipefail
binary=${1:-$(dirname "$0")/../target/release/pedwatch}
size -A "$binary" | awk '$2 + 0 > 300000 && $1 ~ /^\./ { printf "%-24s %6.2f\n", $1, $2 / 1e6 }'
echo
nm -C --size-sort -S --radix=d "$binary" 2>/dev/null | awk '
  {
    symbol = $0
    sub(/^[0-9]+ [0-9]+ [A-Za-z] /, "", symbol)
    crate = "C"
    if (match(symbol, /[a-z_][a-z0-9_]*(\[[0-9a-f]+\])?::/)) {
      crate = substr(symbol, RSTART, RLENGTH)
      sub(/(\[|:).*/, "", crate)
    }
    bytes[crate] += $2
  }
  END { for (crate in bytes) printf "%-24s %6.2f\n", crate, bytes[crate] / 1e6 }' | sort -k 2 -rn | awk 'NR <= 20'
