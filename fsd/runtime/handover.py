"""Secrets on their way to a child that needs them: through a pipe, as the environment of a process can be listed."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from fsd.runtime import secrets

_PIPE = "FSD_SECRETS_PIPE"
"""Names the number of the pipe's end that a child inherits."""


def held() -> dict[str, str]:
    """What a child that downloads needs, by the names of environment variables: tokens of sites, logins of proxies."""
    tokens = {site.token: secrets.as_given(site.token) for site in secrets.SITES if site.token}
    addresses = {
        name: value
        for name, value in os.environ.items()
        if secrets.WAY_OUT.fullmatch(name) and secrets.has_login(value)
    }
    return {name: value for name, value in (tokens | addresses).items() if value}


@contextmanager
def handed_over(environment: Mapping[str, str], given: Mapping[str, str]) -> Iterator[dict[str, Any]]:
    """`env` and `pass_fds` for a child to be started inside, which gets `given` by `take`; no other process does."""
    if not given:
        yield {"env": environment}
        return
    theirs, ours = os.pipe()
    try:
        with open(ours, "wb") as stream:  # some hundred bytes: the system keeps 64 KiB for a reader to come
            stream.write(json.dumps(dict(given)).encode())
        yield {"env": {**environment, _PIPE: str(theirs)}, "pass_fds": (theirs,)}
    finally:
        os.close(theirs)


def take() -> None:
    """Set what the parent handed over in this process's own variables, where the system's listing does not show it."""
    if number := os.environ.pop(_PIPE, ""):
        with open(int(number), "rb") as stream:
            os.environ.update(json.loads(stream.read()))
