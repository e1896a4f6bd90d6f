"""Calls to the API server, by any user, by raw HTTP or kubectl, and what is remembered of each.

Every call carries an Audit-ID of its own, by which its entry is found again in the audit log. What a call's answer
showed (uid, resourceVersion, an end) later says who wrote what the watch saw: see `truth.py`.
"""

import concurrent.futures
import contextlib
import dataclasses
import http.client
import json
import os
import re
import subprocess
import threading
import time
import uuid
from urllib.parse import urlencode

from cluster import USERS, Cluster, wait_until

MERGE, STRATEGIC, JSON_PATCH, APPLY = (
    f"application/{kind}"
    for kind in ["merge-patch+json", "strategic-merge-patch+json", "json-patch+json", "apply-patch+yaml"]
)
METADATA_ONLY = "application/json;as=PartialObjectMetadata;g=meta.k8s.io;v=v1"
METADATA_LIST = "application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1"
TABLE = "application/json;as=Table;g=meta.k8s.io;v=v1"
CALL_SECONDS = 60


@dataclasses.dataclass
class Call:
    """One write: who asked for it, and what was answered."""

    user: str
    method: str
    path: str
    audit_id: str
    began: float
    ended: float
    code: int
    body: dict
    dry: bool = False
    # It may have changed what is watched.
    touches: bool = True

    @property
    def stored(self):
        return self.code < 300 and not self.dry

    @property
    def metadata(self):
        body = self.body
        if body.get("kind") == "Table" and body.get("rows"):
            body = body["rows"][0]["object"]
        return body.get("metadata") or {}

    def objects(self):
        """Metadata of each object in the answer: of a collection's items, or of the one."""
        if self.body.get("kind") == "Table":
            return [row["object"]["metadata"] for row in self.body.get("rows") or []]
        if "items" in self.body:
            return [item["metadata"] for item in self.body["items"] or []]
        return [self.metadata]


class Driver:
    """Whoever writes. May be used by several threads at once."""

    def __init__(self, cluster: Cluster):
        self.cluster, self.webhook, self.relay = cluster, cluster.webhook, cluster.relay
        self.calls = []
        # Dry runs that an older GKE would not label (ids of calls); calls that no log could decide, which are left out.
        self.unlabelled, self.left_out = set(), set()
        # Objects (uids) of which the log does not tell for certain whether or when they ended.
        self.untold = set()
        # By uid and number: who stored it, where no answer says so.
        self.credited = {}
        self.namespaces_deleted = set()
        self.local = threading.local()

    # By raw HTTP.

    def call(
        self, user, method, path, body=None, *, content=None, accept=None, on_behalf_of=None, labelled=True, **query
    ):
        """Any call. `query` is its query; `on_behalf_of` a user that is impersonated."""
        audit_id = str(uuid.uuid4())
        headers = {"Authorization": f"Bearer {user}", "Audit-ID": audit_id, "User-Agent": f"tests-{user}/1.0"}
        headers["Content-Type"] = content or "application/json"
        headers["Accept"] = accept or "application/json"
        if on_behalf_of:
            headers["Impersonate-User"], headers["Impersonate-Group"] = (
                USERS[on_behalf_of][0],
                USERS[on_behalf_of][1][0],
            )
        dry = "dryRun" in query or (method == "DELETE" and bool((body or {}).get("dryRun")))
        if dry and not labelled:
            self.unlabelled.add(audit_id)
        text = None if body is None else json.dumps(body)
        began = time.monotonic()
        code, answer = self.send(method, path + ("?" + urlencode(query) if query else ""), text, headers)
        touches = (
            content == APPLY or method in ("POST", "PUT") or bool(re.search("[rR]eplicas|scaleTargetRef", text or ""))
        )
        call = Call(user, method, path, audit_id, began, time.monotonic(), code, answer, dry, touches)
        self.calls.append(call)
        return call

    def send(self, method, path, text, headers):
        """Over the connection of this thread."""
        if not hasattr(self.local, "connection"):
            self.local.connection = http.client.HTTPSConnection(
                "127.0.0.1", self.cluster.port, context=self.cluster.tls, timeout=CALL_SECONDS
            )
        self.local.connection.request(method, path, text, headers)
        response = self.local.connection.getresponse()
        body = response.read()
        return response.status, json.loads(body) if body.startswith(b"{") else {"text": body.decode(errors="replace")}

    def ok(self, *arguments, **more):
        call = self.call(*arguments, **more)
        assert call.code < 300, f"{call.method} {call.path} by {call.user}: {call.code} {call.body}"
        return call

    def fails(self, code, *arguments, **more):
        call = self.call(*arguments, **more)
        assert call.code == code, f"{call.method} {call.path} by {call.user}: {call.code}, not {code}: {call.body}"
        return call

    def get(self, path):
        return self.cluster.get(path)

    # By kubectl.

    def kubectl(self, user, *arguments, stdin=None, labelled=True, fails=False):
        """kubectl, as some user; its writes are read from what it tells at its highest verbosity."""
        command = [
            self.cluster.binaries / "kubectl",
            "--kubeconfig",
            self.cluster.kubeconfig(user),
            "-v=10",
            *arguments,
        ]
        began = time.monotonic()
        environment = os.environ | {"HOME": str(self.cluster.folder)}
        text = None if stdin is None else json.dumps(stdin)
        done = subprocess.run(command, input=text, capture_output=True, text=True, env=environment)
        assert bool(done.returncode) == fails, f"kubectl {arguments}: {done.returncode}\n{done.stderr[-3000:]}"
        calls = []
        for method, path, code, audit_id, body in re.findall(KUBECTL_CALL, done.stderr, re.DOTALL):
            dry = "dryRun" in path or "--dry-run=server" in arguments
            if dry and not labelled:
                self.unlabelled.add(audit_id)
            path = path.partition("?")[0]
            calls.append(Call(user, method, path, audit_id, began, time.monotonic(), int(code), json.loads(body), dry))
        self.calls += calls
        return calls

    # What there is to write.

    def namespace(self, name):
        self.cluster.post("/api/v1/namespaces", {"metadata": {"name": name}})
        return name

    def delete_namespace(self, name):
        self.namespaces_deleted.add(name)
        self.cluster.get(f"/api/v1/namespaces/{name}", method="DELETE")
        self.gone(f"/api/v1/namespaces/{name}")

    def gone(self, path):
        """Waits until an object is gone: for what a controller does."""
        wait_until(lambda: not self.there(path), f"{path} stays")

    def there(self, path):
        """An object, or None."""
        collection, _, name = path.rpartition("/")
        return next((item for item in self.get(collection)["items"] if item["metadata"]["name"] == name), None)

    def credit(self, uid, number, user):
        """The driver knows who stored this number, though no answer says it."""
        self.credited[uid, number] = user

    @contextlib.contextmanager
    def meanwhile(self, *calls):
        """Runs calls in threads of their own; at the end all have been answered."""
        with concurrent.futures.ThreadPoolExecutor() as threads:
            begun = [threads.submit(call) for call in calls]
            yield
            for call in begun:
                call.result()


