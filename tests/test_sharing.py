"""Sessions that come in by a link: a zip anywhere, a folder of Google Drive; whole or not at all, and nothing stays behind."""

from __future__ import annotations

import hashlib
import json
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
from bad_server import BadServer, Handler, bad_server, file, page, status
from micro import draw_photos

from fsd import sharing
from fsd.data.incoming import session_in
from fsd.data.photos import add_photos
from fsd.data.session import Session, open_session
from fsd.errors import DownloadError, FsdError, MachineError, RecipeError, SessionError
from fsd.runtime import colab, drive_folder
from fsd.runtime.drive_api import DriveApi
from fsd.weights import links
from fsd.weights.links import drive_folder as folder_in

FOLDER_LINK = "https://drive.google.com/drive/folders/1aB_-c?usp=sharing"


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[BadServer]:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    for name in ("NO_PROXY", "no_proxy"):
        monkeypatch.setenv(name, "127.0.0.1")
    with bad_server() as running:
        yield running


@pytest.fixture
def session(tmp_path: Path) -> Session:
    made = open_session(tmp_path / "there", "cup", create=True)
    add_photos(made, draw_photos(tmp_path / "photos", 2))
    (made.captions / "IMG_0000.txt").write_text("a sks cup")
    return made


@pytest.fixture
def zipped(session: Session, tmp_path: Path) -> bytes:
    return Path(sharing.export_session(session, str(tmp_path / "out.zip"))["path"]).read_bytes()


def same(session: Session, other: Path) -> None:
    """Assert that another session holds what the first does."""
    inner = [path.relative_to(session.folder) for path in session.folder.rglob("*") if path.is_file()]
    assert len(inner) >= 4
    for path in inner:
        if path.name not in ("session.json", "lock.json", ".DS_Store"):
            assert (other / path).read_bytes() == (session.folder / path).read_bytes()


def left(tmp_path: Path) -> list[str]:
    """What is in the new home's sessions, and where downloads lie."""
    places = [tmp_path / "home" / "Fast-Dreambooth" / "Sessions", tmp_path / "cache" / "fsd" / "incoming"]
    return [path.name for place in places if place.exists() for path in place.iterdir()]


# --- a zip -----------------------------------------------------------------------------------------------------------


def test_what_is_exported_comes_in_by_a_link(
    server: BadServer, session: Session, zipped: bytes, tmp_path: Path
) -> None:
    link = server.on("/share/cup.zip?dl=1", file(zipped))
    result = sharing.import_session(link, root=str(tmp_path / "home"))
    assert (result["name"], result["photos"]) == ("cup", 2)
    same(session, Path(result["folder"]))
    assert left(tmp_path) == ["cup"]


