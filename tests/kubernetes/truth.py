"""What happened, from the server's watch (what, in which order) and the driver's calls (by whom)."""

from cluster import GARBAGE_COLLECTOR, HPA_CONTROLLER, NAMESPACE_CONTROLLER, USERS


def truth(watch, driver):
    """What `record.py` leaves in truth.json."""
    listed = [summary(kind, item) for kind, items in watch.listed().items() for item in items]
    calls = Calls(driver)
    histories = [history(kind, events, calls) for kind, all_ in watch.events.items() for events in by_uid(all_)]
    fill_in_autoscaler(histories)
    return {"objects": histories, "listed": listed}


def by_uid(events):
    found = {}
    for event in events:
        found.setdefault(event[1]["metadata"]["uid"], []).append(event)
    return found.values()


def watched(kind, item):
    """The watched fields of an object."""
    spec = item["spec"]
    if kind == "Deployment":
        return {"replicas": spec["replicas"]}
    aim = spec["scaleTargetRef"]
    aim = {"kind": aim["kind"], "api_version": aim.get("apiVersion", ""), "name": aim["name"]}
    return {"replicas": spec["maxReplicas"], "min_replicas": spec.get("minReplicas"), "target": aim}


def names(kind, item):
    return {"kind": kind} | {key: item["metadata"][key] for key in ("namespace", "name", "uid")}


def summary(kind, item):
    return names(kind, item) | watched(kind, item)


def history(kind, events, calls):
    """One object's changes and end, in the server's order."""
    changes, last, ended = [], None, False
    for type_, item in events:
        # The last object of a deletion shows what was stored before, with the deletion's version.
        if type_ == "DELETED":
            ended = True
        elif changes == [] or watched(kind, item) != watched(kind, last):
            version = item["metadata"]["resourceVersion"]
            actor = calls.who_stored(item["metadata"]["uid"], version)
            changes.append({"resource_version": version} | watched(kind, item) | {"actor": actor})
        last = item
    return names(kind, last) | {
        "changes": changes,
        "ended": ended,
        "ended_by": calls.who_ended(last) if ended else None,
        "told": last["metadata"]["uid"] not in calls.driver.untold,
    }


class Calls:
    """Who is behind a version or an end, where that can be known."""

    def __init__(self, driver):
        self.driver = driver
        self.versions, self.ends, self.collections = {}, {}, {}
        for call in driver.calls:
            if call.stored:
                self.note(call)

    def note(self, call):
        body = call.body
        if call.method == "DELETE" and body.get("kind") == "Status":
            uid = (body.get("details") or {}).get("uid")
            self.ends.setdefault(uid, set()).add(call.user)
        for metadata in call.objects():
            uid, finalizers = metadata.get("uid"), metadata.get("finalizers")
            if "items" in body or body.get("kind") == "Table" and call.method == "DELETE":
                self.collections.setdefault(uid, set()).add(call.user)
            elif metadata.get("deletionTimestamp") and not finalizers:
                self.ends.setdefault(uid, set()).add(call.user)
            elif call.touches and not call.idle:
                self.versions.setdefault((uid, metadata.get("resourceVersion")), []).append(call)

    def who_stored(self, uid, version):
        """Of several answers with one version, the first was the write, the others found nothing to change; unless they
        overlapped: then it is not known."""
        if known := self.driver.credited.get((uid, version)):
            return USERS[known][0]
        answered = sorted(self.versions.get((uid, version), []), key=lambda call: call.ended)
        if not answered or any(other.began < answered[0].ended for other in answered[1:]):
            return None if answered else "nobody"
        return USERS[answered[0].user][0]

    def who_ended(self, last):
        uid, finalizers = last["metadata"]["uid"], last["metadata"].get("finalizers") or []
        finds_nobody = set(finalizers) & {"foregroundDeletion", "orphan"}
        found = self.ends.get(uid) or (not finds_nobody and self.collections.get(uid)) or set()
        if len(found) == 1:
            return USERS[next(iter(found))][0]
        if found:
            return None
        if finds_nobody or last["metadata"].get("ownerReferences"):
            return GARBAGE_COLLECTOR
        return NAMESPACE_CONTROLLER if last["metadata"]["namespace"] in self.driver.namespaces_deleted else None


def fill_in_autoscaler(histories):
    """A number that no call of the driver stored is the autoscaler's, if an autoscaler aimed at the Deployment asks for it."""
    aims = {
        (it["namespace"], change["target"]["name"], number)
        for it in histories if it["kind"] == "HorizontalPodAutoscaler"
        for change in it["changes"] if change["target"]["api_version"] == "apps/v1" and change["target"]["kind"] == "Deployment"
        for number in (change["replicas"], change["min_replicas"])
    }  # fmt: skip
    for it in histories:
        for change in it["changes"]:
            if change["actor"] == "nobody":
                aimed = (it["namespace"], it["name"], change["replicas"]) in aims
                change["actor"] = HPA_CONTROLLER if it["kind"] == "Deployment" and aimed else None
