"""Every kind of write to a Deployment or an autoscaler, one after another: what the API server makes of each is the
truth.

A scenario is a function; it works in the namespace `shop` or in one of its own, on objects that bear its name. Where
the order of two calls matters, the webhook holds one of them (no scenario hopes for a race).
"""

import concurrent.futures

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

NS = "shop"
HELD = ["example.com/held"]
# Calls that are to time out say how long they wait.
SHORT = "2s"

SCENARIOS = []


def scenario(function):
    SCENARIOS.append(function)
    return function


def run(d: Driver, only=None):
    d.namespace(NS)
    for function in SCENARIOS:
        if not only or function.__name__ in only:
            try:
                function(d)
            except BaseException as error:
                error.add_note(f"in scenario {function.__name__}")
                raise


def made(d, name, replicas, user="pipeline", namespace=NS, **metadata):
    """A new Deployment: its path and uid."""
    call = d.ok(user, "POST", deployments(namespace), deployment(name, replicas, **metadata))
    return deployments(namespace, name), call.metadata["uid"]


def merge(d, user, path, body, **more):
    return d.ok(user, "PATCH", path, body, content=MERGE, **more)


def replicas(number):
    return {"spec": {"replicas": number}}


def annotated(value):
    return {"metadata": {"annotations": {"example.com/note": value}}}


def image(d, user, path, tag):
    """A write that leaves the number alone."""
    name = path.rpartition("/")[2]
    containers = [{"name": "app", "image": f"registry.example.com/{name}:{tag}"}]
    body = {"spec": {"template": {"spec": {"containers": containers}}}}
    return d.ok(user, "PATCH", path, body, content=STRATEGIC)


def put(d, user, path, number, **more):
    """A read and a PUT of what was read, with another number."""
    body = read(d, path)
    body["spec"]["replicas"] = number
    return d.ok(user, "PUT", path, body, **more)


def read(d, path):
    """An object without its version, which a controller may change at any time."""
    body = d.get(path)
    del body["metadata"]["resourceVersion"]
    return body


# Writes that are stored.


@scenario
def created_in_every_way(d):
    d.kubectl("pipeline", "apply", "-n", NS, "-f", "-", stdin=deployment("by-apply", 3))
    d.kubectl("alice", "create", "-n", NS, "-f", "-", stdin=deployment("by-create", 4))
    d.kubectl("argocd", "apply", "--server-side", "-n", NS, "-f", "-", stdin=deployment("by-server-side", 5))
    d.ok("carol", "POST", deployments(NS), deployment("by-post"))
    body = deployment("by-put-not-possible", 2)
    d.fails(404, "carol", "PUT", deployments(NS, "by-put-not-possible"), body)
    body["metadata"] = {"generateName": "by-generated-name-"}
    d.ok("carol", "POST", deployments(NS), body)
    merge(d, "alice", deployments(NS, "by-apply"), replicas(6))
    merge(d, "alice", deployments(NS, "by-server-side"), replicas(7))


@scenario
def patched_and_put(d):
    path, _ = made(d, "patched", 2)
    merge(d, "alice", path, replicas(3))
    d.ok("carol", "PATCH", path, replicas(4), content=STRATEGIC)
    d.ok("alice", "PATCH", path, [{"op": "replace", "path": "/spec/replicas", "value": 5}], content=JSON_PATCH)
    steps = [{"op": "test", "path": "/spec/replicas", "value": 5}, {"op": "remove", "path": "/spec/replicas"}]
    d.ok("carol", "PATCH", path, steps, content=JSON_PATCH)
    put(d, "argocd", path, 6)
    d.kubectl(
        "alice",
        "patch",
        "deployment/patched",
        "-n",
        NS,
        "--type=json",
        "-p",
        '[{"op":"add","path":"/spec/replicas","value":7}]',
    )
    merge(d, "alice", path, replicas(None))
    image(d, "pipeline", path, "2")
    image(d, "pipeline", path, "3")
    put(d, "carol", path, 8)


