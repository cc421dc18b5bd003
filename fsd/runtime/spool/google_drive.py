"""What Google itself holds, asked over the Drive API: the one proof that a file left this machine."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from fsd.runtime import colab
from fsd.runtime.drive import MY_DRIVE
from fsd.runtime.drive_api import ALL_DRIVES, API, DriveApi


class GoogleDrive:
    """Asks Google for MD5s. token: as for `DriveApi`.

    Folders and files of one name may be there several times, as Drive allows it: any of them counts.
    """

    def __init__(self, token: Callable[[], str] = colab.drive_token, api: str = API) -> None:
        self._api = DriveApi(token, api)

    def has(self, path: Path, md5: str) -> bool:
        """Whether Google has the file at a path on the mount with these bytes; MachineError when it cannot be asked."""
        top, *names = path.relative_to(colab.MOUNT_POINT).parts
        if top == MY_DRIVE:
            parents = ["root"]
        else:
            shared, *names = names
            drives = self._api.pages("drives", {"fields": "nextPageToken,drives(id,name)"})
            parents = [row["id"] for row in drives if row["name"] == shared]
        *folders, name = names
        for folder in folders:
            parents = [row["id"] for parent in parents for row in self._named(folder, parent)]
        return any(row.get("md5Checksum") == md5 for parent in parents for row in self._named(name, parent))

    def _named(self, name: str, parent: str) -> list[dict[str, Any]]:
        quoted = name.replace("\\", "\\\\").replace("'", "\\'")
        asked = f"name = '{quoted}' and '{parent}' in parents and trashed = false"
        return self._api.pages("files", {"q": asked, "fields": "nextPageToken,files(id,md5Checksum)"} | ALL_DRIVES)
