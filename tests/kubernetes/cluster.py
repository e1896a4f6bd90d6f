"""A Kubernetes control plane on loopback, with a fresh state folder: etcd, kube-apiserver and
kube-controller-manager.

`tests/servers/kubernetes.sh` builds the binaries into a cache. The API server knows the users of USERS by token,
judges them by RBAC, writes its audit log, and asks the webhook of `interfere.py` before it stores what this project
watches. No kubelet and no ReplicaSet controller run, so that nothing is ever ready and little is written that nobody
watches.
"""

import ctypes
import json
import os
import pathlib
import shutil
import signal
import socket
import ssl
import subprocess
import tempfile
import time
import urllib.request

from interfere import Relay, Webhook

HERE = pathlib.Path(__file__).parent
SCRIPT = HERE.parent / "servers" / "kubernetes.sh"

# A short name, by which the driver speaks of them and which is their token: (the API server's name of them, groups).
USERS = {
    "admin": ("platform-admin@example.com", ["system:masters"]),
    "alice": ("alice@example.com", ["developers"]),
    "bob": ("bob@example.com", ["viewers"]),
    "carol": ("carol@example.com", ["developers"]),
    "dora": ("dora@example.com", ["developers"]),
    "pipeline": ("deployer@acme-prod.iam.gserviceaccount.com", ["developers"]),
    "argocd": ("system:serviceaccount:argocd:argocd-application-controller", ["developers"]),
    "autoscaler": ("system:vpa-recommender", ["system:masters"]),
    "metadata": ("system:serviceaccount:tools:metadata-client", ["developers"]),
    "proxy": ("system:serviceaccount:gke-connect:connect-agent-sa", ["system:masters"]),
    "manager": ("system:kube-controller-manager", ["system:masters"]),
    # Whom deploy/kubernetes/rbac.yaml and canary.yaml name, and somebody whom nobody has granted anything.
    "pedwatch": ("pedwatch@acme-prod.iam.gserviceaccount.com", []),
    "canary": ("pedwatch-canary@acme-prod.iam.gserviceaccount.com", []),
    "stranger": ("stranger@acme-prod.iam.gserviceaccount.com", []),
}
# Controllers of the real kube-controller-manager, each with a service account of its own.
HPA_CONTROLLER = "system:serviceaccount:kube-system:horizontal-pod-autoscaler"
GARBAGE_COLLECTOR = "system:serviceaccount:kube-system:generic-garbage-collector"
NAMESPACE_CONTROLLER = "system:serviceaccount:kube-system:namespace-controller"
CONTROLLERS = [
    "deployment",
    "horizontalpodautoscaling",
    "garbagecollector",
    "namespace",
    "resourcequota",
    "serviceaccount",
    "clusterrole-aggregation",
]

WRITES = ["create", "update", "patch", "delete", "deletecollection"]
# What is logged with its bodies: what pedwatch watches, and what tells it nothing but lies beside it.
WATCHED = [
    {"group": "apps", "resources": ["deployments", "deployments/scale", "deployments/status"]},
    {"group": "apps", "resources": ["statefulsets", "statefulsets/scale"]},
    {"group": "extensions", "resources": ["deployments", "deployments/scale"]},
    {"group": "autoscaling", "resources": ["horizontalpodautoscalers", "horizontalpodautoscalers/status"]},
]
# Beyond this the API server logs an event without its bodies, as on GKE (whose number is not known).
LARGEST_EVENT_BYTES = 100 * 1024
START_SECONDS = 120


def audit_policy(bodies_of_namespace_deletions):
    """On GKE the namespace controller's deletecollections are logged at level Request: without an answer."""
    unanswered = {
        "level": "Request",
        "users": [NAMESPACE_CONTROLLER],
        "verbs": ["deletecollection"],
        "resources": WATCHED,
    }
    rules = [] if bodies_of_namespace_deletions else [unanswered]
    rules += [{"level": "RequestResponse", "verbs": WRITES, "resources": WATCHED}, {"level": "None"}]
    return {"apiVersion": "audit.k8s.io/v1", "kind": "Policy", "omitStages": ["RequestReceived"], "rules": rules}


def free_ports(count):
    """Ports that nobody listens on, below those that the system gives to connections."""
    found, candidate = [], 20_000 + os.getpid() * 97 % 10_000
    while len(found) < count:
        candidate += 1
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", candidate))
                found.append(candidate)
            except OSError:
                pass
    return found


def die_with_parent():
    """Whatever becomes of this process, its servers end with it (PR_SET_PDEATHSIG, by Linux)."""
    ctypes.CDLL(None).prctl(1, signal.SIGKILL)