@scenario
def applied(d):
    for number, user in [(2, "pipeline"), (3, "pipeline"), (3, "alice"), (5, "alice")]:
        d.kubectl(user, "apply", "-n", NS, "-f", "-", stdin=deployment("applied", number))
    path = deployments(NS, "applied")
    d.fails(409, "argocd", "PATCH", path, deployment("applied", 6), content=APPLY, fieldManager="argocd")
    d.ok("argocd", "PATCH", path, deployment("applied", 6), content=APPLY, fieldManager="argocd", force="true")
    d.ok("argocd", "PATCH", path, deployment("applied", 6), content=APPLY, fieldManager="argocd", force="true")
    # It no longer names the number, which nobody else owns since it was forced: it falls back to 1.
    d.ok("argocd", "PATCH", path, deployment("applied"), content=APPLY, fieldManager="argocd", force="true")
    merge(d, "carol", path, replicas(4))


@scenario
def number_shared(d):
    """Of two appliers who own the number one gives it up: it stays."""
    path = deployments(NS, "shared")
    for manager in ("argocd", "carol"):
        d.ok(manager, "PATCH", path, deployment("shared", 6), content=APPLY, fieldManager=manager)
    d.ok("argocd", "PATCH", path, deployment("shared"), content=APPLY, fieldManager="argocd")
    d.ok("carol", "PATCH", path, deployment("shared", 7), content=APPLY, fieldManager="carol")


@scenario
def scaled(d):
    path, _ = made(d, "scaled", 2)
    d.kubectl("alice", "scale", "deployment/scaled", "-n", NS, "--replicas=3")
    d.kubectl("carol", "scale", "deployment/scaled", "-n", NS, "--current-replicas=3", "--replicas=4")
    d.kubectl("carol", "scale", "deployment/scaled", "-n", NS, "--current-replicas=9", "--replicas=5", fails=True)
    d.kubectl("alice", "scale", "deployment/scaled", "-n", NS, "--replicas=0")
    image(d, "pipeline", path, "2")
    d.ok("autoscaler", "PUT", f"{path}/scale", scale(NS, "scaled", 5))
    d.ok("autoscaler", "PUT", f"{path}/scale", scale(NS, "scaled", 6))
    d.ok(
        "alice", "PATCH", f"{path}/scale", [{"op": "replace", "path": "/spec/replicas", "value": 7}], content=JSON_PATCH
    )
    merge(d, "alice", f"{path}/scale", replicas(None))
    d.ok("autoscaler", "PUT", f"{path}/scale", scale(NS, "scaled", 8))
    d.ok("carol", "PUT", f"{path}/scale", scale(NS, "scaled", 0))
    image(d, "pipeline", path, "3")


@scenario
def nothing_changed(d):
    path, _ = made(d, "idle", 4)
    d.kubectl("alice", "apply", "-n", NS, "-f", "-", stdin=deployment("idle", 4))
    for _ in range(2):
        d.kubectl("alice", "apply", "-n", NS, "-f", "-", stdin=deployment("idle", 4))
        merge(d, "carol", path, {})
        merge(d, "carol", path, replicas(4))
        put(d, "argocd", path, 4)
        d.ok("alice", "PATCH", f"{path}/scale", replicas(4), content=MERGE)
        d.ok("autoscaler", "PUT", f"{path}/scale", scale(NS, "idle", 4))
        d.ok("argocd", "PATCH", path, deployment("idle", 4), content=APPLY, fieldManager="argocd", force="true")
    merge(d, "alice", path, replicas(5))
    put(d, "carol", path, 5)


@scenario
def lowered_by_a_webhook(d):
    path, _ = made(d, "lowered", 2)
    with d.webhook.setting_replicas(3, name="lowered"):
        merge(d, "alice", path, replicas(9))
        put(d, "carol", path, 8)
    with d.webhook.setting_replicas(2, name="lowered-too"):
        made(d, "lowered-too", 9)


@scenario
def metadata_only(d):
    """A metadata client is answered without the number, but with the generation."""
    path, _ = made(d, "labelled", 2)
    merge(d, "metadata", path, annotated("a"), accept=METADATA_ONLY)
    merge(d, "metadata", path, annotated("b"), accept=METADATA_ONLY)
    image(d, "alice", path, "2")
    merge(d, "carol", path, {"metadata": {"labels": {"tier": "web"}}})
    merge(d, "metadata", path, annotated("c"), accept=TABLE)
    merge(d, "metadata", path, annotated("c"), accept=METADATA_ONLY)
    merge(d, "metadata", path, {}, accept=METADATA_ONLY)
    merge(d, "alice", path, replicas(3))
    d.kubectl("carol", "annotate", "deployment/labelled", "-n", NS, "example.com/note=d", "--overwrite")
    d.kubectl("alice", "set", "image", "deployment/labelled", "-n", NS, "app=registry.example.com/labelled:3")
    d.kubectl("alice", "rollout", "restart", "deployment/labelled", "-n", NS)


