"""Turns the API server's audit events (audit.k8s.io/v1) into the LogEntries that GKE writes to Cloud Logging.

Seen in public captures: logName, resource and its labels, `operation` {id, producer, first, last}, serviceName, the
form of methodName and resourceName, authenticationInfo.principalEmail, authorizationInfo (without `granted` where it
was denied), requestMetadata, the event's annotations as labels, `status` {code: 0} for a success and a code with a
message for a failure, `@type` core.k8s.io/v1.X, k8s.io/Patch and others beside the keys of a body, a response of
@type core.k8s.io/v1.Status for a failed call, timestamp in microseconds, receiveTimestamp in nanoseconds and up to 13
s later, no bodies where they were truncated (the server says so in an annotation).

Inferred: insertId = the Audit-ID; which of an event's two times `timestamp` is (`--time`); codes never seen in a
capture; `@type` of groups never seen; how a Struct carries the array of a JSON Patch (`--json-patch`); that an
impersonated user is the authoritySelector; which dry runs are labelled. A PUT of a Scale has no request before
Kubernetes 1.22 (kubernetes#102040).
"""

import dataclasses
import json
import random
from datetime import datetime, timedelta
from urllib.parse import parse_qs, urlsplit

CLUSTER = {"project_id": "acme-prod", "location": "europe-west1", "cluster_name": "prod-1"}
LOG = f"projects/{CLUSTER['project_id']}/logs/cloudaudit.googleapis.com%2Factivity"
# google.rpc.Code by HTTP status; 2 (unknown) for the others.
CODES = {
    400: 3,
    401: 16,
    403: 7,
    404: 5,
    405: 12,
    409: 10,
    410: 5,
    412: 9,
    413: 3,
    415: 3,
    422: 3,
    429: 8,
    500: 13,
    503: 14,
    504: 4,
}
# How late Logging gets an entry.
LATEST_SECONDS = 13
# So much time goes by, on the entries' clock, after a delete whose dry run is said in its query alone: such an entry
# looks like a real one, until one of the same object, more than 60 s behind it, shows that it is still there.
PAUSE = timedelta(seconds=120)


@dataclasses.dataclass
class Options:
    # Ids of dry runs that get no label, and of calls that are left out.
    unlabelled: set = dataclasses.field(default_factory=set)
    left_out: set = dataclasses.field(default_factory=set)
    # `timestamp`: when the call was "received", or when it was at its last "stage".
    time: str = "received"
    # A JSON Patch is a "bare" array, or lies under this key.
    json_patch: str = "bare"
    # The sink does not export writes to the status.
    keep_status: bool = False
    # Without what pedwatch does not read, for a fixture: managedFields, templates, conditions, padding.
    strip: bool = False
    seed: int = 1


def entries(events, options):
    """LogEntries of the finished calls, in order of their timestamp, as Logging lists them."""
    clock = Clock(events, options)
    chance = random.Random(options.seed)
    made = [entry(event, options, clock, chance) for event in events if wanted(event, options)]
    return sorted(made, key=lambda entry: (entry["timestamp"], entry["insertId"]))


def wanted(event, options):
    # A caller that is not known is turned away before there is a later stage.
    unknown = event["stage"] == "ResponseStarted" and event["responseStatus"]["code"] == 401
    finished = event["stage"] in ("ResponseComplete", "Panic") or unknown
    if not finished or event["auditID"] in options.left_out:
        return False
    return options.keep_status or event["objectRef"].get("subresource") != "status"


def entry(event, options, clock, chance):
    stamp = clock.of_entry(event)
    received = parse(stamp) + timedelta(seconds=chance.uniform(0.3, LATEST_SECONDS))
    id_ = event["auditID"]
    return {
        "insertId": id_,
        "logName": LOG,
        "operation": {"id": id_, "producer": "k8s.io", "first": True, "last": True},
        "resource": {"type": "k8s_cluster", "labels": CLUSTER},
        "timestamp": stamp,
        "receiveTimestamp": received.strftime("%Y-%m-%dT%H:%M:%S.%f") + f"{chance.randrange(1000):03}Z",
        "labels": labels(event, options),
        "protoPayload": clock.of_body(payload(event, options)),
    }


def labels(event, options):
    found = dict(event.get("annotations") or {})
    if is_dry(event) and event["auditID"] not in options.unlabelled:
        found["command.gke.io/dryRun"] = "All"
    return found


def payload(event, options):
    method, resource = names(event)
    code = event["responseStatus"].get("code", 0)
    right = {"resource": resource, "permission": method}
    return {
        "@type": "type.googleapis.com/google.cloud.audit.AuditLog",
        "serviceName": "k8s.io",
        "methodName": method,
        "resourceName": resource,
        "authenticationInfo": who(event),
        "authorizationInfo": [right if code in (401, 403) else right | {"granted": True}],
        "requestMetadata": {"callerIp": event["sourceIPs"][0], "callerSuppliedUserAgent": event.get("userAgent", "")},
        "status": status(event, code),
        **bodies(event, options),
    }


