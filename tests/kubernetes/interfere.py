"""What the tests interfere by: a webhook that every watched write passes, and a relay between the API server and
etcd.

The webhook may hold a call (then others overtake it), deny it, or lower its number. The relay may keep etcd's answers
back: a write is then stored, and its call times out all the same.
"""

import base64
import contextlib
import http.server
import json
import socket
import ssl
import threading

# Longer than any call is held.
HOLD_SECONDS = 30


class Hold:
    """What becomes of the calls of one kind: they wait at `wait`, and `answer` makes their answer."""

    def __init__(self, matches, waits=False, answer=None):
        self.matches, self.answer = matches, answer
        self.came, self.released = threading.Event(), threading.Event()
        if not waits:
            self.released.set()

    def arrived(self):
        """Returns when a call is held."""
        assert self.came.wait(HOLD_SECONDS), f"no call came that is held: {self.matches}"

    def release(self):
        self.released.set()


class Webhook:
    def __init__(self, certificate, key):
        self.holds, self.asked = [], False
        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), self.handler())
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        context.load_cert_chain(certificate, key)
        self.server.socket = context.wrap_socket(self.server.socket, server_side=True, do_handshake_on_connect=False)
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def configuration(self, ca, rules):
        url, bundle = f"https://127.0.0.1:{self.server.server_port}/", base64.b64encode(ca).decode()
        webhook = {
            "name": "tests.example.com",
            "rules": rules,
            "clientConfig": {"url": url, "caBundle": bundle},
            "timeoutSeconds": HOLD_SECONDS,
            "sideEffects": "None",
            "admissionReviewVersions": ["v1"],
        }
        return {"metadata": {"name": "tests"}, "webhooks": [webhook]}

    @contextlib.contextmanager
    def interfering(self, hold):
        self.holds.append(hold)
        try:
            yield hold
        finally:
            hold.release()
            self.holds.remove(hold)

    def holding(self, **matches):
        """Holds what matches, e.g. `operation="DELETE", name="web"`, until it is released."""
        return self.interfering(Hold(matches, waits=True))

    def denying(self, message, **matches):
        return self.interfering(Hold(matches, answer={"allowed": False, "status": {"message": message, "code": 403}}))

    def setting_replicas(self, number, **matches):
        patch = json.dumps([{"op": "add", "path": "/spec/replicas", "value": number}]).encode()
        answer = {"allowed": True, "patchType": "JSONPatch", "patch": base64.b64encode(patch).decode()}
        return self.interfering(Hold(matches, answer=answer))

    def review(self, request):
        self.asked = True
        told = request | {"user": request["userInfo"]["username"]}
        for hold in list(self.holds):
            if all(told.get(key) == value for key, value in hold.matches.items()):
                hold.came.set()
                hold.released.wait(HOLD_SECONDS)
                return hold.answer or {"allowed": True}
        return {"allowed": True}

    def handler(webhook):
        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            disable_nagle_algorithm = True

            def do_POST(self):
                review = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                answer = webhook.review(review["request"]) | {"uid": review["request"]["uid"]}
                body = json.dumps({"apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview", "response": answer})
                self.send_response(200)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                # A caller that timed out is gone.
                with contextlib.suppress(OSError):
                    self.wfile.write(body.encode())

            def log_message(self, *_):
                pass

        return Handler


class Relay:
    """Passes bytes on between the API server and etcd."""

    def __init__(self, to):
        self.to = ("127.0.0.1", to)
        self.flowing = threading.Event()
        self.flowing.set()
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.port = self.listener.getsockname()[1]
        threading.Thread(target=self.serve, daemon=True).start()

    @contextlib.contextmanager
    def holding_answers(self):
        """What the API server sends goes on; what etcd answers waits."""
        self.flowing.clear()
        try:
            yield
        finally:
            self.flowing.set()

    def serve(self):
        while True:
            asking, _ = self.listener.accept()
            try:
                answering = socket.create_connection(self.to)
            except OSError:
                asking.close()  # etcd has not begun; the API server tries again
                continue
            for end in (asking, answering):
                end.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            threading.Thread(target=self.copy, args=(asking, answering, None), daemon=True).start()
            threading.Thread(target=self.copy, args=(answering, asking, self.flowing), daemon=True).start()

    def copy(self, source, sink, gate):
        with contextlib.suppress(OSError):
            while data := source.recv(1 << 16):
                if gate:
                    gate.wait()
                sink.sendall(data)
        for end in (source, sink):
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)
