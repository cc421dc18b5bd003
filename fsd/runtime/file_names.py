"""What a downloaded file is called: Content-Disposition (RFC 6266), made safe."""

from __future__ import annotations

import re
import unicodedata
from urllib.parse import unquote, urlsplit

LONGEST_BYTES = 200
_PARAMETER = re.compile(r';\s*(filename\*?)\s*=\s*(?:"((?:[^"\\]|\\.)*)"|([^;\s]+))', re.IGNORECASE)
_UNSAFE = re.compile(r'[\x00-\x1f\x7f<>:"|?*]')


def file_name(disposition: str, *urls: str) -> str:
    """The safe name of a file: from its Content-Disposition, else from the first address that ends in a name.

    Never empty, never a path, never hidden, at most LONGEST_BYTES of UTF-8.
    """
    given = safe_name(_from_disposition(disposition))
    for url in urls:
        last = unquote(urlsplit(url).path.rpartition("/")[2])
        given = given or (safe_name(last) if re.search(r"\.\w+$", last) else "")
    return given or "download"


def safe_name(name: str) -> str:
    """`name` without folders, control characters and what file systems refuse; "" when nothing is left."""
    last = re.split(r"[/\\]", unicodedata.normalize("NFC", name))[-1]
    last = _UNSAFE.sub("_", last).strip(" .")
    if len(last.encode("utf-8", "replace")) <= LONGEST_BYTES:
        return last.encode("utf-8", "replace").decode()
    stem, dot, suffix = last.rpartition(".")
    suffix = dot + suffix if stem and len(suffix) <= 20 else ""
    whole = last.removesuffix(suffix).encode("utf-8", "replace")
    return whole[: LONGEST_BYTES - len(suffix.encode("utf-8", "replace"))].decode("utf-8", "ignore") + suffix


def _from_disposition(header: str) -> str:
    """The name that the header gives, as it stands; the extended form (RFC 8187) goes before the plain one."""
    given = {
        kind.lower(): re.sub(r"\\(.)", r"\1", quoted) if quoted else bare
        for kind, quoted, bare in reversed(_PARAMETER.findall(f";{header.partition(';')[2]}"))
    }
    charset, quote, text = given.get("filename*", "").partition("'")
    if quote and charset.lower() in ("utf-8", "iso-8859-1"):
        return unquote(text.partition("'")[2], encoding=charset, errors="replace")
    plain = given.get("filename", "")
    try:  # headers arrive as Latin-1, though most servers mean UTF-8
        return plain.encode("latin-1").decode("utf-8")
    except UnicodeError:
        return plain