def names(event):
    """methodName and resourceName."""
    it, verb = event["objectRef"], event["verb"]
    name, sub = it.get("name"), it.get("subresource")
    method = ["io.k8s", it["apiGroup"], it["apiVersion"], it["resource"], *filter(None, [sub]), verb]
    resource = [
        it["apiGroup"],
        it["apiVersion"],
        "namespaces",
        it["namespace"],
        it["resource"],
        *filter(None, [name, sub]),
    ]
    if not name and verb == "create":
        name = metadata(event).get("name")
        resource += filter(None, [name])
    return ".".join(method), "/".join(resource)


def who(event):
    name = (event.get("user") or {}).get("username")
    found = {"principalEmail": name} if name else {}
    impersonated = event.get("impersonatedUser")
    return found | ({"authoritySelector": impersonated["username"]} if impersonated else {})


def status(event, code):
    if code < 400:
        return {"code": 0}
    said = event["responseStatus"]
    message = (
        (event.get("responseObject") or {}).get("message") or said.get("message") or said.get("reason") or "Unknown"
    )
    return {"code": CODES.get(code, 2), "message": message}


def bodies(event, options):
    found = {}
    request, response = event.get("requestObject"), event.get("responseObject")
    if isinstance(request, list):
        found["request"] = (
            request if options.json_patch == "bare" else {"@type": "k8s.io/Patch", options.json_patch: request}
        )
    elif isinstance(request, dict):
        found["request"] = {"@type": "k8s.io/Patch" if event["verb"] == "patch" else type_of(request)} | request
    if isinstance(response, dict):
        found["response"] = {"@type": type_of(response)} | response
    return {key: stripped(body) for key, body in found.items()} if options.strip else found


def type_of(body):
    group, _, version = body.get("apiVersion", "v1").rpartition("/")
    group = group or "core"
    return f"{group if '.' in group else group + '.k8s.io'}/{version}.{body.get('kind', '')}"


def stripped(body):
    if isinstance(body, list):
        return [stripped(item) for item in body]
    if not isinstance(body, dict):
        return body
    unread = {"managedFields", "template", "conditions", "columnDefinitions", "cells", "example.com/padding"}
    return {key: stripped(value) for key, value in body.items() if key not in unread}


def metadata(event):
    return (event.get("responseObject") or {}).get("metadata") or {}


def is_dry(event):
    request = event.get("requestObject")
    said = event["verb"].startswith("delete") and isinstance(request, dict) and bool(request.get("dryRun"))
    return said or dry_by_query(event)


def dry_by_query(event):
    return "dryRun" in parse_qs(urlsplit(event["requestURI"]).query)


def parse(stamp):
    return datetime.fromisoformat(stamp.replace("Z", "+00:00"))


class Clock:
    """The entries' clock: the server's, which pauses where PAUSE says."""

    def __init__(self, events, options):
        self.key = "requestReceivedTimestamp" if options.time == "received" else "stageTimestamp"
        deletes = [
            event for event in events if event["verb"].startswith("delete") and event["auditID"] in options.unlabelled
        ]
        self.pauses = [event[self.key] for event in deletes if dry_by_query(event)]
        # An object was created with its first entry; its creationTimestamp is cut to a second.
        self.created = {}
        for event in sorted(events, key=lambda event: event["requestReceivedTimestamp"]):
            if uid := metadata(event).get("uid"):
                self.created.setdefault(uid, self.paused(event[self.key]))

    def paused(self, stamp):
        return PAUSE * sum(pause < stamp for pause in self.pauses)

    def of_entry(self, event):
        stamp = event[self.key]
        return (parse(stamp) + self.paused(stamp)).strftime("%Y-%m-%dT%H:%M:%S.%fZ")

    def of_body(self, body):
        """The same with the times in the metadata of objects."""
        if isinstance(body, list):
            return [self.of_body(item) for item in body]
        if not isinstance(body, dict):
            return body
        moved = {key: self.of_body(value) for key, value in body.items()}
        for key in ("creationTimestamp", "deletionTimestamp"):
            if stamp := body.get(key):
                # A time is cut to a second: it counts as that second's last, if no entry tells better.
                late = self.paused(stamp.replace("Z", ".999999Z"))
                pause = self.created.get(body.get("uid"), late) if key == "creationTimestamp" else late
                moved[key] = (parse(stamp) + pause).strftime("%Y-%m-%dT%H:%M:%SZ")
        return moved


def read(path, begin=0):
    """Events of an audit log, from some place on."""
    with open(path, "rb") as log:
        log.seek(begin)
        return [json.loads(line) for line in log]
