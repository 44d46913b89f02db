#!/usr/bin/env python3
"""Writes canonical.json: vectors for the forms of package hmac, computed by Python alone.

    python3 canonical.py > canonical.json

Each HMAC is also computed by openssl, and the two must agree.
"""
import hashlib
import hmac
import json
import subprocess
from urllib.parse import parse_qsl, urlencode

HASHES = {"SHA1": "sha1", "SHA256": "sha256", "SHA384": "sha384", "SHA512": "sha512"}


def canonical(method, path, query, host, date, body, key_id):
    pairs = parse_qsl(query, keep_blank_values=True)
    query = urlencode(sorted(pairs, key=lambda p: p[0].encode()))
    return "\n".join([
        "renew-hmac-1", method, path or "/", query, host.lower(), date,
        hashlib.sha256(body).hexdigest(), key_id,
    ]).encode()


def mac(algorithm, secret, message):
    name = HASHES[algorithm]
    ours = hmac.new(secret, message, name).hexdigest()
    theirs = subprocess.run(
        ["openssl", "mac", "-digest", name, "-macopt", "hexkey:" + secret.hex(), "-in", "/dev/stdin", "HMAC"],
        input=message, stdout=subprocess.PIPE, check=True).stdout.decode().strip().lower()
    assert ours == theirs, (ours, theirs)
    return ours


DATE, HOST, BODY = "2026-01-02T03:04:05.000000006Z", "api.example", '{"hello": "world"}'
CASES = [
    # name, algorithm, method, path, query, host, body
    ("GET without query", "SHA256", "GET", "/", "", HOST, ""),
    ("empty path", "SHA256", "GET", "", "", HOST, ""),
    ("HEAD", "SHA256", "HEAD", "/things", "", HOST, ""),
    ("POST with a body", "SHA256", "POST", "/things", "", HOST, BODY),
    ("SHA-384", "SHA384", "POST", "/things", "", HOST, BODY),
    ("SHA-512", "SHA512", "POST", "/things", "", HOST, BODY),
    ("body that ends with a line break", "SHA256", "PUT", "/things/1", "", HOST, BODY + "\n"),
    ("query in disorder", "SHA256", "GET", "/q", "b=2&a=1&c=3", HOST, ""),
    ("query with duplicates, which keep their order", "SHA256", "GET", "/q", "b=2&a=9&b=1&a=1", HOST, ""),
    ("query with spaces, plus and percent", "SHA256", "GET", "/q", "x=a+b&y=a%20b&z=a%2Bb&p=%25", HOST, ""),
    ("query with names only, and empty pieces", "SHA256", "GET", "/q", "flag&&empty=&=nameless", HOST, ""),
    ("query beyond ASCII", "SHA256", "GET", "/q", "caf%C3%A9=%E2%82%AC&~tilde=-._*", HOST, ""),
    ("query that escapes a line break", "SHA256", "GET", "/q", "a=1%0Ahost", HOST, ""),
    ("escaped slash", "SHA256", "GET", "/a%2Fb/c", "", HOST, ""),
    ("escaped slash in small letters", "SHA256", "GET", "/a%2fb/c", "", HOST, ""),
    ("dot segments", "SHA256", "GET", "/a/../b/./c", "", HOST, ""),
    ("doubled slashes", "SHA256", "GET", "//a//b/", "", HOST, ""),
    ("escaped line break in the path", "SHA256", "GET", "/a%0Ab", "", HOST, ""),
    ("host in capitals with a port", "SHA256", "GET", "/", "", "API.Example:8443", ""),
    ("IPv6 host", "SHA256", "DELETE", "/", "", "[2001:db8::1]:80", ""),
]

vectors = []
for name, algorithm, method, path, query, host, body in CASES:
    message = canonical(method, path, query, host, DATE, body.encode(), "partner-7")
    vectors.append({
        "name": name, "algorithm": algorithm, "method": method, "path": path, "query": query, "host": host,
        "date": DATE, "body": body, "key_id": "partner-7", "secret": "correct horse battery staple",
        "canonical": message.decode(), "mac_hex": mac(algorithm, b"correct horse battery staple", message),
    })
plain = [{"name": a + " of " + (b or "nothing"), "algorithm": a, "body": b, "secret": "key", "mac_hex": mac(a, b"key", b.encode())}
         for a in HASHES for b in (BODY, "", "text\n")]
print(json.dumps({"canonical": vectors, "plain": plain}, indent=1))
