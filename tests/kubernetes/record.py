#!/usr/bin/env python3
"""Starts a Kubernetes control plane, writes to it, and leaves what its audit log says beside what its watch saw.

    record.py --out DIR [--matrix] [--random WRITES] [--seed N] [--fixture]; see --help for more

DIR/entries.ndjson   the LogEntries, in order of their timestamp
DIR/truth.json       {"objects": [each object that ever was: its changes in the server's order, by whom, and its end],
                      "listed": [what the API lists at the end]}
"""

import argparse
import gzip
import json
import pathlib
import random
import time

import audit
import chance
import matrix
from cluster import Cluster
from drive import Driver
from truth import truth
from watch import Watch


def main():
    options = arguments()
    began = time.monotonic()
    with Cluster(options.bodies_of_namespace_deletions) as cluster:
        begin = cluster.audit_log.stat().st_size
        watch, driver = Watch(cluster), Driver(cluster)
        started = time.monotonic()
        if options.matrix:
            matrix.run(driver, options.only)
        if options.random:
            chance.run(driver, options.random, options.seed)
        # Nobody writes any more, once what the controllers had begun is done.
        cluster.stop_last()
        time.sleep(1)
        events = audit.read(cluster.audit_log, begin)
        found = truth(watch, driver, events)
    entries = audit.entries(events, conversion(options, driver))
    leave(options, entries, found)
    changes = sum(len(it["changes"]) for it in found["objects"])
    print(
        f"seed {options.seed}: {len(entries)} entries, {len(found['objects'])} objects with {changes} changes, "
        f"{len(found['listed'])} at the end, {len(driver.left_out)} entries left out; "
        f"{started - began:.0f} s to start, {time.monotonic() - started:.0f} s in all else"
    )


def arguments():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=pathlib.Path, required=True)
    parser.add_argument("--matrix", action="store_true", help="every kind of write")
    parser.add_argument("--only", nargs="*", help="these scenarios of the matrix alone")
    parser.add_argument("--random", type=int, default=0, metavar="WRITES")
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(1 << 32))
    parser.add_argument(
        "--time", choices=["received", "stage"], default="received", help="what an entry's timestamp is"
    )
    parser.add_argument("--json-patch", default="bare", metavar="bare|KEY", help="how an entry carries a JSON Patch")
    parser.add_argument("--keep-status", action="store_true", help="with writes to the status, which no sink exports")
    parser.add_argument(
        "--bodies-of-namespace-deletions",
        action="store_true",
        help="the namespace controller's deletecollections are logged with their answers, unlike on GKE: of what was "
        "gone before them the log then tells nothing",
    )
    parser.add_argument("--fixture", action="store_true", help="compressed, and without what pedwatch does not read")
    return parser.parse_args()


def conversion(options, driver):
    return audit.Options(
        unlabelled=driver.unlabelled, left_out=driver.left_out, time=options.time, json_patch=options.json_patch,
        keep_status=options.keep_status, strip=options.fixture, seed=options.seed,
    )  # fmt: skip


def leave(options, entries, found):
    options.out.mkdir(parents=True, exist_ok=True)
    lines = "".join(json.dumps(entry, separators=(",", ":")) + "\n" for entry in entries).encode()
    if options.fixture:
        (options.out / "entries.ndjson.gz").write_bytes(gzip.compress(lines, 9, mtime=0))
    else:
        (options.out / "entries.ndjson").write_bytes(lines)
    rows = {key: "[\n" + ",\n".join(json.dumps(row) for row in rows) + "\n]" for key, rows in found.items()}
    text = ",\n".join(f'"{key}": {rows}' for key, rows in rows.items())
    (options.out / "truth.json").write_text("{" + text + "}\n")


if __name__ == "__main__":
    main()
