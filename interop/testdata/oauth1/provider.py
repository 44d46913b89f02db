"""An OAuth 1.0a provider on loopback, for the tests in ../../oauth1_test.go.

What is a right request is decided by the server side of python-oauthlib, with its
defaults: keys, tokens and nonces are 20 to 30 letters and digits, and timestamps are at most
10 minutes off. Ours are the routes, the store, a stricter limit for clocks, and the books.

Standard input begins with a line of JSON, the configuration, and its end ends the
provider. Standard output is one line: the URL, or what is not installed.
"""

import base64
import hashlib
import http.client
import json
import os
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

try:
    import cryptography  # noqa: F401: oauthlib needs both for RSA
    import jwt  # noqa: F401
    from oauthlib import oauth1
    from oauthlib.common import Request, safe_string_equals
    from oauthlib.oauth1.rfc5849 import errors
    from oauthlib.oauth1.rfc5849.endpoints.pre_configured import WebApplicationServer
except ImportError as e:
    print("missing", e.name)
    sys.exit(0)

CONFIG = json.loads(sys.stdin.readline())
CLIENTS = CONFIG["clients"]  # by key: {"secret": ...} or {"rsa": PEM of the public key}
TOKENS = CONFIG["tokens"]  # secrets of access tokens, by client key and token
CLOCK_LIMIT = CONFIG["clock_limit"]  # seconds; oauthlib's own is 600
PROBLEMS = CONFIG["problems"]  # whether a 401 says why, as OAuth Problem Reporting does
TOOPHER = CONFIG["toopher"]  # host and port that requests below /v1 go on to, the pages below /v1/web excepted

NOBODY = "no client or token has this name"
LOCK = threading.Lock()  # guards what follows
NONCES = set()
REQUEST_TOKENS = {}  # by token
BOOKS = {"requests": 0, "accepted": 0, "by_method": {}, "by_place": {}, "body_hashes": 0, "refused": {}}

# What Problem Reporting calls the reasons of the books.
PROBLEM = {
    "nonce": "nonce_used",
    "clock": "timestamp_refused",
    "signature": "signature_invalid",
    "client": "consumer_key_unknown",
    "resource_owner": "token_rejected",
    "verifier": "verifier_invalid",
}

# What is known about the request that this thread works on: request, and why it is refused.
NOW = threading.local()


class Store(oauth1.RequestValidator):
    """The clients, tokens and nonces. Limits that are not here are oauthlib's."""

    enforce_ssl = False
    dummy_client = dummy_request_token = dummy_access_token = NOBODY

    def validate_timestamp_and_nonce(self, client_key, timestamp, nonce, request, request_token=None, access_token=None):
        if abs(time.time() - int(timestamp)) > CLOCK_LIMIT:
            NOW.why = "clock"
            return False
        once = (client_key, timestamp, nonce, request_token or access_token)
        with LOCK:
            used = once in NONCES
            NONCES.add(once)
        if used:
            NOW.why = "nonce"
        return not used

    def validate_client_key(self, client_key, request):
        return client_key in CLIENTS

    def get_client_secret(self, client_key, request):
        return CLIENTS.get(client_key, {}).get("secret", NOBODY)

    def get_rsa_key(self, client_key, request):
        # A client without a key is refused for its signature: by a key that signed nothing.
        return CLIENTS.get(client_key, {}).get("rsa", CONFIG["rsa_nobody"])

    # Temporary credentials.

    def get_default_realms(self, client_key, request):
        return []

    def validate_requested_realms(self, client_key, realms, request):
        return True

    def validate_redirect_uri(self, client_key, redirect_uri, request):
        return redirect_uri == "oob" or redirect_uri.startswith("http://127.0.0.1/")

    def save_request_token(self, token, request):
        with LOCK:
            REQUEST_TOKENS[token["oauth_token"]] = {
                "secret": token["oauth_token_secret"], "client": request.client_key,
                "callback": request.redirect_uri, "verifier": None,
            }

    def verify_request_token(self, token, request):
        return token in REQUEST_TOKENS

    def get_redirect_uri(self, token, request):
        return REQUEST_TOKENS[token]["callback"]

    def save_verifier(self, token, verifier, request):
        with LOCK:
            REQUEST_TOKENS[token]["verifier"] = verifier["oauth_verifier"]

    # Token credentials.

    def validate_request_token(self, client_key, token, request):
        return REQUEST_TOKENS.get(token, {}).get("client") == client_key

    def get_request_token_secret(self, client_key, token, request):
        return REQUEST_TOKENS.get(token, {}).get("secret", NOBODY)

    def validate_verifier(self, client_key, token, verifier, request):
        known = REQUEST_TOKENS.get(token, {}).get("verifier")
        return known is not None and safe_string_equals(known, verifier)

    def get_realms(self, token, request):
        return ["things"]

    def save_access_token(self, token, request):
        with LOCK:
            TOKENS.setdefault(request.client_key, {})[token["oauth_token"]] = token["oauth_token_secret"]

    def invalidate_request_token(self, client_key, request_token, request):
        with LOCK:
            REQUEST_TOKENS.pop(request_token, None)

    # Resources.

    def validate_access_token(self, client_key, token, request):
        return token in TOKENS.get(client_key, {})

    def get_access_token_secret(self, client_key, token, request):
        return TOKENS.get(client_key, {}).get(token, NOBODY)

    def validate_realms(self, client_key, token, request, uri=None, realms=None):
        return True


