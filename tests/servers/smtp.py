"""An SMTP server that demands what real ones demand: STARTTLS and a password. What it takes becomes a line of JSON.

smtp.py PORT FOLDER: in FOLDER lie ca.pem, which it is trusted by, and mail.ndjson. It ends with its standard input.
"""

import json
import pathlib
import ssl
import subprocess
import sys

from aiosmtpd.controller import Controller
from aiosmtpd.smtp import AuthResult, LoginPassword

port, folder = int(sys.argv[1]), pathlib.Path(sys.argv[2])


def openssl(*args):
    subprocess.run(["openssl", *args], cwd=folder, check=True, capture_output=True)


openssl("req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2", "-subj", "/CN=test CA",
        "-keyout", "ca.key", "-out", "ca.pem")
openssl("req", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-subj", "/CN=localhost",
        "-keyout", "server.key", "-out", "server.csr")
(folder / "names").write_text("subjectAltName=DNS:localhost,IP:127.0.0.1\nbasicConstraints=CA:FALSE\n")
openssl("x509", "-req", "-in", "server.csr", "-CA", "ca.pem", "-CAkey", "ca.key", "-days", "2", "-extfile", "names",
        "-out", "server.pem")
tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
tls.load_cert_chain(folder / "server.pem", folder / "server.key")


def authenticate(server, session, envelope, mechanism, data):
    good = isinstance(data, LoginPassword) and (data.login, data.password) == (b"pedwatch", b"s3cret")
    # Without handled=False the server hangs up instead of saying 535.
    return AuthResult(success=good) if good else AuthResult(success=False, handled=False)


class Handler:
    busy = True

    async def handle_RCPT(self, server, session, envelope, address, options):
        if address.startswith("unknown@"):
            return "550 5.1.1 no such mailbox"
        if address.startswith("busy@") and self.busy:
            self.busy = False
            return "451 4.3.2 come again later"
        envelope.rcpt_tos.append(address)
        return "250 OK"

    async def handle_DATA(self, server, session, envelope):
        mail = {"from": envelope.mail_from, "to": envelope.rcpt_tos, "data": envelope.content.decode()}
        with open(folder / "mail.ndjson", "a") as out:
            out.write(json.dumps(mail) + "\n")
        return "250 OK"


Controller(Handler(), hostname="127.0.0.1", port=port, tls_context=tls, require_starttls=True, auth_required=True,
           auth_require_tls=True, authenticator=authenticate, enable_SMTPUTF8=True).start()
sys.stdin.read()
