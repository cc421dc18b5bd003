"""A private repository as a second home: sent once, confirmed by the hub's own hashes, never public, with a card."""

from __future__ import annotations

import hashlib
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from fsd.errors import DownloadError, MachineError
from fsd.recipe import Recipe
from fsd.weights import second_home
from fsd.weights.model_card import model_card


class Hub:
    """The hub's client as far as it is used: repositories in memory. lose: what becomes of bytes on their way."""

    def __init__(self, private: bool = True, lose: int = 0, large_bytes: int = 100) -> None:
        self.private, self.lose, self.large_bytes = private, lose, large_bytes
        self.held: dict[str, bytes] = {}
        self.calls: list[str] = []

    def create_repo(self, repo_id: str, private: bool, exist_ok: bool) -> None:
        assert private and exist_ok

    def model_info(self, repo_id: str) -> Any:
        return SimpleNamespace(private=self.private)

    def upload_file(self, path_or_fileobj: str | bytes, path_in_repo: str, repo_id: str) -> None:
        self.calls.append(path_in_repo)
        content = path_or_fileobj if isinstance(path_or_fileobj, bytes) else Path(path_or_fileobj).read_bytes()
        self.held[path_in_repo] = content[: len(content) - self.lose]

    def get_paths_info(self, repo_id: str, paths: list[str]) -> list[Any]:
        return [self._file(self.held[path]) for path in paths if path in self.held]

    def _file(self, content: bytes) -> Any:
        git = hashlib.sha1(f"blob {len(content)}\0".encode() + content).hexdigest()
        large = SimpleNamespace(sha256=hashlib.sha256(content).hexdigest()) if len(content) > self.large_bytes else None
        return SimpleNamespace(size=len(content), blob_id="pointer" if large else git, lfs=large)


@pytest.fixture
def contents(tmp_path: Path) -> dict[str, Path | bytes]:
    (tmp_path / "cup.safetensors").write_bytes(b"weights" * 100)
    return {"cup.safetensors": tmp_path / "cup.safetensors", "README.md": b"# cup"}


def test_files_are_sent_confirmed_and_not_sent_twice(contents: dict[str, Path | bytes]) -> None:
    hub = Hub()
    sent = second_home.send("me/cup", contents, hub)
    assert [(one.name, one.size_bytes, one.there_already) for one in sent] == [
        ("cup.safetensors", 700, False),
        ("README.md", 5, False),
    ]
    assert sent[0].sha256 == hashlib.sha256(b"weights" * 100).hexdigest()
    assert [one.there_already for one in second_home.send("me/cup", contents, hub)] == [True, True]
    assert hub.calls == ["cup.safetensors", "README.md"]


def test_what_arrived_otherwise_is_not_called_sent(contents: dict[str, Path | bytes]) -> None:
    with pytest.raises(DownloadError, match=r"does not hold cup\.safetensors as it was sent"):
        second_home.send("me/cup", contents, Hub(lose=1))


def test_a_file_that_is_there_in_another_form_is_replaced(contents: dict[str, Path | bytes]) -> None:
    hub = Hub()
    hub.held["README.md"] = b"# cap"
    second_home.send("me/cup", contents, hub)
    assert hub.held["README.md"] == b"# cup"


def test_nothing_is_sent_to_a_public_repository(contents: dict[str, Path | bytes]) -> None:
    hub = Hub(private=False)
    with pytest.raises(DownloadError, match="is public"):
        second_home.send("me/cup", contents, hub)
    assert hub.calls == []


@pytest.mark.parametrize("name", ["cup", "me/cup/x", "https://huggingface.co/me/cup", ""])
def test_a_name_that_is_none(name: str) -> None:
    with pytest.raises(DownloadError, match="names no repository"):
        second_home.send(name, {}, Hub())


def test_without_a_token_it_says_how_to_give_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("HF_TOKEN", raising=False)
    with pytest.raises(MachineError) as caught:
        second_home.send("me/cup", {})
    assert "HF_TOKEN" in caught.value.hint


class Refused(Exception):
    """As the hub's client raises: a text with addresses, and the answer."""

    def __init__(self, status: int) -> None:
        super().__init__("https://huggingface.co/api?token=hf_secret says no")
        self.response = SimpleNamespace(status_code=status)


@pytest.mark.parametrize(
    ("fault", "said"),
    [
        (Refused(401), r"does not let this token write to me/cup \(401\)"),
        (Refused(403), r"does not let this token write to me/cup \(403\)"),
        (Refused(500), "me/cup could not be written: Refused 500"),
        (ConnectionError("hf_secret"), "the hub cannot be reached"),
    ],
)
def test_a_refusal_says_what_to_do(contents: dict[str, Path | bytes], fault: Exception, said: str) -> None:
    class Refusing(Hub):
        def create_repo(self, repo_id: str, private: bool, exist_ok: bool) -> None:
            raise fault

    with pytest.raises(DownloadError, match=said) as caught:
        second_home.send("me/cup", contents, Refusing())
    assert caught.value.hint
    assert "hf_secret" not in str(caught.value)


def test_the_card_names_base_licence_settings_and_samples() -> None:
    recipe = Recipe(base_model="sd15", identifier="mafka4", class_word="cup").changed(unet__steps=800)
    card = model_card("cup", recipe, "cup.safetensors", ("samples/grid.png",))
    assert card.startswith('---\nlicense: "other"\nlicense_name: "CreativeML Open RAIL-M"\n')
    for words in (
        'base_model: "stable-diffusion-v1-5/stable-diffusion-v1-5"', 'instance_prompt: "photo of mafka4 cup"',
        "![sample](samples/grid.png)", "UNet 800", '"steps": 800', "`cup.safetensors`",
    ):  # fmt: skip
        assert words in card, words


@pytest.mark.parametrize(
    ("base", "shown", "hidden"),
    [
        ("/home/jane/models/v1.safetensors", "Base model: v1.safetensors", "jane"),
        ("https://me:pw@example.org/m.ckpt?key=hf_secret", "example.org/m.ckpt", "hf_secret"),
        ("https://me:pw@example.org/m.ckpt", "example.org/m.ckpt", "pw"),
        ("OWNER/NAME", 'base_model: "OWNER/NAME"', "license_link"),
    ],
)
def test_the_card_tells_nothing_of_the_machine(base: str, shown: str, hidden: str) -> None:
    card = model_card("cup", Recipe(base_model=base), "cup.safetensors")
    assert shown in card
    assert hidden not in card