# In kubectl's log: a call, the code of its answer, its Audit-Id (only writes are audited), and its body.
KUBECTL_CALL = (
    r"round_trippers\.go:\d+\] (POST|PUT|PATCH|DELETE) https://[^/]+(\S*) (\d+) [^\n]*\n"
    r"(?:(?!round_trippers\.go:\d+\] [A-Z]+ https)[^\n]*\n)*?[^\n]*Audit-Id: (\S+)\n"
    r"(?:(?!round_trippers\.go:\d+\] [A-Z]+ https)[^\n]*\n)*?[^\n]*Response Body: (\{[^\n]*\})"
)


def deployments(namespace, name=None):
    return "/".join([f"/apis/apps/v1/namespaces/{namespace}/deployments", *filter(None, [name])])


def autoscalers(namespace, name=None, version="v1"):
    return "/".join(
        [f"/apis/autoscaling/{version}/namespaces/{namespace}/horizontalpodautoscalers", *filter(None, [name])]
    )


def deployment(name, replicas=None, image="1", **metadata):
    """A Deployment's manifest."""
    container = {"name": "app", "image": f"registry.example.com/{name}:{image}"}
    template = {"metadata": {"labels": {"app": name}}, "spec": {"containers": [container]}}
    spec = {"selector": {"matchLabels": {"app": name}}, "template": template}
    if replicas is not None:
        spec["replicas"] = replicas
    return {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": name, **metadata}, "spec": spec}


def target(name, kind="Deployment", api_version="apps/v1"):
    reference = {"kind": kind, "name": name}
    return reference | ({"apiVersion": api_version} if api_version else {})


def autoscaler(name, of, maximum, minimum=None, version="v1", **metadata):
    """A HorizontalPodAutoscaler's manifest."""
    spec = {"scaleTargetRef": of if isinstance(of, dict) else target(of), "maxReplicas": maximum}
    if minimum is not None:
        spec["minReplicas"] = minimum
    return {
        "apiVersion": f"autoscaling/{version}",
        "kind": "HorizontalPodAutoscaler",
        "metadata": {"name": name, **metadata},
        "spec": spec,
    }


def scale(namespace, name, replicas, version=None):
    metadata = {"name": name, "namespace": namespace} | ({"resourceVersion": version} if version else {})
    return {"apiVersion": "autoscaling/v1", "kind": "Scale", "metadata": metadata, "spec": {"replicas": replicas}}