class Noted:
    """Keeps the request, and oauthlib's own errors, for the books."""

    def _create_request(self, *args, **kwargs):
        NOW.request = self._noted(super()._create_request, *args, **kwargs)
        return NOW.request

    def _check_mandatory_parameters(self, request):
        return self._noted(super()._check_mandatory_parameters, request)

    def _noted(self, check, *args, **kwargs):
        try:
            return check(*args, **kwargs)
        except errors.OAuth1Error as e:
            NOW.why = "clock" if e.description.startswith("Timestamp given is invalid") else "form"
            raise


class WebServer(Noted, WebApplicationServer):
    pass


class SignatureOnly(Noted, oauth1.SignatureOnlyEndpoint):
    pass


STORE = Store()
WEB, SIGNED = WebServer(STORE), SignatureOnly(STORE)


def body_hash_holds(message):
    """Whether oauth_body_hash, where it was sent, is the one that oauthlib's client would send.

    Without a body that client sends none; the draft, section 3.2, has the hash of the empty string.
    """
    sent = NOW.request.oauth_params.get("oauth_body_hash")
    if sent is None:
        return True
    uri, method, body, headers = message
    made = dict(oauth1.Client("any").get_oauth_params(Request(uri, method, body, headers)))
    want = made.get("oauth_body_hash") if body else base64.b64encode(hashlib.sha1(b"").digest()).decode()
    if want != sent:
        NOW.why = "body_hash"
        return False
    with LOCK:
        BOOKS["body_hashes"] += 1
    return True


def why():
    """Why a request was refused, as the books have it."""
    if NOW.why is None:
        log = NOW.request.validator_log
        NOW.why = next((name for name in ("client", "resource_owner", "verifier", "callback", "realm", "signature") if log.get(name) is False), "other")
    return NOW.why


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    wbufsize = -1  # one write for an answer
    disable_nagle_algorithm = True

    def do_GET(self):
        NOW.request = NOW.why = None
        raw = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        headers = dict(self.headers.items())
        message = ("http://" + self.headers["Host"] + self.path, self.command, raw.decode("utf-8"), headers)
        path = self.path.partition("?")[0]
        if path == "/counts":
            with LOCK:
                self.answer(200, {"Content-Type": "application/json"}, json.dumps(BOOKS))
        elif path == "/authorize":  # the person agrees
            sent, text, status = WEB.create_authorization_response(*message)
            self.answer(status, sent, text)
        elif path == "/initiate":
            sent, text, status = WEB.create_request_token_response(*message)
            self.judged(status == 200, message, lambda: self.answer(status, sent, text), status, text)
        elif path == "/token":
            sent, text, status = WEB.create_access_token_response(*message, credentials={"user_id": "7 & 8"})
            self.judged(status == 200, message, lambda: self.answer(status, sent, text), status, text)
        elif path.startswith("/api/"):
            valid, _ = WEB.validate_protected_resource_request(*message)
            self.judged(valid, message, self.seen)
        elif path.startswith("/v1/"):
            valid, _ = SIGNED.validate_request(*message)
            page = path.startswith("/v1/web/")
            self.judged(valid, message, self.seen if page else lambda: self.forward(raw, headers))
        else:
            self.answer(404, {}, "")

    do_POST = do_PUT = do_PATCH = do_DELETE = do_GET

    def judged(self, valid, message, serve, status=401, text=""):
        """Writes what oauthlib said into the books, and answers."""
        if valid and not body_hash_holds(message):
            valid, status = False, 401
        with LOCK:
            BOOKS["requests"] += 1
            if valid:
                BOOKS["accepted"] += 1
                place = "header" if "Authorization" in message[3] else "query" if "oauth_signature=" in message[0] else "body"
                for book, name in (("by_method", NOW.request.signature_method), ("by_place", place)):
                    BOOKS[book][name] = BOOKS[book].get(name, 0) + 1
            else:
                BOOKS["refused"][why()] = BOOKS["refused"].get(why(), 0) + 1
        if valid:
            serve()
            return
        scheme = 'OAuth realm="things"'
        if PROBLEMS and why() in PROBLEM:
            scheme += ', oauth_problem="%s"' % PROBLEM[why()]
        self.answer(status, {"WWW-Authenticate": scheme}, text)

    def seen(self):
        """Answers with the parameters that the signature was for, without the protocol's."""
        params = [[k, v] for k, v in NOW.request.params if not k.startswith("oauth_")]
        self.answer(200, {"Content-Type": "application/json"}, json.dumps({"method": self.command, "params": params}))

    def forward(self, raw, headers):
        """Hands a Toopher request on, with the Host that it was signed for."""
        upstream = http.client.HTTPConnection(TOOPHER, timeout=60)
        try:
            upstream.request(self.command, self.path, raw or None, {k: v for k, v in headers.items() if k not in ("Connection", "Accept-Encoding")})
            reply = upstream.getresponse()
            self.answer(reply.status, {"Content-Type": reply.headers["Content-Type"]}, reply.read().decode("utf-8"))
        finally:
            upstream.close()

    def answer(self, status, headers, text):
        body = (text or "").encode("utf-8")
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *args):
        pass


class Server(ThreadingHTTPServer):
    request_queue_size = 512
    daemon_threads = True


server = Server(("127.0.0.1", 0), Handler)
threading.Thread(target=server.serve_forever, daemon=True).start()
print("http://127.0.0.1:%d" % server.server_port, flush=True)
sys.stdin.read()
os._exit(0)  # without waiting for connections
