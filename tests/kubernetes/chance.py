"""Random writes to a few objects by several threads: what is done, by whom and to what is drawn from the seed.

Numbers tell what they are: 0 to 9 are asked for by real writes, 11 to 19 by dry runs, 21 to 29 by calls that time
out. What no log could decide is not done: a dry run without a label lies between two writes of its object that
nothing else comes between (if the autoscaler did come between them, its entry is left out), and nothing is under way
when the entries' clock pauses (see `audit.PAUSE`), so that the pause parts no calls that overlapped.
"""

import contextlib
import random
import threading
import time

from cluster import USERS, wait_until
from drive import (
    APPLY,
    JSON_PATCH,
    MERGE,
    METADATA_LIST,
    METADATA_ONLY,
    STRATEGIC,
    TABLE,
    Driver,
    autoscaler,
    autoscalers,
    deployment,
    deployments,
    scale,
    target,
)

NS = "chance"
THREADS = 3
DEPLOYMENTS = ["red", "green", "blue", "amber"]
AUTOSCALERS = ["north", "south"]
PEOPLE = ["alice", "carol", "pipeline", "argocd"]
# Nobody else's calls are held.
LATE = "dora"
# Until controllers have finished what they had begun.
SETTLE_SECONDS = 0.3


def run(d: Driver, writes, seed):
    d.namespace(NS)
    end, lock, late = len(d.calls) + writes, Lock(), threading.Lock()
    writers = [Writer(d, random.Random(f"{seed}/{number}"), lock, late) for number in range(THREADS)]
    with d.meanwhile(*(lambda writer=writer: writer.work_until(end) for writer in writers)):
        pass
    collected = lambda it: not {"foregroundDeletion", "orphan"} & set(it["metadata"].get("finalizers") or [])
    wait_until(lambda: all(map(collected, d.get(deployments(NS))["items"])), "the garbage collector does not finish")
    for collection in (deployments(NS), autoscalers(NS)):
        for it in d.get(collection)["items"]:
            d.ok("alice", "PATCH", f"{collection}/{it['metadata']['name']}", note("the end"), content=MERGE)


class Lock:
    """Held by many at once, or by one alone."""

    def __init__(self):
        self.many, self.changed = 0, threading.Condition()

    @contextlib.contextmanager
    def shared(self):
        with self.changed:
            self.many += 1
        try:
            yield
        finally:
            with self.changed:
                self.many -= 1
                self.changed.notify_all()

    @contextlib.contextmanager
    def alone(self):
        with self.changed:
            self.changed.wait_for(lambda: self.many == 0)
            yield


def note(value):
    return {"metadata": {"annotations": {"example.com/note": value}}}