@scenario
def on_behalf(d):
    path, _ = made(d, "behalf", 2)
    merge(d, "proxy", path, replicas(3), on_behalf_of="alice")
    d.fails(403, "proxy", "PATCH", path, replicas(4), content=MERGE, on_behalf_of="bob")


# Writes that are not stored, or only seem to be.


@scenario
def failed(d):
    path, _ = made(d, "failing", 2)
    stale = d.get(path)
    merge(d, "alice", path, replicas(3))
    d.fails(409, "carol", "PUT", path, stale | replicas_of(stale, 9))
    d.fails(403, "bob", "PATCH", path, replicas(9), content=MERGE)
    d.fails(403, "bob", "DELETE", path)
    d.fails(422, "carol", "PATCH", path, replicas(-1), content=MERGE)
    d.fails(422, "carol", "PATCH", path, [{"op": "test", "path": "/spec/replicas", "value": 8}], content=JSON_PATCH)
    d.fails(409, "carol", "POST", deployments(NS), deployment("failing", 9))
    d.fails(404, "carol", "DELETE", deployments(NS, "never-there"))
    d.fails(409, "carol", "DELETE", path, {"preconditions": {"uid": "00000000-0000-4000-8000-000000000000"}})
    d.fails(401, "nobody", "PATCH", path, replicas(9), content=MERGE)
    with d.webhook.denying("more than the platform allows", name="failing"):
        d.fails(403, "carol", "PATCH", f"{path}/scale", replicas(9), content=MERGE)
        d.fails(403, "carol", "DELETE", path)
    merge(d, "alice", path, replicas(4))


def replicas_of(body, number):
    return {"spec": body["spec"] | {"replicas": number}}


@scenario
def denied_by_quota(d):
    d.namespace("quota")
    quota = {"metadata": {"name": "one"}, "spec": {"hard": {"count/deployments.apps": "1"}}}
    d.cluster.post("/api/v1/namespaces/quota/resourcequotas", quota)
    known = lambda: d.get("/api/v1/namespaces/quota/resourcequotas/one").get("status", {}).get("hard")
    wait_until(known, "the quota is not known")
    made(d, "first", 3, namespace="quota")
    d.fails(403, "alice", "POST", deployments("quota"), deployment("second", 3))


@scenario
def dry_runs_with_a_label(d):
    path, _ = made(d, "dry", 2)
    every_dry_run(d, path, labelled=True)


@scenario
def dry_runs_without_a_label(d):
    """Each is decided by the write behind it."""
    path, _ = made(d, "unlabelled", 2)
    every_dry_run(d, path, labelled=False)


def every_dry_run(d, path, labelled):
    forced = {"content": APPLY, "fieldManager": "other", "force": "true"}
    name = path.rpartition("/")[2]
    dry = {"labelled": labelled, "dryRun": "All"}
    d.ok("argocd", "POST", deployments(NS), deployment(f"{name}-never", 11), **dry)
    never = deployments(NS, f"{name}-server-side-never")
    d.ok(
        "argocd",
        "PATCH",
        never,
        deployment(f"{name}-server-side-never", 11),
        content=APPLY,
        fieldManager="argocd",
        **dry,
    )
    for number, attempt in enumerate([
        lambda: put(d, "argocd", path, 11, **dry),
        lambda: merge(d, "argocd", path, replicas(12), **dry),
        lambda: d.ok("argocd", "PATCH", path, replicas(13), content=STRATEGIC, **dry),
        lambda: d.ok("argocd", "PATCH", path, deployment(name, 14), **forced, **dry),
        lambda: merge(d, "carol", f"{path}/scale", replicas(15), **dry),
        lambda: d.ok("carol", "PUT", f"{path}/scale", scale(NS, name, 16), **dry),
        lambda: d.ok("carol", "DELETE", path, {"dryRun": ["All"]}, labelled=labelled),
        lambda: d.ok("carol", "DELETE", path, **dry),
        lambda: d.ok("carol", "DELETE", deployments(NS), labelSelector=f"mine={name}", **dry),
    ]):  # fmt: skip
        merge(
            d,
            "alice",
            path,
            {"metadata": {"labels": {"mine": name}, "annotations": {"example.com/before": f"{number}"}}},
        )
        attempt()
        image(d, "pipeline", path, f"{number}")
    d.kubectl("alice", "scale", f"deployment/{name}", "-n", NS, "--replicas=17", "--dry-run=server", labelled=labelled)
    merge(d, "alice", path, replicas(3))


