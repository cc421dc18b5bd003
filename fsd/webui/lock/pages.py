"""The lock's own pages: plain HTML that loads nothing, for a phone and a desk, light and dark."""

from __future__ import annotations

import base64
import hashlib
from html import escape

from fsd.webui.lock.paths import LOGIN, LOGOUT

_STYLE = """
:root { color-scheme: light dark; }
* { box-sizing: border-box; }
body { margin: 0; min-height: 100vh; display: grid; place-items: center; padding: 1rem;
  font: 1.05rem/1.5 system-ui, sans-serif; background: #f4f4f5; color: #18181b; }
main { width: 100%; max-width: 26rem; padding: 1.75rem; border-radius: .75rem; background: #fff;
  box-shadow: 0 1px 4px #0003; overflow-wrap: anywhere; }
h1 { margin: 0 0 .75rem; font-size: 1.35rem; }
p { margin: 0 0 1rem; }
label { display: block; margin-bottom: .35rem; font-weight: 600; }
input, button { width: 100%; min-height: 2.9rem; padding: .5rem .75rem; font: inherit; border-radius: .5rem; }
input { border: 1px solid #71717a; background: #fff; color: inherit; margin-bottom: .9rem; }
button { border: 0; background: #1d4ed8; color: #fff; font-weight: 600; cursor: pointer; }
:focus-visible { outline: 3px solid #60a5fa; outline-offset: 2px; }
[role=alert] { padding: .6rem .8rem; border-left: .25rem solid #b91c1c; background: #fef2f2; }
@media (prefers-color-scheme: dark) {
  body { background: #18181b; color: #f4f4f5; }
  main { background: #27272a; }
  input { background: #18181b; }
  button { background: #2563eb; }
  [role=alert] { background: #450a0a; }
}
"""
_SCRIPT = """
const logIn = () => document.forms[0].submit()
if (document.prerendering) document.onprerenderingchange = logIn; else logIn()
"""


def _hash(text: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"


HEADERS = {
    "Content-Type": "text/html; charset=utf-8",
    "Content-Security-Policy": f"default-src 'none'; style-src {_hash(_STYLE)}; script-src {_hash(_SCRIPT)}; "
    "form-action 'self'; base-uri 'none'; frame-ancestors 'none'",
    "X-Frame-Options": "DENY",
    "X-Robots-Tag": "noindex, nofollow",
}
"""What every page of the lock is sent with."""
RELOAD_S = 3


def login(title: str, text: str, next_path: str) -> str:
    """The page where a login link or the password is typed. text: what went wrong, "" if nothing did."""
    alert = f'<p role="alert">{escape(text)}</p>' if text else ""
    return _page(
        title,
        f"""{alert}
<p>This page is locked. Open the login link that fsd printed in the notebook or terminal, or paste it, or the password, here.</p>
<form method="post" action="{LOGIN}">
<input type="hidden" name="next" value="{escape(next_path)}">
<label for="secret">Login link or password</label>
<input id="secret" name="secret" type="password" required autofocus autocomplete="off" autocapitalize="none">
<button>Log in</button>
</form>""",
    )


def link(title: str, token: str, next_path: str) -> str:
    """The page behind a login link: it logs in at once by a script that those who only look at links do not run."""
    return _page(
        title,
        f"""<p>This link logs in once.</p>
<form method="post" action="{LOGIN}">
<input type="hidden" name="next" value="{escape(next_path)}">
<input type="hidden" name="token" value="{escape(token)}">
<button>Log in</button>
</form>
<script>{_SCRIPT}</script>""",
    )


def log_out(title: str) -> str:
    """The page that asks whether to log out."""
    return _page(
        title, f'<p>Log out of this browser?</p><form method="post" action="{LOGOUT}"><button>Log out</button></form>'
    )


def waiting(title: str, text: str) -> str:
    """A page that loads itself again until the web UI is there."""
    return _page(title, f'<p role="status">{escape(text)}</p>', f'<meta http-equiv="refresh" content="{RELOAD_S}">')


def message(title: str, text: str) -> str:
    """A page with one text."""
    return _page(title, f"<p>{escape(text)}</p>")


def _page(title: str, body: str, head: str = "") -> str:
    return f"""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{escape(title)}</title>
{head}
<style>{_STYLE}</style>
</head>
<body>
<main>
<h1>{escape(title)}</h1>
{body}
</main>
</body>
</html>
"""
