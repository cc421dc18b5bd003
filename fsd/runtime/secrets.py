"""Tokens: from the environment or Colab's secrets, each for the hosts it belongs to and for no other.

Children do not inherit them: `without` makes their environment, and `handover` gives them what they need.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import urlsplit

from fsd.errors import MachineError
from fsd.runtime import colab

NAMES = ("HF_TOKEN", "CIVITAI_TOKEN", "NGROK_AUTHTOKEN", "CLOUDFLARE_TUNNEL_TOKEN")
"""Every secret that fsd reads: as environment variables, or under the key symbol of a Colab notebook."""
WAY_OUT = re.compile(r"(?i)(https?|all|ftp)_proxy|hf_endpoint")
"""Variables with the address through which this machine reaches others."""
_NAMED = re.compile(r"(?i)token|password|passwd|secret|credential|cookie|api_?key|_key$|(^|_)auth|access_?key")
_LOGIN = re.compile(r"//[^/@\s]+@")
_COLAB_HINT = "add the secret {name} under the key symbol at the left of the notebook and switch its access on"
_HINT = "set the environment variable {name}"


@dataclass(frozen=True)
class Site:
    """A place that models come from. hosts: also all below them. token: the secret's name, or "" where none helps."""

    title: str
    hosts: tuple[str, ...]
    token: str
    to_sign_in: str


SITES = (
    Site("the hub", ("huggingface.co",), "HF_TOKEN", "make a token at https://huggingface.co/settings/tokens"),
    Site("Civitai", ("civitai.com",), "CIVITAI_TOKEN", "make an API key at https://civitai.com/user/account"),
    Site(
        "Google Drive",
        ("drive.google.com", "docs.google.com", "drive.usercontent.google.com", "accounts.google.com"),
        "",
        "share the file with anyone who has the link; where its quota is exceeded, share a copy of your own",
    ),
)


def token(name: str) -> str:
    """The token of that name from the environment, else from Colab's secrets; "" if there is none.

    name: one of NAMES, or of a setting kept beside them. MachineError, without the value, when it cannot be a token:
    sent as it is, such text would be shown by the error of the HTTP client.
    """
    found = as_given(name).strip()
    if not all("!" <= letter <= "~" for letter in found):
        raise MachineError(f"{name} holds spaces, line breaks or letters that no token has", "copy the token again")
    return found


def as_given(name: str) -> str:
    """What stands in the environment, else in Colab's secrets, under that name: not looked at, "" if there is none."""
    return os.environ.get(name) or colab.secret(name)


def named_so(name: str) -> bool:
    """Whether a variable of that name holds a secret, ours or of another program."""
    return bool(_NAMED.search(name))


def has_login(value: str) -> bool:
    """Whether an address with a user name or a password stands in it."""
    return bool(_LOGIN.search(value))


def without(environment: Mapping[str, str]) -> dict[str, str]:
    """The variables that hold no secret, as far as their names and values tell."""
    return {name: value for name, value in environment.items() if not named_so(name) and not has_login(value)}


def site_of(url: str) -> Site | None:
    """The site that an address belongs to, None if it is of no known one."""
    host = (urlsplit(url).hostname or "").lower()
    return next((site for site in SITES for name in site.hosts if host == name or host.endswith(f".{name}")), None)


def token_for(url: str) -> str:
    """The token that belongs to an address's host, "" if none does or the address is not https."""
    site = site_of(url)
    return token(site.token) if site and site.token and urlsplit(url).scheme == "https" else ""


def how_to_sign_in(url: str) -> str:
    """What a person has to do so that an address's host gives its files: a hint for errors."""
    site = site_of(url)
    if site is None:
        return "download it in a browser where you are signed in, and give fsd the file"
    return f"{site.to_sign_in}, then {how_to_give(site.token)}" if site.token else site.to_sign_in


def how_to_give(name: str) -> str:
    """How to give fsd the token of that name, on this machine."""
    return (_COLAB_HINT if colab.in_colab() else _HINT).format(name=name)
