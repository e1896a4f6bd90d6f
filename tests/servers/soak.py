#!/usr/bin/env python3
"""A long run of `pedwatch serve` into SQLite: mixed pushes from several callers, kill -9 every so often, and nothing lost,
nothing double, memory flat.

  soak.py PEDWATCH [MINUTES]        60 by default, a kill every two minutes

Prints a line a minute, and at the end what was acknowledged, what is stored, and the most memory that a process held at its beginning
and at its end. Fails where one of these is not as it should be.
"""

import base64
import http.client
import json
import os
import pathlib
import random
import signal
import socket
import sqlite3
import subprocess
import sys
import tempfile
import threading
import time
from datetime import datetime, timedelta, timezone

CALLERS = 8
KILL_EVERY = 120  # seconds
# A process has settled after so many seconds, and may hold so much more at the end of the run.
SETTLED, GROWTH = 30, 1.25

root = pathlib.Path(__file__).parents[2]
entry = json.loads((root / "fixtures/audit/actor_pipeline.json").read_text())
begun = datetime.now(timezone.utc) - timedelta(hours=1)


def port():
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return free.getsockname()[1]


class Served:
    """The process, and what it held."""

    def __init__(self, program, folder):
        self.program, self.folder, self.port, self.peaks = program, folder, port(), []
        self.environment = os.environ | {
            "PEDWATCH_STORE__URL": f"sqlite:{folder}/facts.db",
            "PEDWATCH_PUSH__AUTH": "platform",
            "PEDWATCH_PUSH__PORT": str(self.port),
            "PEDWATCH_CONSUMER__METRICS_PORT": str(port()),
            "PEDWATCH_LOG__FORMAT": "json",
        }
        self.start()

    def start(self):
        log = open(f"{self.folder}/log", "ab")
        command = [self.program, "--config", str(root / "fixtures/pedwatch.toml"), "serve"]
        self.process = subprocess.Popen(command, env=self.environment, stdout=log, stderr=log)
        self.since = time.monotonic()

    def kill(self):
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()
        self.start()

    def look(self):
        """Resident memory in MiB, once the process has settled."""
        try:
            status = pathlib.Path(f"/proc/{self.process.pid}/status").read_text()
        except OSError:
            return
        if time.monotonic() - self.since >= SETTLED:
            (resident,) = [line.split()[1] for line in status.splitlines() if line.startswith("VmRSS")]
            self.peaks.append((time.monotonic(), int(resident) / 1024))


def write(serial, rng):
    """A write of one of 500 Deployments: every fifth past its limit, some as /scale's answer, some without bodies."""
    one = json.loads(json.dumps(entry))
    name = f"service-{serial % 500}"
    at = (begun + timedelta(milliseconds=serial)).isoformat().replace("+00:00", "Z")
    payload, replicas = one["protoPayload"], rng.choice([2, 3, 4, 5, 9])
    one["insertId"], one["timestamp"], one["receiveTimestamp"] = f"soak-{serial}", at, at
    payload["resourceName"] = f"apps/v1/namespaces/payments/deployments/{name}"
    metadata = payload["response"]["metadata"]
    metadata["name"], metadata["uid"] = name, f"00000000-0000-0000-0000-{serial % 500:012d}"
    metadata["resourceVersion"], metadata["generation"] = str(1_000_000 + serial), 1 + serial // 500
    payload["request"]["spec"]["replicas"] = payload["response"]["spec"]["replicas"] = replicas
    if rng.random() < 0.1:
        del payload["request"], payload["response"]
    if rng.random() < 0.05:
        payload["response"] = payload.get("response", {}) | {"padding": "x" * rng.randrange(200_000)}
    return one


def call(served, serials, acknowledged, stop, seed):
    """Pushes until it is told to stop: writes, each again until it is answered for; junk and duplicates between them."""
    rng, connection, recent = random.Random(seed), None, []

    def push(data):
        nonlocal connection
        body = json.dumps({"message": {"data": base64.b64encode(data).decode(), "messageId": "1"}, "subscription": "s"})
        try:
            connection = connection or http.client.HTTPConnection("127.0.0.1", served.port, timeout=30)
            connection.request("POST", "/pubsub/push", body, {"content-type": "application/json"})
            answer = connection.getresponse()
            answer.read()
            return answer.status
        except (OSError, http.client.HTTPException):
            connection = None
            time.sleep(0.2)
            return None

    while not stop.is_set():
        kind = rng.random()
        if kind < 0.05:
            push(rng.randbytes(rng.randrange(2_000)))
            continue
        if kind < 0.15 and recent:
            push(rng.choice(recent)[1])
            continue
        serial = next(serials)
        data = json.dumps(write(serial, rng)).encode()
        while push(data) != 204:
            if stop.is_set():
                return
            time.sleep(0.05)
        acknowledged.append(serial)
        recent = recent[-50:] + [(serial, data)]


def count():
    lock, number = threading.Lock(), 0
    while True:
        with lock:
            number += 1
        yield number


class Shared:
    """An iterator that several threads may ask."""

    def __init__(self, inner):
        self.inner, self.lock = inner, threading.Lock()

    def __next__(self):
        with self.lock:
            return next(self.inner)


def main():
    program, minutes = os.path.abspath(sys.argv[1]), float(sys.argv[2]) if len(sys.argv) > 2 else 60
    folder = tempfile.mkdtemp(prefix="pedwatch-soak-")
    served, stop, serials = Served(program, folder), threading.Event(), Shared(count())
    acknowledged = [[] for _ in range(CALLERS)]
    callers = [
        threading.Thread(target=call, args=(served, serials, acknowledged[index], stop, index)) for index in range(CALLERS)
    ]
    for caller in callers:
        caller.start()
    start, kills, told = time.monotonic(), 0, 0
    while (now := time.monotonic() - start) < minutes * 60:
        time.sleep(1)
        served.look()
        if now >= (kills + 1) * KILL_EVERY:
            served.kill()
            kills += 1
        if now >= (told + 1) * 60:
            told += 1
            resident = served.peaks[-1][1] if served.peaks else 0
            print(f"{told} min: {sum(map(len, acknowledged))} acknowledged, {kills} kills, {resident:.0f} MiB", flush=True)
    stop.set()
    for caller in callers:
        caller.join()
    served.process.terminate()
    code = served.process.wait(timeout=20)
    given = {f"soak-{serial}" for serials in acknowledged for serial in serials}
    with sqlite3.connect(f"file:{folder}/facts.db?mode=ro", uri=True) as store:
        rows = [row[0] for row in store.execute("SELECT insert_id FROM replica_events")]
        quarantined = store.execute("SELECT COUNT(*) FROM quarantine").fetchone()[0]
    third = len(served.peaks) // 3
    first, last = (max((mib for _, mib in part), default=0) for part in (served.peaks[:third], served.peaks[-third:]))
    lost, double = len(given - set(rows)), len(rows) - len(set(rows))
    print(
        f"{minutes:g} min, {CALLERS} callers, {kills} kills: {len(given)} writes acknowledged, {len(rows)} stored, {lost} lost, "
        f"{double} double, {quarantined} inputs in quarantine; at most {first:.0f} MiB in the first third and {last:.0f} MiB "
        f"in the last; exit {code}"
    )
    if lost or double or code or not given or last > max(first * GROWTH, first + 16):
        sys.exit(1)


main()