@scenario
def dry_runs_of_autoscalers(d):
    """An autoscaler shows no generation: without a label, its dry run must follow a write that was logged."""
    for labelled, name in [(True, "dry"), (False, "unlabelled")]:
        path = autoscalers(NS, name)
        dry = {"labelled": labelled, "dryRun": "All"}
        d.ok("argocd", "POST", autoscalers(NS), autoscaler(f"{name}-never", "anything", 19), **dry)
        d.ok("alice", "POST", autoscalers(NS), autoscaler(name, f"nothing-of-{name}", 4))
        # The controller writes a status once, which says that there is no such target.
        wait_until(lambda: "conditions" in str(d.get(path)), "the autoscaler's controller does nothing")
        for number in (5, 6):
            before = merge(d, "alice", path, {"spec": {"maxReplicas": number}})
            call = merge(d, "argocd", path, {"spec": {"maxReplicas": number + 10}}, **dry)
            if not labelled and call.metadata["resourceVersion"] != before.metadata["resourceVersion"]:
                d.left_out.add(call.audit_id)
        d.ok("carol", "DELETE", path, {"dryRun": ["All"]}, labelled=labelled)
        d.ok("carol", "DELETE", path, **dry)
        merge(d, "alice", path, annotated("still there"))


@scenario
def one_version_two_answers(d):
    """A patch of a label is received first, and finds it stored by another, with a number: it changes nothing."""
    path, _ = made(d, "twice", 2)
    label = {"metadata": {"labels": {"tier": "web"}}}
    late = lambda: merge(d, "carol", path, label)
    with d.webhook.holding(name="twice", user=USERS["carol"][0]) as hold, d.meanwhile(late):
        hold.arrived()
        merge(d, "pipeline", path, label | replicas(5))
        hold.release()


@scenario
def overtaken(d):
    """A patch to 8 is received before a scale to 4, and stored after it."""
    path, _ = made(d, "overtaken", 2)
    with d.webhook.holding(name="overtaken", user=USERS["carol"][0]) as hold:
        with d.meanwhile(lambda: merge(d, "carol", path, replicas(8))):
            hold.arrived()
            merge(d, "alice", f"{path}/scale", replicas(4))
            hold.release()


# Calls that time out.


@scenario
def timed_out_and_not_stored(d):
    path, uid = made(d, "slow", 2)
    d.untold.add(uid)
    merge(d, "alice", path, replicas(3))
    for method, more in [("PATCH", ""), ("PATCH", "/scale"), ("DELETE", "")]:
        with d.webhook.holding(name="slow", user=USERS["carol"][0]):
            body, content = (None, None) if method == "DELETE" else (replicas(21), MERGE)
            call = d.call("carol", method, path + more, body, content=content, timeout=SHORT)
            assert call.code >= 500, f"not timed out: {call}"
        image(d, "pipeline", path, f"{method}{more}".replace("/", "-"))
    with d.webhook.holding(name="slow-never"):
        call = d.call("carol", "POST", deployments(NS), deployment("slow-never", 22), timeout=SHORT)
        assert call.code >= 500, f"not timed out: {call}"


