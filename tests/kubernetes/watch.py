"""The server's own watch of Deployments and HorizontalPodAutoscalers: the truth about what was stored, and in which
order.
"""

import json
import threading
import time
import urllib.request

from cluster import Cluster, wait_until

KINDS = {
    "Deployment": "/apis/apps/v1/deployments",
    "HorizontalPodAutoscaler": "/apis/autoscaling/v1/horizontalpodautoscalers",
}


class Watch:
    """All that was stored since it began, in the server's order."""

    def __init__(self, cluster: Cluster):
        self.cluster = cluster
        # Per kind: (ADDED | MODIFIED | DELETED, the object, when that was heard).
        self.events = {kind: [] for kind in KINDS}
        for kind, path in KINDS.items():
            listed = cluster.get(path)
            assert not listed["items"], f"there are objects before the watch began: {listed['items']}"
            thread = threading.Thread(
                target=self.follow, args=(kind, path, listed["metadata"]["resourceVersion"]), daemon=True
            )
            thread.start()

    def follow(self, kind, path, version):
        url = f"https://127.0.0.1:{self.cluster.port}{path}?watch=1&timeoutSeconds=3600&resourceVersion={version}"
        request = urllib.request.Request(url, headers={"Authorization": "Bearer admin"})
        with urllib.request.urlopen(request, context=self.cluster.tls) as lines:
            for line in lines:
                event = json.loads(line)
                assert event["type"] in ("ADDED", "MODIFIED", "DELETED"), f"the watch broke: {event}"
                self.events[kind].append((event["type"], event["object"], time.monotonic()))

    def present(self, kind):
        """What is there by the watch: resourceVersion by uid."""
        there = {}
        for type_, item, _ in list(self.events[kind]):
            there[item["metadata"]["uid"]] = item["metadata"]["resourceVersion"]
            if type_ == "DELETED":
                del there[item["metadata"]["uid"]]
        return there

    def listed(self):
        """What the API lists, once the watch has shown the same."""
        found = {}

        def agrees():
            for kind, path in KINDS.items():
                found[kind] = self.cluster.get(path)["items"]
            versions = lambda items: {item["metadata"]["uid"]: item["metadata"]["resourceVersion"] for item in items}
            return all(versions(items) == self.present(kind) for kind, items in found.items())

        wait_until(agrees, "the watch does not show what the API lists")
        return found