def test_a_zip_on_google_drive_behind_its_page(
    server: BadServer, session: Session, zipped: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(links, "DRIVE", server.url)
    form = '<form id="download-form" action="/again"><input type="hidden" name="confirm" value="t"></form>'
    server.on("/download", page(f"<title>Google Drive - Virus scan warning</title>{form}"))
    server.on("/again", file(zipped, headers={"Content-Disposition": 'attachment; filename="my session.zip"'}))
    link = "https://drive.google.com/file/d/1aB_-c/view?usp=sharing"
    result = sharing.import_session(link, "copy", str(tmp_path / "home"))
    assert "id=1aB_-c" in server.asked[0][0]
    same(session, Path(result["folder"]))
    assert left(tmp_path) == ["copy"]


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (lambda content: content[: len(content) // 2], r"/cup\.zip is not a zip that can be read: it is cut off"),
        (lambda content: content.replace(b"a sks cup", b"a sky cup"), "is damaged"),
        (lambda content: b"no zip at all", r"/cup\.zip is not a zip that can be read: it is something else"),
    ],
)
def test_a_damaged_zip_leaves_nothing_and_is_fetched_anew(
    server: BadServer, zipped: bytes, tmp_path: Path, spoil: Callable[[bytes], bytes], said: str
) -> None:
    link = server.on("/cup.zip", file(spoil(zipped)), file(zipped, version='"v2"'))
    with pytest.raises(SessionError, match=said) as caught:
        sharing.import_session(link, root=str(tmp_path / "home"))
    assert "fetched anew" in caught.value.hint
    assert str(tmp_path) not in str(caught.value)
    assert left(tmp_path) == []
    assert sharing.import_session(link, root=str(tmp_path / "home"))["photos"] == 2


def test_a_bomb_behind_a_link_is_no_session(server: BadServer, tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "bomb.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("cup/session.json", b"\0" * (8 << 20))
    link = server.on("/bomb.zip", file((tmp_path / "bomb.zip").read_bytes()))
    with pytest.raises(SessionError, match="zip bomb"):
        sharing.import_session(link, root=str(tmp_path / "home"))
    assert left(tmp_path) == []


def test_a_taken_name_is_said_before_anything_is_asked(server: BadServer, zipped: bytes, tmp_path: Path) -> None:
    link = server.on("/cup.zip", file(zipped))
    sharing.import_session(link, root=str(tmp_path / "home"))
    server.asked.clear()
    with pytest.raises(SessionError, match="already a session 'cup'"):
        sharing.import_session(link, "cup", str(tmp_path / "home"))
    assert server.asked == []
    server.on("/cup.zip", file(zipped, cut=lambda due: 2000))  # which would have to be gone on with
    with pytest.raises(SessionError, match="already a session 'cup'") as caught:
        sharing.import_session(link, root=str(tmp_path / "home"))
    assert len(server.asked) == 1
    assert "name=" in caught.value.hint
    assert left(tmp_path) == ["cup"]


def test_what_is_in_a_zip_is_told_by_its_start(zipped: bytes) -> None:
    assert session_in(zipped[:100]) == "cup"
    assert session_in(zipped[:20]) == session_in(b"no zip") == session_in(b"") == ""
    assert session_in(zipped.replace(b"cup/", b"logs/")) == ""


@pytest.mark.parametrize(
    ("link", "kind", "said"),
    [
        ("https://huggingface.co/me/cup", RecipeError, "a whole repository"),
        ("https://example.org/cup.zip?token=hf_secret", RecipeError, "holds a token"),
        ("ftp://example.org/cup.zip", DownloadError, "is not a link"),
        ("https://drive.google.com/drive/my-drive", RecipeError, "not a link to one file"),
        (FOLDER_LINK, MachineError, "only told to whoever signs in"),
    ],
)
def test_links_to_something_else(link: str, kind: type[FsdError], said: str, server: BadServer, tmp_path: Path) -> None:
    with pytest.raises(kind, match=said) as caught:
        sharing.import_session(link, root=str(tmp_path / "home"))
    assert caught.value.hint
    assert "hf_secret" not in str(caught.value)
    assert left(tmp_path) == []


def test_a_link_that_is_gone(server: BadServer, tmp_path: Path) -> None:
    with pytest.raises(DownloadError, match=r"/cup\.zip is not, or no longer, at 127\.0\.0\.1") as caught:
        sharing.import_session(server.on("/cup.zip", status(404)), root=str(tmp_path / "home"))
    assert "ask for a new link" in caught.value.hint
    assert "model" not in str(caught.value)


# --- a folder of Google Drive ----------------------------------------------------------------------------------------


class OneDrive:
    """A folder as the Drive API tells of it, two rows a page. wrong: files that come with other bytes."""

    def __init__(self, server: BadServer, folder: Path) -> None:
        self.server, self.folder, self.ids = server, folder, {"1aB_-c": folder}
        self.wrong: set[str] = set()
        self.extra: list[dict[str, Any]] = []
        self.tokens: list[str] = []
        server.on("/files", self.rows)
        server.on("/files/1aB_-c", lambda handler: self.say(handler, self.row("1aB_-c")))
        for path in sorted(folder.rglob("*")):
            self.ids[f"id{len(self.ids)}"] = path
            if path.is_file():
                server.on(f"/files/id{len(self.ids) - 1}", self.content)

    def row(self, number: str) -> dict[str, Any]:
        path = self.ids[number]
        if path.is_dir():
            return {"id": number, "name": path.name, "mimeType": "application/vnd.google-apps.folder"}
        md5 = hashlib.md5(path.read_bytes()).hexdigest()
        size = str(path.stat().st_size)
        return {"id": number, "name": path.name, "mimeType": "image/png", "size": size, "md5Checksum": md5}

    def rows(self, handler: Handler) -> None:
        asked = {name: values[0] for name, values in parse_qs(urlsplit(handler.path).query).items()}
        assert asked["supportsAllDrives"] == asked["includeItemsFromAllDrives"] == "true"
        parent = asked["q"].partition("'")[2].partition("'")[0]
        found = [self.row(number) for number, path in self.ids.items() if path.parent == self.ids[parent]]
        found = [row for row in found if row["id"] != "1aB_-c"] + (self.extra if parent == "1aB_-c" else [])
        start = int(asked.get("pageToken", 0))
        more = {"nextPageToken": str(start + 2)} if start + 2 < len(found) else {}
        self.say(handler, {"files": found[start : start + 2]} | more)

    def content(self, handler: Handler) -> None:
        path = self.ids[urlsplit(handler.path).path.rpartition("/")[2]]
        content = path.read_bytes()
        self.tokens.append(handler.headers.get("Authorization", ""))
        file(content[::-1] if path.name in self.wrong else content)(handler)

    def say(self, handler: Handler, value: Any) -> None:
        self.tokens.append(handler.headers.get("Authorization", ""))
        status(200, json.dumps(value).encode())(handler)


@pytest.fixture
def shared(server: BadServer, session: Session, monkeypatch: pytest.MonkeyPatch) -> OneDrive:
    (session.folder / ".DS_Store").write_bytes(b"housekeeping")
    (session.captions / "IMG_0001.txt").touch()
    monkeypatch.setattr(drive_folder, "asking", lambda: DriveApi(lambda: "ya29.planted", server.url))
    return OneDrive(server, session.folder)


def test_a_folder_comes_in_whole(shared: OneDrive, session: Session, tmp_path: Path) -> None:
    result = sharing.import_session(FOLDER_LINK, root=str(tmp_path / "home"))
    assert (result["name"], result["photos"]) == ("cup", 2)
    same(session, Path(result["folder"]))
    assert set(shared.tokens) == {"Bearer ya29.planted"}
    assert left(tmp_path) == ["cup"]


def test_a_folder_whose_name_is_taken_is_not_fetched(shared: OneDrive, tmp_path: Path) -> None:
    sharing.import_session(FOLDER_LINK, root=str(tmp_path / "home"))
    shared.server.asked.clear()
    with pytest.raises(SessionError, match="already a session 'cup'"):
        sharing.import_session(FOLDER_LINK, root=str(tmp_path / "home"))
    assert len(shared.server.asked) == 1
    assert sharing.import_session(FOLDER_LINK, "copy", str(tmp_path / "home"))["name"] == "copy"


def test_a_file_that_arrives_otherwise_is_not_taken_and_the_others_are_not_fetched_twice(
    shared: OneDrive, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shared.wrong = {"session.json"}
    with pytest.raises(DownloadError, match=r"session\.json did not arrive as it is on Drive") as caught:
        sharing.import_session(FOLDER_LINK, root=str(tmp_path / "home"))
    assert not (tmp_path / "home").exists()
    fetched = [path for path, _ in shared.server.asked if "alt=media" in path]
    assert len(fetched) >= 3
    shared.wrong = set()
    shared.server.asked.clear()
    assert sharing.import_session(FOLDER_LINK, root=str(tmp_path / "home"))["photos"] == 2
    again = [path for path, _ in shared.server.asked if "alt=media" in path]
    assert set(again) & set(fetched) == {fetched[-1]}
    assert left(tmp_path) == ["cup"]
    shown = capsys.readouterr()
    assert "ya29" not in shown.out + shown.err + str(caught.value) + repr(caught.value)


@pytest.mark.parametrize(
    ("row", "said"),
    [
        ({"id": "x", "name": "session.json", "mimeType": "text/plain", "size": "1", "md5Checksum": "0"}, "there twice"),
        ({"id": "1aB_-c", "name": "self", "mimeType": "application/vnd.google-apps.folder"}, "go too deep"),
    ],
)
def test_what_cannot_be_a_folder_here(shared: OneDrive, tmp_path: Path, row: dict[str, Any], said: str) -> None:
    shared.extra = [row]
    with pytest.raises(DownloadError, match=said):
        sharing.import_session(FOLDER_LINK, root=str(tmp_path / "home"))
    assert left(tmp_path) == []


def test_names_lead_nowhere_and_what_is_no_file_is_left_out(
    shared: OneDrive, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shared.extra = [{"id": "x", "name": "plan", "mimeType": "application/vnd.google-apps.document"}]
    number = next(number for number, path in shared.ids.items() if path.name == "IMG_0000.txt")
    shared.extra.append(shared.row(number) | {"name": "a/../../outside"})
    folder = drive_folder.fetch_folder("1aB_-c", tmp_path / "place", drive_folder.asking())
    assert (folder / "outside").read_text() == "a sks cup"
    assert "left out: plan, which is no file but 'document'" in capsys.readouterr().out
    assert sorted(path.name for path in tmp_path.iterdir()) == ["photos", "place", "there"]


def test_no_room_is_said_before_a_file_is_fetched(shared: OneDrive, tmp_path: Path) -> None:
    huge = {"id": "x", "name": "cup.safetensors", "mimeType": "a/b", "size": str(1 << 60), "md5Checksum": "0"}
    shared.extra = [huge]
    with pytest.raises(MachineError, match="will be needed"):
        sharing.import_session(FOLDER_LINK, root=str(tmp_path / "home"))
    assert not [path for path, _ in shared.server.asked if "alt=media" in path]


def test_on_colab_its_user_is_asked_for_reading(monkeypatch: pytest.MonkeyPatch) -> None:
    scopes: list[str] = []
    monkeypatch.setattr(colab, "in_colab", lambda: True)
    monkeypatch.setattr(colab, "drive_token", lambda scope: scopes.append(scope) or "ya29")
    assert drive_folder.asking().token() == "ya29"
    assert scopes == ["https://www.googleapis.com/auth/drive.readonly"]


@pytest.mark.parametrize(
    ("link", "number"),
    [
        (FOLDER_LINK, "1aB_-c"), ("drive.google.com/drive/u/0/folders/1aB_-c", "1aB_-c"),
        ("https://drive.google.com/folderview?id=1aB_-c", "1aB_-c"), ("https://drive.google.com/drive/folders/", ""),
        ("https://drive.google.com/file/d/1aB_-c/view", ""), ("https://drive.google.com/open?id=1aB_-c", ""),
        ("https://example.org/drive/folders/1aB_-c", ""),
    ],
)  # fmt: skip
def test_folder_links(link: str, number: str) -> None:
    assert folder_in(link) == number