@scenario
def timed_out_and_stored(d):
    """The relay keeps etcd's answers back: what is stored is not known to the API server in time."""
    path, uid = made(d, "lost-answer", 2)
    for number, more in [(6, ""), (7, "/scale")]:
        d.credit(uid, number, "carol")
        stored = lambda number=number: d.there(path)["spec"]["replicas"] == number
        lost(d, stored, "lost-answer", "carol", "PATCH", path + more, replicas(number), content=MERGE)
        image(d, "pipeline", path, f"{number}")
        merge(d, "alice", path, replicas(3))
    path = deployments(NS, "lost-create")
    body = deployment("lost-create", 5)
    lost(d, lambda: d.there(path), "lost-create", "pipeline", "POST", deployments(NS), body)
    d.credit(d.there(path)["metadata"]["uid"], 5, "pipeline")
    merge(d, "alice", path, {"metadata": {"labels": {"tier": "web"}}})


@scenario
def timed_out_for_an_autoscaler(d):
    path = autoscalers(NS, "lost-range")
    uid = d.ok("pipeline", "POST", autoscalers(NS), autoscaler("lost-range", "nothing", 4)).metadata["uid"]
    with d.webhook.holding(name="lost-range", user=USERS["carol"][0]):
        d.call("carol", "PATCH", path, {"spec": {"maxReplicas": 21}}, content=MERGE, timeout=SHORT)
    merge(d, "alice", path, annotated("as it was"))
    d.credit(uid, 7, "carol")
    stored = lambda: d.there(path)["spec"]["maxReplicas"] == 7
    lost(d, stored, "lost-range", "carol", "PATCH", path, {"spec": {"maxReplicas": 7}}, content=MERGE)
    merge(d, "alice", path, annotated("as it is"))


@scenario
def timed_out_delete_that_was_stored(d):
    path, uid = made(d, "lost-delete", 4)
    d.untold.add(uid)
    lost(d, lambda: not d.there(path), "lost-delete", "carol", "DELETE", path)
    made(d, "lost-delete", 3)


def lost(d, stored, name, *call, **more):
    """A call whose answer is lost between etcd and the API server, once it has read what it needs. A controller's write
    in between makes it read again: then it is not stored, and made once more."""
    for _ in range(5):
        with (
            d.webhook.holding(name=name, user=USERS[call[0]][0]) as hold,
            concurrent.futures.ThreadPoolExecutor() as pool,
        ):
            begun = pool.submit(lambda: d.call(*call, timeout=SHORT, **more))
            hold.arrived()
            with d.relay.holding_answers():
                hold.release()
                answer = begun.result()
        assert answer.code >= 500, f"not timed out: {answer}"
        if stored():
            return
    raise AssertionError(f"never stored: {call}")


# Ends.


@scenario
def deleted(d):
    path, _ = made(d, "deleted", 2)
    d.kubectl("alice", "delete", "deployment/deleted", "-n", NS)
    for number, policy in enumerate(["Background", "Foreground", "Orphan"], 3):
        path, _ = made(d, "deleted", number)
        d.ok("argocd", "DELETE", path, {"propagationPolicy": policy})
        d.gone(path)
    path, _ = made(d, "deleted", 6)
    d.ok("carol", "DELETE", path, propagationPolicy="Background")
    made(d, "deleted", 7, user="alice")


@scenario
def scaled_while_it_is_deleted(d):
    path, uid = made(d, "foreground", 3)
    # Its ReplicaSet is held, so that the garbage collector waits for it.
    sets = f"/apis/apps/v1/namespaces/{NS}/replicasets"
    mine = lambda: [it for it in d.get(sets)["items"] if it["metadata"]["ownerReferences"][0]["uid"] == uid]
    wait_until(mine, "there is no ReplicaSet")
    held = f"{sets}/{mine()[0]['metadata']['name']}"
    d.ok("admin", "PATCH", held, {"metadata": {"finalizers": HELD}}, content=MERGE)
    d.ok("argocd", "DELETE", path, {"propagationPolicy": "Foreground"})
    d.ok("autoscaler", "PUT", f"{path}/scale", scale(NS, "foreground", 5))
    d.ok("admin", "PATCH", held, {"metadata": {"finalizers": None}}, content=MERGE)
    d.gone(path)