class Writer:
    def __init__(self, d: Driver, chance: random.Random, lock: Lock, late: threading.Lock):
        self.d, self.chance, self.lock, self.late = d, chance, lock, late
        # What its last call did not find.
        self.missing = None
        self.deployment_writes = weighted([
            (6, self.create), (10, self.patch), (5, self.put), (4, self.apply), (10, self.scale), (6, self.touch),
            (4, self.change_nothing), (5, self.fail), (8, self.delete), (3, self.hold), (5, self.release),
            (5, self.dry_run), (6, self.unlabelled_dry_run), (3, self.dry_delete), (1, self.collect),
            (1, self.time_out),
        ])  # fmt: skip
        self.autoscaler_writes = weighted([
            (6, self.create_autoscaler), (8, self.change_range), (4, self.turn), (3, self.put_autoscaler),
            (2, self.touch), (2, self.change_nothing), (3, self.delete), (1, self.time_out),
            (2, self.dry_run_of_autoscaler), (2, self.dry_delete),
        ])  # fmt: skip

    def work_until(self, calls):
        while len(self.d.calls) < calls:
            if self.missing and self.chance.random() < 0.6:
                of = self.create if "/deployments/" in self.missing else self.create_autoscaler
                of(self.missing)
            elif self.chance.random() < 0.75:
                name = self.chance.choice(DEPLOYMENTS)
                self.chance.choice(self.deployment_writes)(deployments(NS, name))
            else:
                version, name = self.chance.choice(["v1", "v2beta2"]), self.chance.choice(AUTOSCALERS)
                self.chance.choice(self.autoscaler_writes)(autoscalers(NS, name, version))

    # Drawn.

    def who(self):
        return self.chance.choice(PEOPLE)

    def number(self):
        return self.chance.randrange(10)

    def tag(self):
        return f"{self.chance.randrange(1 << 32):x}"

    def finalizers(self):
        return {"finalizers": ["example.com/held"]} if self.chance.random() < 0.2 else {}

    # Whatever its answer is, it is one that an API server gives.

    def call(self, method, path, body=None, user=None, **more):
        call = self.d.call(user or self.who(), method, path, body, **more)
        self.missing = path.removesuffix("/scale") if call.code == 404 else None
        return call

    def patch_with(self, path, body, content=MERGE, **more):
        return self.call("PATCH", path, body, content=content, **more)

    def shared(self, *arguments, **more):
        with self.lock.shared():
            return self.call(*arguments, **more)

    # Writes of Deployments.

    def create(self, path):
        name = name_of(path)
        body = deployment(name, self.chance.choice([None, self.number()]), labels={"any": "one"}, **self.finalizers())
        if self.chance.random() < 0.3:
            self.shared("PATCH", path, body, content=APPLY, fieldManager="tests", force="true")
        else:
            self.shared("POST", collection_of(path), body)

    def patch(self, path):
        number = self.number()
        content = self.chance.choice([MERGE, STRATEGIC, JSON_PATCH])
        steps = [{"op": self.chance.choice(["replace", "add"]), "path": "/spec/replicas", "value": number}]
        self.shared("PATCH", path, steps if content == JSON_PATCH else {"spec": {"replicas": number}}, content=content)

    def put(self, path):
        """Of what was read, with its version or without: a conflict, or what others wrote is overwritten."""
        body = self.read(path)
        if body:
            body["spec"]["replicas"] = self.number()
            if self.chance.random() < 0.5:
                del body["metadata"]["resourceVersion"]
            time.sleep(self.chance.random() * 0.01)
            self.shared("PUT", path, body)

    def apply(self, path):
        body = deployment(name_of(path), self.number(), self.tag())
        self.shared("PATCH", path, body, content=APPLY, fieldManager="tests", force="true")

    def scale(self, path):
        user = self.chance.choice([*PEOPLE, "autoscaler"])
        if self.chance.random() < 0.5:
            self.shared("PUT", f"{path}/scale", scale(NS, name_of(path), self.number()), user)
        else:
            self.shared("PATCH", f"{path}/scale", {"spec": {"replicas": self.number()}}, user, content=MERGE)

    def touch(self, path):
        accept = self.chance.choice([None, None, METADATA_ONLY, TABLE])
        self.shared("PATCH", path, note(self.tag()), "metadata" if accept else None, content=MERGE, accept=accept)

    def change_nothing(self, path):
        accept = self.chance.choice([None, METADATA_ONLY])
        self.shared("PATCH", path, {}, content=MERGE, accept=accept)

    def fail(self, path):
        body, user = self.chance.choice([({"spec": {"replicas": 9}}, "bob"), ({"spec": {"replicas": -1}}, None)])
        self.shared("PATCH", path, body, user, content=MERGE)

    def time_out(self, path):
        if self.late.acquire(blocking=False):
            field = "replicas" if "/deployments/" in path else "maxReplicas"
            body = {"spec": {field: self.chance.randrange(21, 30)}}
            with self.late_released(), self.d.webhook.holding(user=USERS[LATE][0]):
                self.shared("PATCH", path, body, LATE, content=MERGE, timeout="2s")

    @contextlib.contextmanager
    def late_released(self):
        try:
            yield
        finally:
            self.late.release()

    # Dry runs.

    def a_dry_run(self, path, **more):
        number, name = self.chance.randrange(11, 20), name_of(path)
        more["dryRun"] = "All"
        body = {"spec": {"replicas": number}}
        managed = {"content": APPLY, "fieldManager": "other", "force": "true"}
        return self.chance.choice([
            lambda: self.patch_with(path, body, self.chance.choice([MERGE, STRATEGIC]), **more),
            lambda: self.call("PATCH", path, deployment(name, number), **managed, **more),
            lambda: self.patch_with(f"{path}/scale", body, **more),
            lambda: self.call("PUT", f"{path}/scale", scale(NS, name, number), **more),
            lambda: self.call("POST", collection_of(path), deployment(f"{name}-never", number), **more),
        ])()  # fmt: skip

    def dry_run(self, path):
        with self.lock.shared():
            self.a_dry_run(path)

    def unlabelled_dry_run(self, path):
        with self.lock.alone():
            before = self.patch_with(path, note(self.tag()))
            call = self.a_dry_run(path, labelled=False)
            after = self.patch_with(path, note(self.tag()))
            if "generation" not in after.metadata or after.metadata["generation"] != before.metadata["generation"] + 1:
                self.d.left_out.add(call.audit_id)

    def dry_delete(self, path):
        """Said in its options, or in its query, with a label or without."""
        labelled = self.chance.random() < 0.5
        if labelled or self.chance.random() < 0.5:
            more = (
                self.chance.choice([{"dryRun": "All"}, {"body": {"dryRun": ["All"]}}])
                if labelled
                else {"body": {"dryRun": ["All"]}}
            )
            self.shared("DELETE", path, labelled=labelled, **more)
        else:
            with self.lock.alone():
                time.sleep(SETTLE_SECONDS)
                call = self.call("DELETE", path, labelled=False, dryRun="All")
                if self.patch_with(path, note(self.tag())).code >= 300:
                    self.d.left_out.add(call.audit_id)

    # Ends.

    def delete(self, path):
        policy = self.chance.choice([None, "Background", "Foreground", "Orphan"])
        self.shared("DELETE", path, {"propagationPolicy": policy} if policy else None)

    def hold(self, path):
        self.shared("PATCH", path, {"metadata": {"finalizers": ["example.com/held"]}}, content=MERGE)

    def release(self, path):
        accept = self.chance.choice([None, METADATA_ONLY, TABLE])
        body = {"metadata": {"finalizers": None}}
        if not accept and self.chance.random() < 0.3:
            body["spec"] = {"replicas": self.number()}
        self.shared("PATCH", path, body, "metadata" if accept else None, content=MERGE, accept=accept)

    def collect(self, path):
        """Alone: it deletes by name what it listed before, a successor too."""
        with self.lock.alone():
            accept = self.chance.choice([None, METADATA_LIST, TABLE])
            self.call("DELETE", collection_of(path), accept=accept, labelSelector="any=one")

    # Autoscalers.

    def aim(self):
        name = self.chance.choice(DEPLOYMENTS)
        return self.chance.choice([target(name)] * 4 + [target(name, "StatefulSet"), target(name, api_version=None)])

    def create_autoscaler(self, path):
        version = path.split("/")[3]
        minimum = self.chance.choice([None, 1, 2, 3])
        body = autoscaler(name_of(path), self.aim(), self.chance.randrange(3, 10), minimum, version)
        self.shared("POST", collection_of(path), body)

    def change_range(self, path):
        spec = self.chance.choice(
            [{"maxReplicas": self.chance.randrange(1, 10)}, {"minReplicas": self.chance.randrange(1, 6)}]
        )
        self.shared("PATCH", path, {"spec": spec}, content=MERGE)

    def turn(self, path):
        self.shared(
            "PATCH", path, [{"op": "replace", "path": "/spec/scaleTargetRef", "value": self.aim()}], content=JSON_PATCH
        )

    def put_autoscaler(self, path):
        body = self.read(path)
        if body:
            body["spec"] |= {"maxReplicas": self.chance.randrange(6, 10), "scaleTargetRef": self.aim()}
            del body["metadata"]["resourceVersion"]
            self.shared("PUT", path, body)

    def dry_run_of_autoscaler(self, path):
        """Without a generation it can only be told by a version that it shares with a write that was logged."""
        labelled = self.chance.random() < 0.5
        with self.lock.alone():
            before = self.patch_with(path, note(self.tag()))
            call = self.patch_with(
                path, {"spec": {"maxReplicas": self.chance.randrange(11, 20)}}, labelled=labelled, dryRun="All"
            )
            if not labelled and call.metadata.get("resourceVersion") != before.metadata.get("resourceVersion"):
                self.d.left_out.add(call.audit_id)
            self.patch_with(path, note(self.tag()))

    def read(self, path):
        collection, name = collection_of(path), name_of(path)
        return next((it for it in self.items(collection) if it["metadata"]["name"] == name), None)

    def items(self, collection):
        listed = self.d.get(collection)
        # Items of a list do not say what they are.
        return [
            it | {"apiVersion": listed["apiVersion"], "kind": listed["kind"].removesuffix("List")}
            for it in listed["items"]
        ]


def weighted(choices):
    return [choice for weight, choice in choices for _ in range(weight)]


def name_of(path):
    return path.rpartition("/")[2]


def collection_of(path):
    return path.rpartition("/")[0]
