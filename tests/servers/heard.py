"""Who is rung in the demo: prints what comes for Slack (/slack), and what Alertmanager passes on (/alertmanager), a line each.

heard.py PORT
"""

import http.server
import json
import sys


def heard(*words):
    # In one piece, for others write there too.
    sys.stdout.write(" ".join(words) + "\n")
    sys.stdout.flush()


class Handler(http.server.BaseHTTPRequestHandler):
    def do_POST(self):
        body = json.loads(self.rfile.read(int(self.headers["content-length"])))
        if self.path == "/slack":
            heard("slack        ", body["text"].splitlines()[0])
        for alert in body.get("alerts", []):
            label = alert["labels"]
            heard("alertmanager ", alert["status"], label["alertname"], f"{label['namespace']}/{label['deployment']}")
        self.send_response(200)
        self.end_headers()
        self.wfile.write(b"ok")

    def log_message(self, *_):
        pass


http.server.ThreadingHTTPServer(("127.0.0.1", int(sys.argv[1])), Handler).serve_forever()
