#!/usr/bin/env bash
# Checks the PEDs of a checkout, and says what they change against another commit. Variables: PEDS (the folder), BASE (the
# commit), IMAGE (of pedwatch), or PEDWATCH (a program in its place), and PEDWATCH_CONFIG.
set -euo pipefail
summary=${GITHUB_STEP_SUMMARY:-/dev/stdout}
export PEDWATCH_CONFIG=${PEDWATCH_CONFIG:-}

pedwatch() {
  if [ -n "${PEDWATCH:-}" ]; then
    "$PEDWATCH" "$@"
  else
    docker run --rm --network none --user "$(id -u):$(id -g)" --volume "$PWD:/work" --workdir /work \
      --env PEDWATCH_CONFIG "$IMAGE" "$@"
  fi
}

# Where the last one was taken out, there is nothing to validate; git keeps no empty folder.
mkdir -p "$PEDS"
if [ -n "$(find "$PEDS" -iname '*.yaml' -o -iname '*.yml')" ]; then
  pedwatch ped validate --format github "$PEDS"
fi

# The folder as it was, inside of the checkout: the image sees nothing else.
old=$(mktemp -d ./pedwatch-base.XXXXXX)
trap 'rm -rf "$old"' EXIT
if [ -n "${BASE:-}" ] && [ "$BASE" != 0000000000000000000000000000000000000000 ]; then
  git cat-file -e "$BASE^{commit}" 2>/dev/null || git fetch --quiet --no-tags --depth=1 origin "$BASE"
  if git cat-file -e "$BASE:$PEDS" 2>/dev/null; then
    git archive "$BASE" -- "$PEDS" | tar -x -C "$old"
  fi
fi
mkdir -p "$old/$PEDS"
{
  echo "### What these PEDs change"
  echo
  pedwatch ped diff --format markdown "$old/$PEDS" "$PEDS"
} >>"$summary"