@scenario
def held_and_released(d):
    """A finalizer holds it; the write that takes the last one away is the end, in each of its forms."""
    releases = {
        "put": lambda path: d.ok("argocd", "PUT", path, without_finalizers(read(d, path))),
        "merge": lambda path: merge(d, "argocd", path, {"metadata": {"finalizers": None}}),
        "json": lambda path: d.ok(
            "carol", "PATCH", path, [{"op": "remove", "path": "/metadata/finalizers"}], content=JSON_PATCH
        ),
        "edit": lambda path: merge(d, "carol", path, {"metadata": {"finalizers": None}} | replicas(9)),
        "metadata": lambda path: merge(d, "metadata", path, {"metadata": {"finalizers": None}}, accept=METADATA_ONLY),
        "table": lambda path: merge(d, "metadata", path, {"metadata": {"finalizers": None}}, accept=TABLE),
    }
    for name, release in releases.items():
        path, _ = made(d, f"held-{name}", 3, finalizers=HELD)
        d.ok("carol", "DELETE", path)
        image(d, "pipeline", path, "2")
        merge(d, "carol", f"{path}/scale", replicas(4))
        d.ok("alice", "DELETE", path)
        release(path)
        d.gone(path)


def without_finalizers(body):
    del body["metadata"]["finalizers"]
    return body


@scenario
def held_by_a_server_side_apply(d):
    path = deployments(NS, "held-apply")
    body = deployment("held-apply", 2, finalizers=HELD)
    d.ok("argocd", "PATCH", path, body, content=APPLY, fieldManager="argocd")
    d.ok("carol", "DELETE", path)
    d.ok("argocd", "PATCH", path, without_finalizers(body), content=APPLY, fieldManager="argocd")
    d.gone(path)


@scenario
def held_and_staying(d):
    path, _ = made(d, "held-still", 3, finalizers=HELD)
    d.ok("carol", "DELETE", path)
    merge(d, "alice", path, replicas(2))


@scenario
def held_twice_with_dry_runs(d):
    path, _ = made(d, "held-trap", 3, finalizers=HELD + ["example.com/too"])
    d.ok("carol", "DELETE", path)
    merge(d, "alice", path, {"metadata": {"finalizers": HELD}} | replicas(6))
    d.ok("alice", "DELETE", path, dryRun="All")
    merge(d, "alice", path, {"metadata": {"finalizers": None}}, dryRun="All")
    merge(d, "argocd", path, {"metadata": {"finalizers": None}})
    d.gone(path)


@scenario
def held_for_nothing(d):
    """A finalizer that comes and goes without a delete ends nothing."""
    path, _ = made(d, "held-alive", 3, finalizers=HELD)
    merge(d, "alice", path, {"metadata": {"finalizers": None}})
    merge(d, "alice", path, replicas(4))


@scenario
def delete_overtaken(d):
    """A delete is received before a scale and stored after it."""
    path, _ = made(d, "overtaken-end", 3)
    with d.webhook.holding(name="overtaken-end", operation="DELETE") as hold:
        with d.meanwhile(lambda: d.ok("alice", "DELETE", path)):
            hold.arrived()
            merge(d, "carol", f"{path}/scale", replicas(4))
            hold.release()


@scenario
def delete_that_hits_the_successor(d):
    """A delete waits while another deletes its object, and one of the same name is created."""
    path, _ = made(d, "successor", 3)
    with d.webhook.holding(name="successor", operation="DELETE", user=USERS["carol"][0]) as hold:
        with d.meanwhile(lambda: d.call("carol", "DELETE", path)):
            hold.arrived()
            d.ok("alice", "DELETE", path)
            made(d, "successor", 6)
            hold.release()


@scenario
def successor_received_early(d):
    """A create waits until its predecessor is gone."""
    path, _ = made(d, "early", 3)
    with (
        d.webhook.holding(name="early", operation="CREATE") as hold,
        d.meanwhile(lambda: made(d, "early", 5, "argocd")),
    ):
        hold.arrived()
        d.ok("alice", "DELETE", path)
        hold.release()


@scenario
def collected(d):
    """deletecollection: with a list, of nothing, as a Table, with every policy, with a finalizer among them."""
    path = deployments(d.namespace("batch"))
    d.ok("carol", "DELETE", path)
    policies = [(policy, None) for policy in ("Background", "Foreground", "Orphan", None)]
    for policy, accept in [*policies, (None, TABLE), (None, METADATA_LIST)]:
        made(d, "one", 2, namespace="batch")
        made(d, "two", 3, namespace="batch", finalizers=HELD)
        d.ok("alice", "DELETE", path, {"propagationPolicy": policy} if policy else None, accept=accept)
        d.gone(f"{path}/one")
        merge(d, "alice", f"{path}/two/scale", replicas(4))
        merge(d, "metadata", f"{path}/two", {"metadata": {"finalizers": None}}, accept=METADATA_ONLY)
        d.gone(f"{path}/two")
    for name in ("one", "three"):
        made(d, name, 2, namespace="batch", labels={"group": name})
    d.ok("alice", "DELETE", path, labelSelector="group=one")


