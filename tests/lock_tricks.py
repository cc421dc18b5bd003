"""Requests, byte for byte, with which a stranger might try to pass the lock or to split what it passes on."""

from __future__ import annotations

from lock_client import PUBLIC

_HEADERS = """
X-Forwarded-For: 127.0.0.1
X-Forwarded-Host: 127.0.0.1
X-Forwarded-Host: a\r\nX-Forwarded-Host: b
X-Forwarded-Proto: https
X-Forwarded-Port: 80
X-Forwarded-Prefix: /fsd/login
X-Forwarded-User: fsd
X-Remote-User: fsd
Remote-User: fsd
X-Original-URL: /fsd/login
X-Rewrite-URL: /fsd/login
X-HTTP-Method-Override: HEAD
X-Real-IP: 127.0.0.1
CF-Connecting-IP: 127.0.0.1
Forwarded: for=127.0.0.1;host=localhost
Via: 1.1 localhost
X-Api-Key: x
Cookie: fsd-session-1=
Cookie: fsd=1; =; ;
Authorization: Basic
Authorization: Basic Og==
Authorization: Negotiate x
Connection: Authorization, Cookie, Host
Upgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQAoAAAAAIAAAAA
Upgrade: TLS/1.0
Host: localhost
Host : localhost
 X: folded
Referer: http://127.0.0.1:1/
Origin: http://127.0.0.1:1
Content-Length: -1
Content-Length: +0
Content-Length: 0\r\nContent-Length: 1
Transfer-Encoding: identity
"""
_HOSTS = (
    "",
    "Host: evil.example",
    f"Host: {PUBLIC}",
    "Host: 127.0.0.1@evil",
    "Host:",
    "Host: a b",
    "Host: 127.0.0.1, evil",
)
_LINES = """
GET http://127.0.0.1/ HTTP/1.1
GET http://127.0.0.1/fsd/login/../../ HTTP/1.1
GET https://evil.example/ HTTP/1.1
GET //x/ HTTP/1.1
GET * HTTP/1.1
GET config HTTP/1.1
OPTIONS * HTTP/1.1
CONNECT 127.0.0.1:80 HTTP/1.1
TRACE / HTTP/1.1
get /config HTTP/1.1
GET /fsd/login/../../sdapi/v1/options HTTP/1.1
GET /fsd/login/..%2f..%2fconfig HTTP/1.1
GET /fsd/login%2f..%2f..%2fconfig HTTP/1.1
GET /fsd/login%5c..%5cconfig HTTP/1.1
GET /fsd/login\\..\\..\\config HTTP/1.1
GET /fsd/login;/../config HTTP/1.1
GET /fsd/login/config HTTP/1.1
GET /fsd/login#/../config HTTP/1.1
GET /fsd/login%00/config HTTP/1.1
GET /fsd/login\x00/config HTTP/1.1
GET /fsd/login%20/../config HTTP/1.1
GET /fsd//login HTTP/1.1
GET /FSD/LOGIN HTTP/1.1
GET /%2e%2e/config HTTP/1.1
GET /%252e%252e/config HTTP/1.1
GET /\tconfig HTTP/1.1
GET /config?/fsd/login HTTP/1.1
GET /config HTTP/1.0
GET /config HTTP/3.0
GET /config
"""
_HIDDEN = "GET /config HTTP/1.1\r\nHost: a\r\n\r\n"
_BODIES = (
    ("Content-Length: 4\r\nTransfer-Encoding: chunked", f"0\r\n\r\n{_HIDDEN}"),
    ("Transfer-Encoding: chunked\r\nContent-Length: 4", f"0\r\n\r\n{_HIDDEN}"),
    ("Content-Length: 1\r\nContent-Length: 40", f"x{_HIDDEN}"),
    ("Transfer-Encoding: xchunked", f"0\r\n\r\n{_HIDDEN}"),
    ("Transfer-Encoding: chunked, identity", f"0\r\n\r\n{_HIDDEN}"),
    ("Transfer-Encoding:\x0bchunked", f"0\r\n\r\n{_HIDDEN}"),
    ("Transfer-Encoding: chunked", f"0x1\r\n\r\n{_HIDDEN}"),
)


def trick(line: str, headers: str = "", body: str = "", host: str = "Host: 127.0.0.1:1") -> bytes:
    """One request that asks for its connection to be closed."""
    lines = [line, host, headers, "Connection: close"]
    return ("\r\n".join(filter(None, lines)) + "\r\n\r\n" + body).encode("latin-1")


TRICKS = [
    *(trick("GET /config HTTP/1.1", header) for header in _HEADERS.split("\n") if header.strip()),
    *(trick("GET /config HTTP/1.1", host=host) for host in _HOSTS),
    *(trick(line) for line in _LINES.split("\n") if line),
    *(trick("POST /config HTTP/1.1", headers, body) for headers, body in _BODIES),
    trick("GET /config HTTP/1.1", "X: " + "a" * 70_000),
    trick("GET /" + "a" * 70_000 + " HTTP/1.1"),
    trick("GET /config HTTP/1.1", "\r\n".join(f"X-{number}: 1" for number in range(5000))),
    b"GET / HTTP/1.1\nHost: 127.0.0.1\nConnection: close\n\n",
    b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
    b"\x00" * 100,
]
