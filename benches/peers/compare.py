"""What one would use instead, on the same file, in turn with pedwatch: compare.py FILE PEDWATCH.

BENCH_KEEP="beside what else it ran" keeps the medians in benches/figures/peers.json."""

import datetime
import json
import os
import pathlib
import resource
import statistics
import subprocess
import sys
import tempfile
import time

PAIRS = 3
HERE = pathlib.Path(__file__).resolve().parent


def run(command):
    """Wall time and CPU time of a command, in seconds, and its output."""
    before, begun = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    output = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout
    seconds, after = time.perf_counter() - begun, resource.getrusage(resource.RUSAGE_CHILDREN)
    return seconds, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime, output


def main(file, pedwatch):
    found = {"duckdb": [], "pedwatch": []}
    peds = pathlib.Path(file).with_name("peds.yaml")
    # Who deploys in these entries.
    os.environ["PEDWATCH_ACTORS__PIPELINE"] = "deployer@acme-prod.iam.gserviceaccount.com"
    with tempfile.TemporaryDirectory() as folder:
        for pair in range(PAIRS):
            replay = [pedwatch, "replay", "--format", "json", "--store", f"sqlite:{folder}/{pair}.db", "--ped", peds, file]
            for name, command in {"duckdb": [sys.executable, HERE / "bare_rows.py", file], "pedwatch": replay}.items():
                seconds, cpu_seconds, output = run(command)
                if name == "duckdb":
                    # As it tells itself: Python's own start is none of its time.
                    seconds, cpu_seconds = json.loads(output)["seconds"], json.loads(output)["cpu_seconds"]
                found[name].append((seconds, cpu_seconds))
                print(f"{name:9} {seconds:6.2f} s, {cpu_seconds:6.2f} s of CPU: {output.strip()}", flush=True)
    wall, cpu = ({name: statistics.median(run[at] for run in runs) for name, runs in found.items()} for at in (0, 1))
    figures = {
        "mib": round(os.path.getsize(file) / 2**20),
        "duckdb_s": wall["duckdb"],
        "duckdb_cpu_s": cpu["duckdb"],
        "pedwatch_s": wall["pedwatch"],
        "pedwatch_cpu_s": cpu["pedwatch"],
        "ratio": wall["pedwatch"] / wall["duckdb"],
    }
    figures = {name: float(f"{value:.3g}") for name, value in figures.items()}
    print(f"a whole replay takes {figures['ratio']} times as long as bare rows do")
    if beside := os.environ.get("BENCH_KEEP"):
        kept = {"beside": beside, "cores": os.cpu_count(), "date": str(datetime.date.today()), "figures": figures}
        (HERE.parent / "figures/peers.json").write_text(json.dumps(kept, indent=2, sort_keys=True) + "\n")


if __name__ == "__main__":
    main(*sys.argv[1:])