@scenario
def collected_while_it_is_written(d):
    """Written between the list of a deletecollection and the deletion, which a finalizer holds: that takes a
    generation, and no answer shows it."""
    path, _ = made(d, "two", 3, namespace="batch", finalizers=HELD, labels={"group": "written"})
    collect = lambda: d.ok("alice", "DELETE", deployments("batch"), labelSelector="group=written")
    # A webhook is not told the name of what a deletecollection deletes.
    with d.webhook.holding(namespace="batch", operation="DELETE") as hold, d.meanwhile(collect):
        hold.arrived()
        image(d, "pipeline", path, "2")
        hold.release()
    merge(d, "carol", f"{path}/scale", replicas(4))
    image(d, "pipeline", path, "3")
    merge(d, "carol", path, {"metadata": {"finalizers": None}})
    d.gone(path)


@scenario
def collected_and_truncated(d):
    """The answer is too large for the audit log: what is gone is not told, until the namespace goes too."""
    path = deployments(d.namespace("large"))
    padding = {"example.com/padding": "x" * 40_000}
    uids = [made(d, f"large-{index}", 2, namespace="large", annotations=padding)[1] for index in range(3)]
    d.untold.update(uids)
    d.ok("alice", "DELETE", path)
    d.delete_namespace("large")


@scenario
def collected_though_it_failed(d):
    """The answer is refused when all is done; nobody is told what is gone, until the namespace goes too."""
    path = deployments(d.namespace("refused"))
    d.untold.update(made(d, name, 2, namespace="refused")[1] for name in ("one", "two"))
    d.fails(406, "alice", "DELETE", path, accept=METADATA_ONLY)
    d.gone(f"{path}/one")
    d.delete_namespace("refused")


@scenario
def namespace_deleted(d):
    d.namespace("brief")
    d.kubectl("pipeline", "apply", "-n", "brief", "-f", "-", stdin=deployment("web", 3))
    d.ok("pipeline", "POST", autoscalers("brief"), autoscaler("web", "web", 6, 2))
    held, _ = made(d, "held", 4, namespace="brief", finalizers=HELD)
    merge(d, "alice", deployments("brief", "web"), replicas(5))
    with d.meanwhile(lambda: d.delete_namespace("brief")):
        d.gone(deployments("brief", "web"))
        merge(d, "alice", held, {"metadata": {"finalizers": None}})


@scenario
def collected_as_garbage(d):
    maps = f"/api/v1/namespaces/{NS}/configmaps"
    owner = d.cluster.post(maps, {"metadata": {"name": "owner"}})["metadata"]["uid"]
    reference = {"apiVersion": "v1", "kind": "ConfigMap", "name": "owner", "uid": owner}
    path, _ = made(d, "owned", 3, ownerReferences=[reference])
    merge(d, "alice", path, replicas(4))
    d.cluster.get(f"{maps}/owner", method="DELETE")
    d.gone(path)


# Autoscalers.


@scenario
def autoscalers_change(d):
    made(d, "scaled-by-v1", 3)
    made(d, "scaled-by-v2", 3)
    for version, name in [("v1", "scaled-by-v1"), ("v2beta2", "scaled-by-v2")]:
        path = autoscalers(NS, name, version)
        d.ok("pipeline", "POST", autoscalers(NS, version=version), autoscaler(name, name, 6, 2, version))
        merge(d, "alice", path, {"spec": {"maxReplicas": 9}})
        d.ok("carol", "PATCH", path, {"spec": {"minReplicas": 3}}, content=MERGE)
        body = read(d, path)
        body["spec"] |= {"maxReplicas": 8, "minReplicas": 1}
        d.ok("argocd", "PUT", path, body)
        merge(d, "alice", path, {"spec": {"maxReplicas": 8}})
        merge(d, "alice", path, annotated("nothing"))
        d.ok("alice", "PATCH", path, [{"op": "replace", "path": "/spec/maxReplicas", "value": 7}], content=JSON_PATCH)
        d.fails(403, "bob", "PATCH", path, {"spec": {"maxReplicas": 20}}, content=MERGE)
        d.fails(422, "alice", "PATCH", path, {"spec": {"maxReplicas": 0}}, content=MERGE)
    d.kubectl("carol", "autoscale", "deployment/by-create", "-n", NS, "--min=2", "--max=5")
    d.kubectl("argocd", "apply", "--server-side", "-n", NS, "-f", "-", stdin=autoscaler("applied", "by-post", 4))
    d.ok("alice", "DELETE", autoscalers(NS, "scaled-by-v2"))


