"""What people's links mean: pages of the hub, of Civitai and of Google Drive, and links to files."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any
from urllib.parse import parse_qs, unquote, urlencode, urlsplit

from fsd.errors import DownloadError, RecipeError
from fsd.families.family import RemoteFile, Source
from fsd.runtime.download import fetch_json
from fsd.runtime.web import sendable, shown

CIVITAI = "https://civitai.com"
DRIVE = "https://drive.usercontent.google.com"
_BARE = re.compile(r"(www\.)?(civitai\.com|huggingface\.co|hf\.co|(drive|docs)\.google\.com)/", re.IGNORECASE)
_SECRETS = {"token", "api_key", "apikey", "access_token", "key", "password"}


@dataclass(frozen=True)
class Link:
    """A file behind a link. page: where people look at it. name, sha256: "" where they are not known yet."""

    url: str
    page: str
    name: str = ""
    sha256: str = ""


def is_link(spec: str) -> bool:
    """Whether a text is a link, with or without https:// for the sites that models come from."""
    return bool(re.match(r"[a-z][a-z0-9+.-]*://", spec.strip(), re.IGNORECASE) or _BARE.match(spec.strip()))


def read_link(spec: str) -> Source | Link:
    """What a link leads to, a place on the hub or a file elsewhere, without asking anyone.

    RecipeError for a link to something else, or one with a token in it: links are kept in settings and shown.
    """
    text = spec.strip()
    url = sendable(f"https://{text}" if _BARE.match(text) else text)
    parts = urlsplit(url)
    query = {name: values[0] for name, values in parse_qs(parts.query).items()}
    host = (parts.hostname or "").removeprefix("www.")
    if given := _SECRETS & {name.lower() for name in query}:
        hint = "take it out of the link, and keep it as the secret CIVITAI_TOKEN or HF_TOKEN"
        raise RecipeError(f"the link to {host} holds a {min(given)}", hint)
    steps = [unquote(step) for step in parts.path.split("/") if step]
    if host in ("huggingface.co", "hf.co"):
        return _on_the_hub(steps, shown(url))
    if host in ("drive.google.com", "docs.google.com", "drive.usercontent.google.com"):
        return _on_drive(steps, query, shown(url))
    return Link(url, shown(url))


def drive_folder(spec: str) -> str:
    """The ID of the Google Drive folder that a link leads to, "" for anything else."""
    text = spec.strip()
    parts = urlsplit(f"https://{text}" if _BARE.match(text) else text)
    steps = parts.path.split("/")
    named = steps[steps.index("folders") + 1] if "folders" in steps[:-1] else parse_qs(parts.query).get("id", [""])[0]
    is_folder = "folders" in steps or steps[-1] in ("folderview", "embeddedfolderview")
    return named if is_folder and parts.hostname == "drive.google.com" and re.fullmatch(r"[\w-]+", named) else ""


def find_file(link: Link, kind: str = "Checkpoint") -> Link:
    """The file itself of a link that may lead to a page of Civitai, which is asked for its name and SHA-256.

    kind: what it should be, in Civitai's words; RecipeError when it is another, DownloadError when Civitai does not say.
    """
    if urlsplit(link.url).hostname not in (urlsplit(CIVITAI).hostname, f"www.{urlsplit(CIVITAI).hostname}"):
        return link
    path, query = urlsplit(link.url).path, parse_qs(urlsplit(link.url).query)
    version = re.fullmatch(r"/(?:api/download/models|api/v1/model-versions|model-versions)/(\d+)(?:/.*)?", path)
    model = re.fullmatch(r"/(?:api/v1/)?models/(\d+)(?:/.*)?", path)
    number = version[1] if version else query.get("modelVersionId", [""])[0]
    if not number.isdigit() and not model:
        return link
    page = f"model-versions/{number}" if number.isdigit() else f"models/{model[1] if model else ''}"
    found = fetch_json(f"{CIVITAI}/api/v1/{page}", label=f"Civitai's record of {shown(link.url)}", page=link.page)
    try:
        return _on_civitai(found, link, kind, bool(path.startswith("/api/download") and query))
    except (KeyError, IndexError, TypeError, AttributeError):
        hint = "copy the link of the model's download button instead"
        raise DownloadError(f"Civitai's record of {link.page} is of an unknown form", hint) from None


def _on_civitai(record: dict[str, Any], link: Link, kind: str, chosen: bool) -> Link:
    """The model file of a version, or of a model's newest one; of a download link with wishes, the file it names."""
    found = record.get("type") or record["model"]["type"]
    if found != kind:
        raise RecipeError(f"{link.page} is a {found} on Civitai, not a {kind}", f"choose the page of a {kind}")
    version = record["modelVersions"][0] if "modelVersions" in record else record
    files = [file for file in version["files"] if file["type"] in ("Model", "Pruned Model")]
    if chosen:
        files = [file for file in files if _same_download(file["downloadUrl"], link.url)]
        if not files:
            return link
    elif not files:
        raise RecipeError(f"{link.page} has no model file", "choose another version of the model")
    best = max(
        files, key=lambda file: ((file.get("metadata") or {}).get("format") == "SafeTensor", bool(file.get("primary")))
    )
    sha256 = (best.get("hashes") or {}).get("SHA256") or ""
    page = f"{CIVITAI}/models/{version.get('modelId') or record['id']}?modelVersionId={version['id']}"
    return Link(sendable(best["downloadUrl"]), page, str(best["name"]), str(sha256).lower())


def _same_download(one: str, other: str) -> bool:
    first, second = urlsplit(one), urlsplit(other)
    return first.path == second.path and parse_qs(first.query) == parse_qs(second.query)


def _on_the_hub(steps: list[str], page: str) -> Source:
    if len(steps) < 2 or steps[0] in ("datasets", "spaces", "api"):
        raise RecipeError(
            f"{page} is no model on the hub", "give the page of a model: https://huggingface.co/OWNER/NAME"
        )
    repository = "/".join(steps[:2])
    if len(steps) >= 5 and steps[2] in ("blob", "resolve", "raw"):
        return Source(repository, steps[3], RemoteFile("/".join(steps[4:])))
    return Source(repository, steps[3] if len(steps) >= 4 and steps[2] == "tree" else "main")


def _on_drive(steps: list[str], query: dict[str, str], page: str) -> Link:
    number = steps[steps.index("d") + 1] if "d" in steps[:-1] else query.get("id", "")
    if "folders" in steps or not re.fullmatch(r"[\w-]+", number):
        raise RecipeError(
            f"{page} is not a link to one file on Google Drive", "share the file itself and give its link"
        )
    wishes = {"id": number, "export": "download", "confirm": "t"}
    if query.get("resourcekey"):
        wishes["resourcekey"] = query["resourcekey"]
    return Link(f"{DRIVE}/download?{urlencode(wishes)}", f"https://drive.google.com/file/d/{number}/view")
