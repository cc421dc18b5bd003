"""What Google itself holds, asked over the Drive API (v3): the one proof that a file left this machine."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.error import HTTPError
from urllib.parse import urlencode
from urllib.request import Request, urlopen

from fsd.errors import MachineError
from fsd.runtime import colab
from fsd.runtime.drive import MY_DRIVE

API = "https://www.googleapis.com/drive/v3"
TIMEOUT_S = 30.0
_HINTS = {
    401: "allow the access to Drive once more",
    403: "allow the access to Drive for this account, or wait: too much was asked at once",
    429: "wait: too much was asked at once",
}


class GoogleDrive:
    """Asks Google for MD5s. token: gives a fresh access token; asked again when Google refuses the one in use.

    Folders and files of one name may be there several times, as Drive allows it: any of them counts.
    """

    def __init__(self, token: Callable[[], str] = colab.drive_token, api: str = API) -> None:
        self._get_token, self._api, self._token = token, api, ""

    def has(self, path: Path, md5: str) -> bool:
        """Whether Google has the file at a path on the mount with these bytes; MachineError when it cannot be asked."""
        top, *names = path.relative_to(colab.MOUNT_POINT).parts
        if top == MY_DRIVE:
            parents = ["root"]
        else:
            shared, *names = names
            drives = self._pages("drives", "drives", {"fields": "nextPageToken,drives(id,name)"})
            parents = [row["id"] for row in drives if row["name"] == shared]
        *folders, name = names
        for folder in folders:
            parents = [row["id"] for parent in parents for row in self._named(folder, parent)]
        return any(row.get("md5Checksum") == md5 for parent in parents for row in self._named(name, parent))

    def _named(self, name: str, parent: str) -> list[dict[str, Any]]:
        quoted = name.replace("\\", "\\\\").replace("'", "\\'")
        question = {
            "q": f"name = '{quoted}' and '{parent}' in parents and trashed = false",
            "fields": "nextPageToken,files(id,md5Checksum)",
            "supportsAllDrives": "true",
            "includeItemsFromAllDrives": "true",
        }
        return self._pages("files", "files", question)

    def _pages(self, what: str, key: str, question: dict[str, str]) -> list[dict[str, Any]]:
        rows: list[dict[str, Any]] = []
        page: dict[str, str] = {}
        while True:
            answer = self._ask(f"{self._api}/{what}?{urlencode(question | page)}")
            rows += answer.get(key, [])
            if not answer.get("nextPageToken"):
                return rows
            page = {"pageToken": answer["nextPageToken"]}

    def _ask(self, url: str, again: bool = True) -> dict[str, Any]:
        try:
            self._token = self._token or self._get_token()
            request = Request(url, headers={"Authorization": f"Bearer {self._token}"})
            with urlopen(request, timeout=TIMEOUT_S) as answer:
                found = json.loads(answer.read())
            return found if isinstance(found, dict) else {}
        except HTTPError as fault:
            fault.close()
            if fault.code == 401 and again:
                self._token = ""
                return self._ask(url, again=False)
            told = f"Google answered {fault.code} when asked what Drive holds"
            raise MachineError(told, _HINTS.get(fault.code, "try again later")) from None
        except (OSError, ValueError) as fault:
            raise MachineError(f"Google could not be asked what Drive holds: {colab.first_line(fault)}", "") from None
        except Exception as fault:  # Colab's MessageError, google.auth's
            told = f"there is no access to the Drive API: {colab.first_line(fault)}"
            raise MachineError(told, "run the cell again and allow the access") from None