@scenario
def autoscalers_turn(d):
    """From one Deployment to another, to a StatefulSet and back, to a reference that finds nothing, and back."""
    for name in ("left", "right"):
        made(d, name, 2)
    path = autoscalers(NS, "turning")
    d.ok("pipeline", "POST", autoscalers(NS), autoscaler("turning", "left", 5))
    aims = [
        target("right"),
        target("db", "StatefulSet"),
        target("left"),
        target("left", api_version=None),
        target("right"),
    ]
    for aim in aims:
        body = read(d, path)
        body["spec"]["scaleTargetRef"] = aim
        d.ok("alice", "PUT", path, body)
    merge(d, "carol", path, {"spec": {"maxReplicas": 6}})
    d.ok("carol", "DELETE", path)
    d.ok("alice", "POST", autoscalers(NS), autoscaler("never-ours", target("db", "StatefulSet"), 9))
    d.ok("alice", "DELETE", autoscalers(NS, "never-ours"))
    d.ok("alice", "POST", autoscalers(NS), autoscaler("away", "left", 5))
    merge(d, "alice", autoscalers(NS, "away"), {"spec": {"scaleTargetRef": target("db", "StatefulSet")}})
    d.ok("alice", "DELETE", autoscalers(NS, "away"))
    d.ok("alice", "POST", autoscalers(NS), autoscaler("inert", target("left", api_version=None), 9))


@scenario
def autoscaler_at_work(d):
    """The real controller scales what is outside of an autoscaler's range."""
    path, _ = made(d, "busy", 8)
    d.ok("pipeline", "POST", autoscalers(NS), autoscaler("busy", "busy", 6, 2))
    for number in (1, 9):
        scaled_to(d, path, range(2, 7))
        merge(d, "alice", path, replicas(number))
    scaled_to(d, path, [6])
    d.ok("alice", "DELETE", autoscalers(NS, "busy"))
    merge(d, "alice", path, replicas(2))


def scaled_to(d, path, numbers):
    wait_until(lambda: d.get(path)["spec"]["replicas"] in numbers, f"the autoscaler does not scale {path}")


@scenario
def autoscalers_end(d):
    """Held, in a collection, and by their namespace."""
    d.namespace("ranges")
    for name in ("one", "two", "three"):
        d.ok(
            "pipeline",
            "POST",
            autoscalers("ranges"),
            autoscaler(name, name, 5, finalizers=HELD if name == "three" else []),
        )
    d.ok("alice", "DELETE", autoscalers("ranges", "one"))
    d.ok("carol", "DELETE", autoscalers("ranges", version="v2beta2"))
    merge(d, "alice", autoscalers("ranges", "three"), {"spec": {"maxReplicas": 6}})
    merge(d, "metadata", autoscalers("ranges", "three"), {"metadata": {"finalizers": None}}, accept=METADATA_ONLY)
    d.gone(autoscalers("ranges", "three"))
    # The write that ends it asks for what is never stored.
    d.ok("pipeline", "POST", autoscalers("ranges"), autoscaler("four", "four", 5, finalizers=HELD))
    d.ok("carol", "DELETE", autoscalers("ranges", "four"))
    last = {"metadata": {"finalizers": None}, "spec": {"maxReplicas": 9, "scaleTargetRef": target("another")}}
    merge(d, "alice", autoscalers("ranges", "four"), last)
    d.gone(autoscalers("ranges", "four"))
    d.ok("pipeline", "POST", autoscalers("ranges"), autoscaler("one", "one", 7))
    d.delete_namespace("ranges")
