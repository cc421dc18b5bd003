"""What ngrok's error codes mean for people (https://ngrok.com/docs/errors)."""

from __future__ import annotations

from fsd.webui.tunnels.child import Cause

TOKEN, DOMAIN = "NGROK_AUTHTOKEN", "NGROK_DOMAIN"
DASHBOARD = "https://dashboard.ngrok.com"
OTHERWISE = "or choose another tunnel: cloudflared, gradio"
CAUSES = (
    Cause(
        r"ERR_NGROK_10[5-7]\b|ERR_NGROK_4018",
        f"ngrok does not accept {TOKEN} (ERR_NGROK_105)",
        f"copy it again from {DASHBOARD}/get-started/your-authtoken",
    ),
    Cause(
        r"ERR_NGROK_108\b",
        "ngrok allows no more agents at once for this account: others of yours still run (ERR_NGROK_108)",
        f"end them at {DASHBOARD}/agents or wait a minute, {OTHERWISE}",
        passes=True,
    ),
    Cause(
        r"ERR_NGROK_334\b|ERR_NGROK_308\b",
        "the ngrok domain is already online, from another machine or a session that has not ended (ERR_NGROK_334)",
        f"end it at {DASHBOARD}/endpoints or wait a minute, {OTHERWISE}",
        passes=True,
    ),
    Cause(
        r"ERR_NGROK_(314|319|320|326|9009|15013)\b",
        "the ngrok domain is not one of this account (ERR_NGROK_320)",
        f"see yours at {DASHBOARD}/domains and set {DOMAIN} to it, or to nothing",
    ),
    Cause(
        r"ERR_NGROK_(725|726|720|4027)\b",
        "ngrok's data for this month is used up: 1 GB on the free plan (ERR_NGROK_725)",
        f"see {DASHBOARD}/billing, {OTHERWISE}",
    ),
    Cause(
        r"ERR_NGROK_(727|734|702)\b",
        "ngrok's requests are used up: 20,000 a month on the free plan, 4,000 a minute (ERR_NGROK_727)",
        f"see {DASHBOARD}/billing, {OTHERWISE}",
    ),
    Cause(
        r"ERR_NGROK_12[01]\b",
        "the ngrok on the PATH is too old (ERR_NGROK_120)",
        "update it (ngrok update), or take it off the PATH: then fsd fetches a pinned one",
    ),
    Cause(
        r"(?i)failed to (reconnect session|dial)|no such host|i/o timeout|connection refused",
        "ngrok cannot be reached",
        f"check that this network lets connect.ngrok-agent.com pass, {OTHERWISE}",
        passes=True,
    ),
)