class Cluster:
    """The three servers, and the two doubles (a webhook, a relay before etcd) that tests interfere by."""

    def __init__(self, bodies_of_namespace_deletions=False, controllers=True):
        self.controllers = controllers
        self.policy = audit_policy(bodies_of_namespace_deletions)
        self.folder = pathlib.Path(tempfile.mkdtemp(prefix="pedwatch-kubernetes-"))
        self.audit_log = self.folder / "audit.log"
        self.processes = []

    def __enter__(self):
        try:
            self.start()
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(self, *_):
        self.stop()

    def start(self):
        built = subprocess.run([SCRIPT], stdout=subprocess.PIPE, text=True)
        if built.returncode:
            raise SystemExit(f"{SCRIPT} failed: there is no Kubernetes API server to test against")
        self.binaries = pathlib.Path(built.stdout.strip()) / "bin"
        self.etcd, peer, self.port, secure = free_ports(4)
        self.make_keys()
        self.relay = Relay(self.etcd)
        self.webhook = Webhook(self.pki / "api.crt", self.pki / "api.key")
        self.start_etcd(self.etcd, peer)
        self.start_api_server()
        self.wait_for_api_server()
        self.set_up()
        if self.controllers:
            self.start_controllers(secure)
            self.wait_for_controllers()

    def stop(self):
        while self.processes:
            self.stop_last()
        shutil.rmtree(self.folder, ignore_errors=True)

    def stop_last(self):
        """The controllers, then the API server, then etcd. Nothing that they hold is needed any more: what is in the
        audit log was written before its call was answered."""
        process = self.processes.pop()
        process.kill()
        process.wait()

    def run(self, name, *arguments):
        log = (self.folder / f"{name}.log").open("w")
        command = ["nice", "-n", "5", str(self.binaries / name), *arguments]
        process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, cwd=self.folder, preexec_fn=die_with_parent
        )
        self.processes.append(process)

    def said(self, name):
        return (self.folder / f"{name}.log").read_text()[-4000:]

    def make_keys(self):
        """An authority, the certificate of the API server and the webhook, and the key of service accounts."""
        self.pki = self.folder / "pki"
        self.pki.mkdir()
        (self.pki / "names").write_text("subjectAltName=IP:127.0.0.1,DNS:localhost\n")
        for command in [
            "req -x509 -newkey rsa:2048 -nodes -days 2 -keyout ca.key -out ca.crt -subj /CN=tests",
            "req -newkey rsa:2048 -nodes -keyout api.key -out api.csr -subj /CN=localhost",
            "x509 -req -in api.csr -CA ca.crt -CAkey ca.key -CAcreateserial -days 2 -extfile names -out api.crt",
            "genrsa -out accounts.key 2048",
            "rsa -in accounts.key -pubout -out accounts.pub",
        ]:
            subprocess.run(["openssl", *command.split()], cwd=self.pki, check=True, capture_output=True)
        rows = [f'{user},{name},u-{user},"{",".join(groups)}"\n' for user, (name, groups) in USERS.items()]
        (self.pki / "tokens.csv").write_text("".join(rows))
        self.tls = ssl.create_default_context(cafile=self.pki / "ca.crt")

    def start_etcd(self, port, peer):
        self.run(
            "etcd", "--data-dir", "etcd", "--unsafe-no-fsync", "--initial-cluster", f"default=http://127.0.0.1:{peer}",
            "--listen-client-urls", f"http://127.0.0.1:{port}", "--advertise-client-urls", f"http://127.0.0.1:{port}",
            "--listen-peer-urls", f"http://127.0.0.1:{peer}", "--initial-advertise-peer-urls", f"http://127.0.0.1:{peer}",
        )  # fmt: skip

    def start_api_server(self):
        (self.folder / "policy.json").write_text(json.dumps(self.policy))
        self.run(
            "kube-apiserver",
            "--etcd-servers", f"http://127.0.0.1:{self.relay.port}", "--etcd-healthcheck-timeout", "10s",
            "--bind-address", "127.0.0.1", "--advertise-address", "127.0.0.1", "--secure-port", str(self.port),
            "--endpoint-reconciler-type", "none", "--service-cluster-ip-range", "10.0.0.0/24",
            "--client-ca-file", "pki/ca.crt", "--tls-cert-file", "pki/api.crt", "--tls-private-key-file", "pki/api.key",
            "--token-auth-file", "pki/tokens.csv", "--authorization-mode", "RBAC",
            "--service-account-issuer", "https://127.0.0.1", "--service-account-key-file", "pki/accounts.pub",
            "--service-account-signing-key-file", "pki/accounts.key",
            "--audit-policy-file", "policy.json",
            "--audit-log-path", str(self.audit_log), "--audit-log-maxsize", "4000",
            "--audit-log-truncate-enabled", "--audit-log-truncate-max-event-size", str(LARGEST_EVENT_BYTES),
        )  # fmt: skip

    def start_controllers(self, port):
        self.run(
            "kube-controller-manager", "--kubeconfig", str(self.kubeconfig("manager")), "--bind-address", "127.0.0.1",
            "--secure-port", str(port), "--port", "0", "--leader-elect=false", "--use-service-account-credentials",
            "--service-account-private-key-file", "pki/accounts.key", "--root-ca-file", "pki/ca.crt",
            "--controllers", ",".join(CONTROLLERS), "--horizontal-pod-autoscaler-sync-period", "2s",
            "--namespace-sync-period", "30s",
        )  # fmt: skip

    def kubeconfig(self, user):
        """The file by which kubectl is this user."""
        file = self.folder / f"{user}.kubeconfig"
        cluster = {"server": f"https://127.0.0.1:{self.port}", "certificate-authority": str(self.pki / "ca.crt")}
        config = {
            "apiVersion": "v1", "kind": "Config", "current-context": "test",
            "clusters": [{"name": "test", "cluster": cluster}], "users": [{"name": "test", "user": {"token": user}}],
            "contexts": [{"name": "test", "context": {"cluster": "test", "user": "test"}}],
        }  # fmt: skip
        file.write_text(json.dumps(config))
        return file

    def get(self, path, user="admin", method="GET", body=None):
        """An answer as JSON, for what is not part of any test."""
        data = None if body is None else json.dumps(body).encode()
        headers = {"Authorization": f"Bearer {user}", "Content-Type": "application/json"}
        request = urllib.request.Request(f"https://127.0.0.1:{self.port}{path}", data, headers, method=method)
        with urllib.request.urlopen(request, context=self.tls, timeout=30) as answer:
            text = answer.read()
        return json.loads(text) if text.startswith(b"{") else text

    def post(self, path, body):
        return self.get(path, method="POST", body=body)

    def wait_for_api_server(self):
        begun = time.monotonic()
        while True:
            try:
                self.get("/readyz")
                self.get("/api/v1/namespaces/default")
                return
            except OSError as error:
                for process in self.processes:
                    if process.poll() is not None or time.monotonic() - begun > START_SECONDS:
                        said = self.said("kube-apiserver") + self.said("etcd")
                        raise SystemExit(
                            f"the Kubernetes API server does not start ({error}); it said:\n{said}"
                        ) from error
                time.sleep(0.2)

    def set_up(self):
        """Who may do what, and the webhook."""
        everything = ["get", "list", "watch", *WRITES]
        groups = ["", "apps", "autoscaling", "extensions"]
        for group, verbs in {"developers": everything, "viewers": ["get", "list", "watch"]}.items():
            rule = {"apiGroups": groups, "resources": ["*"], "verbs": verbs}
            self.post(f"{RBAC}/clusterroles", {"metadata": {"name": group}, "rules": [rule]})
            role = {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": group}
            subject = {"apiGroup": "rbac.authorization.k8s.io", "kind": "Group", "name": group}
            binding = {"metadata": {"name": group}, "roleRef": role, "subjects": [subject]}
            self.post(f"{RBAC}/clusterrolebindings", binding)
        rules = [
            {"apiGroups": ["apps"], "resources": ["deployments", "deployments/scale"]},
            {"apiGroups": ["autoscaling"], "resources": ["horizontalpodautoscalers"]},
        ]
        every = {"apiVersions": ["*"], "operations": ["CREATE", "UPDATE", "DELETE"], "scope": "Namespaced"}
        ca = (self.pki / "ca.crt").read_bytes()
        self.post(WEBHOOKS, self.webhook.configuration(ca, [rule | every for rule in rules]))
        # It is asked some time after it is registered.
        probe = "/apis/apps/v1/namespaces/default/deployments?dryRun=All"
        wait_until(
            lambda: self.webhook.asked or not self.get(probe, method="POST", body=PROBE), "the webhook is never asked"
        )

    def wait_for_controllers(self):
        """Until the namespace controller and the garbage collector have done something."""
        self.post("/api/v1/namespaces", {"metadata": {"name": "started"}})
        owner = self.post("/api/v1/namespaces/started/configmaps", {"metadata": {"name": "owner"}})["metadata"]
        reference = {"apiVersion": "v1", "kind": "ConfigMap", "name": "owner", "uid": owner["uid"]}
        owned = {"metadata": {"name": "owned", "ownerReferences": [reference]}}
        self.post("/api/v1/namespaces/started/configmaps", owned)
        self.get("/api/v1/namespaces/started/configmaps/owner", method="DELETE")
        names = lambda path: [item["metadata"]["name"] for item in self.get(path)["items"]]
        configmaps = "/api/v1/namespaces/started/configmaps"
        wait_until(lambda: "owned" not in names(configmaps), "the garbage collector does nothing")
        self.get("/api/v1/namespaces/started", method="DELETE")
        wait_until(lambda: "started" not in names("/api/v1/namespaces"), "the namespace controller does nothing")


RBAC = "/apis/rbac.authorization.k8s.io/v1"
WEBHOOKS = "/apis/admissionregistration.k8s.io/v1/mutatingwebhookconfigurations"
PROBE = {
    "metadata": {"name": "probe"},
    "spec": {
        "selector": {"matchLabels": {"app": "probe"}},
        "template": {
            "metadata": {"labels": {"app": "probe"}},
            "spec": {"containers": [{"name": "app", "image": "registry.example.com/probe:1"}]},
        },
    },
}


def wait_until(true, otherwise, seconds=60):
    """Asks again and again; fails, saying what did not happen."""
    begun = time.monotonic()
    while not true():
        if time.monotonic() - begun > seconds:
            raise SystemExit(f"{otherwise} (waited {seconds} s)")
        time.sleep(0.1)
