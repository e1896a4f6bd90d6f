#!/usr/bin/env python3
"""Does what a sink and a push subscription do with an API server's audit log: each finished call becomes the LogEntry that GKE
writes, and is pushed until it is taken.

    sink.py AUDIT_LOG URL [--unlabelled]

With --unlabelled no dry run has a label, as on clusters that are too old for it. Says how many it pushed on one line each, and
goes on until its standard input ends.
"""

import base64
import json
import pathlib
import sys
import threading
import time
import urllib.error
import urllib.request

import audit


def push(url, entry):
    data = base64.b64encode(json.dumps(entry).encode()).decode()
    message = {"data": data, "messageId": entry["insertId"], "publishTime": entry["receiveTimestamp"]}
    body = json.dumps({"message": message, "subscription": "projects/p/subscriptions/s"}).encode()
    while True:
        try:
            urllib.request.urlopen(urllib.request.Request(url, body, method="POST"), timeout=30).close()
            return
        except (urllib.error.URLError, ConnectionError):
            time.sleep(0.2)


def follow(path, url, unlabelled):
    done, rest, pushed = 0, b"", 0
    while True:
        with path.open("rb") as log:
            log.seek(done)
            new = log.read()
        done += len(new)
        *lines, rest = (rest + new).split(b"\n")
        events = [json.loads(line) for line in lines if line]
        options = audit.Options(unlabelled={event["auditID"] for event in events} if unlabelled else set())
        for entry in audit.entries(events, options):
            # Logging has it from now on, not from some time to come.
            entry["receiveTimestamp"] = entry["timestamp"]
            push(url, entry)
            pushed += 1
            print(pushed, flush=True)
        time.sleep(0.05)


path, url, *options = sys.argv[1:]
follower = threading.Thread(target=follow, args=(pathlib.Path(path), url, "--unlabelled" in options), daemon=True)
follower.start()
sys.stdin.read()
