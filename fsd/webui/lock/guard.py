"""The lock: who may pass to the web UI. Nothing here talks to a network; only hashes of secrets are kept.

A stranger gets nothing of the web UI. A one-time token opens a session, which a cookie then shows (as with Jupyter's
login links); programs send the user's name and password with each request (RFC 7617).
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import math
import secrets
import time
from collections import deque
from collections.abc import Callable

from fsd.webui.lock import paths
from fsd.webui.lock.address import Address, parse, resolve
from fsd.webui.lock.headers import COOKIE, came_through, cookies
from fsd.webui.lock.origin import is_from_elsewhere
from fsd.webui.lock.request import Asked, Refused, Visitor
from fsd.webui.lock.tries import Tries

TOKEN_S = 24 * 3600.0
"""A login link that nobody opened ends after so long."""
SESSION_S = 3 * 24 * 3600.0
OTHERWISE = "Open a new login link, or paste it, or the password, here: fsd prints them in the notebook or terminal."
_MOST_TOKENS, _MOST_SESSIONS, _MOST_PUBLIC = 64, 256, 8
_METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS")
_ONCE = ("host", "origin", "authorization", "content-length", "content-type", "transfer-encoding", "upgrade",
         "sec-fetch-site", "sec-fetch-mode", "sec-fetch-dest")  # fmt: skip


class Guard:
    """Decides about every request.

    user, password_sha256: for programs. port: the proxy's own, part of the cookie's name, since browsers keep one set
    of cookies for all ports of a host. clock: seconds, never going back.
    """

    def __init__(
        self, user: str, password_sha256: bytes, port: int = 0, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self.port = port
        self._user, self._password, self._clock = user, password_sha256, clock
        self._tries = Tries(clock)
        self._tokens: dict[bytes, float] = {}
        self._used: deque[bytes] = deque(maxlen=4 * _MOST_TOKENS)
        self._sessions: dict[bytes, float] = {}
        self._public: list[Address] = []

    def add_token(self, token_sha256: bytes) -> None:
        """Let the token with that hash open one session."""
        self._tokens[token_sha256] = self._clock() + TOKEN_S
        _keep_newest(self._tokens, _MOST_TOKENS)

    def add_public(self, url: str) -> None:
        """Know a public address; those before it stay known. MachineError when it is none."""
        address = parse(url)
        self._public = [*(known for known in self._public if known != address), address][-_MOST_PUBLIC:]

    def admit(self, asked: Asked) -> Visitor:
        """Who asks, a stranger too; Refused for what nobody may ask, for tries that come too fast, for other sites'."""
        names = [name.lower() for name, _ in asked.pairs]
        if asked.method not in _METHODS:
            raise Refused(405, "this method is not served")
        if any(names.count(name) > 1 for name in _ONCE) or "host" not in names:
            raise Refused(400, "the request's headers contradict each other")
        if asked.headers.get("transfer-encoding", "chunked").lower() != "chunked":
            raise Refused(400, "the request's body cannot be read")
        try:
            path = paths.read_path(asked.target)
        except paths.BadTarget as fault:
            raise Refused(400, str(fault)) from fault
        visitor = self._recognise(asked, path)
        if is_from_elsewhere(asked.method, asked.headers, visitor.address.origin, visitor.session is not None):
            raise Refused(
                403, "Another site asked for this, or shows it inside its own page. Open it in a tab of its own."
            )
        return visitor

    def _recognise(self, asked: Asked, path: str) -> Visitor:
        through = came_through(asked.headers)
        address = resolve(asked.headers["host"], through, self._public)
        session = self._session(asked, address) if address else None
        by_password = session is None and "authorization" in asked.headers and self._knows_password(asked)
        if address is None and not by_password:
            raise Refused(421, "this address is not known here: open the link that fsd printed")
        address = address or Address("http", f"127.0.0.1:{self.port}")
        return Visitor(address, path, session, by_password)

    def _session(self, asked: Asked, address: Address) -> bytes | None:
        name = self.cookie_name(address)
        keys = [_sha256(f"{name}={value}") for value in cookies(asked.pairs, name)[:16]]
        return next((key for key in keys if self._sessions.get(key, 0.0) > self._clock()), None)

    def _knows_password(self, asked: Asked) -> bool:
        """Whether the Authorization header is right; Refused when wrong ones come too fast. A right one never waits."""
        kind, _, value = asked.headers["authorization"].partition(" ")
        try:
            user, _, password = base64.b64decode(value.strip(), validate=True).decode().partition(":")
        except ValueError:
            user, password = "", ""
        right = hmac.compare_digest(_sha256(user), _sha256(self._user)) & self._is_password(password)
        if kind.lower() == "basic" and right:
            return True
        self._count_wrong(asked.client)
        return False

    def log_in(self, secret: str, client: str, address: Address) -> str:
        """Open a session at an address for a one-time token or the password; return the cookie's value.

        Every secret is looked at, so that no stranger's tries can lock the owner out: nobody guesses 256 bits.
        Refused for a used or a wrong one.
        """
        digest, now = _sha256(secret), self._clock()
        right = [key for key, ends in self._tokens.items() if hmac.compare_digest(key, digest) & (ends > now)]
        for key in right:
            del self._tokens[key]
            self._used.append(key)
        if not right and digest in self._used:
            raise Refused(401, f"This login link has been used: each opens once. {OTHERWISE}")
        if not right and not self._is_password(secret):
            self._count_wrong(client)
            raise Refused(401, f"That is not right, or it has ended. {OTHERWISE}")
        value = secrets.token_urlsafe(32)
        # with the cookie's name: what was given out over plain http opens nothing over https
        self._sessions[_sha256(f"{self.cookie_name(address)}={value}")] = now + SESSION_S
        _keep_newest(self._sessions, _MOST_SESSIONS)
        return value

    def log_out(self, session: bytes) -> None:
        """End a session: its cookie opens nothing any more."""
        self._sessions.pop(session, None)

    def cookie_name(self, address: Address) -> str:
        """The cookie's name; over https one that browsers only take from this very host, with Secure and Path=/."""
        return f"__Host-{COOKIE}" if address.scheme == "https" else f"{COOKIE}-{self.port}"

    def set_cookie(self, address: Address, value: str) -> str:
        """The Set-Cookie header that gives a session to the browser, or takes it away for the value ""."""
        age_s = int(SESSION_S) if value else 0
        secure = "; Secure" if address.scheme == "https" else ""
        return f"{self.cookie_name(address)}={value}; Path=/; Max-Age={age_s}; HttpOnly; SameSite=Lax{secure}"

    def _is_password(self, password: str) -> bool:
        return hmac.compare_digest(_sha256(password), self._password)

    def _count_wrong(self, client: str) -> None:
        """Count a wrong try; Refused when they come too fast."""
        if wait_s := self._tries.wait_s(client):
            seconds = math.ceil(wait_s)
            raise Refused(429, f"Too many wrong tries. Wait for {seconds} second{'s' * (seconds > 1)}.", wait_s)
        self._tries.wrong(client)


def _sha256(text: str) -> bytes:
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).digest()


def _keep_newest(kept: dict[bytes, float], most: int) -> None:
    while len(kept) > most:
        del kept[next(iter(kept))]
