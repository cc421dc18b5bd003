"""The Drive API (v3), asked with the user's own access: what Drive holds, in as many pages as it takes."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from typing import Any
from urllib.error import HTTPError
from urllib.parse import urlencode
from urllib.request import Request, urlopen

from fsd.errors import MachineError
from fsd.runtime import colab

API = "https://www.googleapis.com/drive/v3"
TIMEOUT_S = 30.0
_LASTS_S = 30 * 60.0
"""Half of what Google gives."""
ALL_DRIVES = {"supportsAllDrives": "true", "includeItemsFromAllDrives": "true"}
_HINTS = {
    401: "allow the access to Drive once more",
    403: "allow the access to Drive for this account, or wait: too much was asked at once",
    404: "check the link; what it leads to must be shared with the account whose access you gave",
    429: "wait: too much was asked at once",
}


class DriveApi:
    """Asks Google. token: gives a fresh access token; asked again when Google refuses the one in use."""

    def __init__(self, token: Callable[[], str], api: str = API) -> None:
        self.api, self._get_token, self._token, self._ends = api, token, "", 0.0

    def pages(self, what: str, question: dict[str, str]) -> list[dict[str, Any]]:
        """All rows of a list, "files" or "drives"; MachineError when it cannot be had."""
        rows: list[dict[str, Any]] = []
        page: dict[str, str] = {}
        while True:
            answer = self.ask(what, question | page)
            rows += answer.get(what, [])
            if not answer.get("nextPageToken"):
                return rows
            page = {"pageToken": answer["nextPageToken"]}

    def ask(self, what: str, question: dict[str, str], again: bool = True) -> dict[str, Any]:
        """One answer; MachineError when there is none."""
        try:
            request = Request(f"{self.api}/{what}?{urlencode(question)}")
            request.add_header("Authorization", f"Bearer {self.token()}")
            with urlopen(request, timeout=TIMEOUT_S) as answer:
                found = json.loads(answer.read())
            return found if isinstance(found, dict) else {}
        except HTTPError as fault:
            fault.close()
            if fault.code == 401 and again:
                self._token = ""
                return self.ask(what, question, again=False)
            told = f"Google answered {fault.code} when asked what Drive holds"
            raise MachineError(told, _HINTS.get(fault.code, "try again later")) from None
        except (OSError, ValueError) as fault:
            raise MachineError(f"Google could not be asked what Drive holds: {colab.first_line(fault)}", "") from None

    def token(self) -> str:
        """An access token that lasts a while; MachineError where there is no access."""
        try:
            if not self._token or time.monotonic() > self._ends:
                self._token, self._ends = self._get_token(), time.monotonic() + _LASTS_S
        except Exception as fault:  # Colab's MessageError, google.auth's
            told = f"there is no access to the Drive API: {colab.first_line(fault)}"
            raise MachineError(told, "run the cell again and allow the access") from None
        return self._token
