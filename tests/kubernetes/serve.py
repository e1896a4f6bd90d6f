#!/usr/bin/env python3
"""Starts an API server without controllers, so that every number in it is the test's; says on one line where it is, starts
it again for each line of its standard input (and says when it has), and stops when that ends."""

import json
import sys

from cluster import Cluster

with Cluster(controllers=False) as cluster:
    place = {
        "port": cluster.port, "etcd": cluster.etcd, "ca": str(cluster.pki / "ca.crt"),
        "kubectl": str(cluster.binaries / "kubectl"), "folder": str(cluster.folder),
        "kubeconfigs": {user: str(cluster.kubeconfig(user)) for user in ["admin", "pedwatch", "stranger"]},
    }  # fmt: skip
    print(json.dumps(place), flush=True)
    for _ in sys.stdin:
        cluster.stop_last()
        cluster.start_api_server()
        cluster.wait_for_api_server()
        print("started again", flush=True)
