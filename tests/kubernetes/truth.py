"""What happened, from the server's watch (what, in which order) and the driver's calls (by whom)."""

from cluster import GARBAGE_COLLECTOR, HPA_CONTROLLER, NAMESPACE_CONTROLLER, USERS


def truth(watch, driver, log):
    """What `record.py` leaves in truth.json. The audit log only tells which versions the autoscaler was answered."""
    listed = [summary(kind, item) for kind, items in watch.listed().items() for item in items]
    calls = Calls(driver, log)
    histories = [history(kind, events, calls) for kind, all_ in watch.events.items() for events in by_uid(all_)]
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
    metadata = item["metadata"]
    # Autoscalers show no generation.
    shown = {"resource_version": metadata["resourceVersion"], "created": metadata["creationTimestamp"]}
    return names(kind, item) | watched(kind, item) | shown | {"generation": metadata.get("generation")}


def history(kind, events, calls):
    """One object's changes and end, in the server's order."""
    changes, last, ended = [], None, False
    for type_, item, heard in events:
        # The last object of a deletion shows what was stored before, with the deletion's version.
        if type_ == "DELETED":
            ended = True
        elif changes == [] or watched(kind, item) != watched(kind, last):
            version = item["metadata"]["resourceVersion"]
            change = {"resource_version": version} | watched(kind, item)
            generation = item["metadata"].get("generation")
            actor = calls.who_stored(item["metadata"]["uid"], change, heard)
            changes.append(change | {"generation": generation, "actor": actor})
        last = item
    return names(kind, last) | {
        "changes": changes,
        "ended": ended,
        "ended_by": calls.who_ended(last) if ended else None,
        "told": last["metadata"]["uid"] not in calls.driver.untold,
    }


def is_by_autoscaler(event):
    return event["user"].get("username") == HPA_CONTROLLER and event["responseStatus"].get("code") == 200


class Calls:
    """Who is behind a version or an end, where that can be known."""

    def __init__(self, driver, log):
        self.driver = driver
        answers = [event["responseObject"]["metadata"] for event in log if is_by_autoscaler(event)]
        self.autoscaler = {(metadata["uid"], metadata["resourceVersion"]) for metadata in answers}
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
            elif call.touches:
                self.versions.setdefault((uid, metadata.get("resourceVersion")), []).append(call)

    def who_stored(self, uid, change, heard):
        """Of several answers with one version, the first was the write, the others found nothing to change; unless they
        overlapped: then it is not known (None)."""
        if known := self.driver.credited.get((uid, change["replicas"])):
            return USERS[known][0]
        able = [call for call in self.versions.get((uid, change["resource_version"]), []) if call.began < heard]
        answered = sorted(able, key=lambda call: call.ended)
        if (uid, change["resource_version"]) in self.autoscaler:
            return None if answered else HPA_CONTROLLER
        if not answered or any(other.began < answered[0].ended for other in answered[1:]):
            return None
        return USERS[answered[0].user][0]

    def who_ended(self, last):
        uid, finalizers = last["metadata"]["uid"], last["metadata"].get("finalizers") or []
        collector = bool({"foregroundDeletion", "orphan"} & set(finalizers))
        ends = set(self.ends.get(uid, ()))
        if not ends and not collector:
            ends = set(self.collections.get(uid, ()))
        if ends:
            # Two that take the last finalizer away at once are both told that they ended it.
            return USERS[ends.pop()][0] if len(ends) == 1 and not collector else None
        if collector or last["metadata"].get("ownerReferences"):
            return GARBAGE_COLLECTOR
        return NAMESPACE_CONTROLLER if last["metadata"]["namespace"] in self.driver.namespaces_deleted else None
