"""A private repository as a second home: sent once, confirmed by the hub's own hashes, never public, with a card."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from hub_home import Home
from hub_stand_in import hub_server
from PIL import Image
from subjects import train_a_little

from fsd import pipeline, sharing
from fsd.data.session import Session
from fsd.errors import MachineError, SessionError, UploadError
from fsd.families import FAMILIES
from fsd.families.licences import LICENCES
from fsd.recipe import Recipe
from fsd.runtime import files
from fsd.weights.model_card import model_card
from fsd.weights.second_home import SecondHome


class Hub:
    """The hub's client as far as it is used: repositories in memory."""

    large_bytes = 100

    def __init__(self) -> None:
        self.held: dict[str, bytes] = {}
        self.calls: list[str] = []

    def create_repo(self, repo_id: str, private: bool, exist_ok: bool) -> None:
        assert private and exist_ok

    def model_info(self, repo_id: str) -> Any:
        return SimpleNamespace(private=True)

    def upload_file(self, path_or_fileobj: str | bytes, path_in_repo: str, repo_id: str) -> None:
        self.calls.append(path_in_repo)
        content = path_or_fileobj if isinstance(path_or_fileobj, bytes) else Path(path_or_fileobj).read_bytes()
        self.held[path_in_repo] = content

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
    sent = SecondHome("me/cup", hub).send(contents)
    assert [(one.name, one.size_bytes, one.there_already) for one in sent] == [
        ("cup.safetensors", 700, False),
        ("README.md", 5, False),
    ]
    assert sent[0].sha256 == hashlib.sha256(b"weights" * 100).hexdigest()
    assert [one.there_already for one in SecondHome("me/cup", hub).send(contents)] == [True, True]
    assert hub.calls == ["cup.safetensors", "README.md"]


def test_a_file_that_is_there_in_another_form_is_replaced(contents: dict[str, Path | bytes]) -> None:
    hub = Hub()
    hub.held["README.md"] = b"# cap"
    SecondHome("me/cup", hub).send(contents)
    assert hub.held["README.md"] == b"# cup"


@pytest.mark.parametrize(
    "name", ["me/cup", "https://huggingface.co/me/cup", "huggingface.co/me/cup/tree/main", "me/cup/"]
)
def test_a_repository_is_named_by_its_page_too(name: str, contents: dict[str, Path | bytes]) -> None:
    home = SecondHome(name, Hub())
    assert home.repository == "me/cup"
    assert len(home.send(contents)) == 2


@pytest.mark.parametrize("name", ["cup", "me/cup/x", "https://example.org/me/cup", ""])
def test_a_name_that_is_none(name: str) -> None:
    with pytest.raises(UploadError, match="names no repository"):
        SecondHome(name, Hub())


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

    with pytest.raises(UploadError, match=said) as caught:
        SecondHome("me/cup", Refusing()).send(contents)
    assert caught.value.hint
    assert "hf_secret" not in str(caught.value)
    assert "download" not in json.dumps(caught.value.to_json())
    assert "/settings/tokens" in caught.value.hint or "token" not in str(caught.value)


CARD_OF = {
    family.name: model_card(
        "cup", Recipe(family=family.name, base_model=family.name), "cup.safetensors", "UNet: unet-000800"
    )
    for family in FAMILIES.values()
}


def head_of(card: str) -> dict[str, Any]:
    """A card's front matter: JSON values, which YAML reads alike."""
    lines = card.split("---\n")[1].splitlines()
    return {name: json.loads(value) for name, _, value in (line.partition(": ") for line in lines)}


def test_the_card_names_base_licence_settings_and_samples() -> None:
    recipe = Recipe(base_model="sd15", identifier="mafka4", class_word="cup").changed(unet__steps=800)
    made_of = "text encoder: base; UNet: unet-000500 of 800 steps"
    card = model_card("cup", recipe, "cup.safetensors", made_of, ("samples/my grid.png",))
    assert head_of(card) == {
        "license": "creativeml-openrail-m",
        "pipeline_tag": "text-to-image",
        "library_name": "diffusion-single-file",
        "tags": ["text-to-image", "dreambooth", "sd15"],
        "instance_prompt": "photo of mafka4 cup",
        "base_model": "stable-diffusion-v1-5/stable-diffusion-v1-5",
        "base_model_relation": "finetune",
    }
    for words in ("(samples/my%20grid.png)", made_of, '"steps": 800', "`cup.safetensors`", "`mafka4 cup`"):
        assert words in card, words


@pytest.mark.parametrize("name", FAMILIES)
def test_the_licence_on_a_card_is_its_familys(name: str) -> None:
    family, card = FAMILIES[name], CARD_OF[name]
    licence = LICENCES[family.licence]
    head = head_of(card)
    assert head["license"] == licence.hub
    assert (head.get("license_name", ""), "license_link" in head) == (licence.name, licence.hub == "other")
    assert f"[{family.licence}]({licence.link})" in card
    assert licence.terms in card


@pytest.mark.parametrize(
    ("name", "notice"),
    [
        (
            "sd35-medium",
            "Powered by Stability AI. This Stability AI Model is licensed under the Stability AI Community License",
        ),
        ("flux-dev", "IN NO EVENT SHALL BLACK FOREST LABS, INC. BE LIABLE"),
        ("sd21", "Attachment A"),
    ],
)
def test_the_notices_that_licences_want(name: str, notice: str) -> None:
    assert notice in CARD_OF[name]
    assert notice not in CARD_OF["flux-schnell"]


@pytest.mark.parametrize(
    ("base", "shown", "hidden"),
    [
        ("/home/jane/models/v1.safetensors", "Base model: v1.safetensors", "jane"),
        ("https://example.org/m.ckpt?key=hf_secret", "example.org/m.ckpt", "hf_secret"),
        ("https://me:pw@example.org/m.ckpt", "example.org/m.ckpt", "pw"),
        ("OWNER/NAME@main", 'base_model: "OWNER/NAME"', "license_link: LICENSE"),
        ("https://huggingface.co/OWNER/NAME/blob/main/a.ckpt", 'base_model: "OWNER/NAME"', "creativeml-openrail-m"),
    ],
)
def test_the_card_tells_nothing_of_the_machine_and_no_licence_that_it_does_not_know(
    base: str, shown: str, hidden: str
) -> None:
    card = model_card("cup", Recipe(base_model=base), "cup.safetensors", "")
    assert shown in card
    assert hidden not in card
    assert head_of(card)["license_name"] == "that-of-the-base-model"


def test_a_familys_repository_has_its_licence() -> None:
    card = model_card("cup", Recipe(base_model="stable-diffusion-v1-5/stable-diffusion-v1-5"), "cup.safetensors", "")
    assert head_of(card)["license"] == "creativeml-openrail-m"


# --- the verb, by the hub's own client against a hub of this machine ---------------------------------------------------


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[type[Home]]:
    (tmp_path / "hub").mkdir()
    for found in hub_server(tmp_path / "hub", tmp_path / "cache", monkeypatch, Home):
        found.sent, found.public = [], set()
        monkeypatch.setenv("HF_TOKEN", "hf_planted")
        yield found


@pytest.fixture
def trained(micro_session: Session) -> Session:
    train_a_little(micro_session)
    for name, shade in (("unet-000002", 10), ("pictures", 200)):
        (micro_session.samples / name).mkdir(parents=True, exist_ok=True)
        Image.effect_noise((64, 64), shade).save(micro_session.samples / name / "grid.png")
    return micro_session


def test_the_verb_sends_model_card_and_samples_and_never_photos(home: type[Home], trained: Session) -> None:
    result = sharing.publish(trained, "me/cup")
    names = ["cup.safetensors", "samples/pictures.png", "samples/unet-000002.png", "README.md"]
    assert home.sent == [row["name"] for row in result["files"]] == names
    assert not any(row["there_already"] for row in result["files"])
    assert home.tokens == {"Bearer hf_planted"}
    held = home.folder / "me" / "cup"
    assert [row["sha256"] for row in result["files"]] == [files.sha256(held / name) for name in names]
    assert files.sha256(held / "cup.safetensors") == files.sha256(trained.folder / "cup.safetensors")
    card = (held / "README.md").read_text()
    assert "![pictures made with it](samples/pictures.png)" in card
    assert str(trained.folder.parents[2]) not in card
    assert "sent" in result.text and "hf_planted" not in result.text + repr(result)


def test_a_second_run_sends_nothing_and_writes_no_ckpt(
    home: type[Home], trained: Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    sharing.publish(trained, "me/cup")
    home.sent.clear()
    monkeypatch.setattr(sharing, "save_stage", None)
    again = sharing.publish(trained, "me/cup")
    assert home.sent == []
    assert all(row["there_already"] for row in again["files"])
    assert again.text.count("was there") == 4


def test_a_ckpt_of_an_older_step_is_written_anew(home: type[Home], trained: Session) -> None:
    pipeline.save_ckpt(trained, step="base")
    (trained.folder / "cup-base.safetensors").rename(trained.folder / "cup.safetensors")
    older = files.sha256(trained.folder / "cup.safetensors")
    sharing.publish(trained, "me/cup")
    assert files.sha256(home.folder / "me/cup/cup.safetensors") not in ("", older)


@pytest.mark.parametrize(
    ("status", "code", "said"),
    [(401, "", r"does not let this token write to me/cup \(401\)"), (403, "", r"write to me/cup \(403\)")],
)
def test_the_verb_says_what_a_refusal_means(
    home: type[Home], trained: Session, status: int, code: str, said: str
) -> None:
    home.refused["me"] = (status, code)
    with pytest.raises(UploadError, match=said) as caught:
        sharing.publish(trained, "me/cup")
    assert "hf_planted" not in str(caught.value)
    assert home.sent == [] and trained.ckpt_files() == []


def test_the_verb_refuses_a_public_repository(home: type[Home], trained: Session) -> None:
    (home.folder / "me/cup").mkdir(parents=True)
    home.public.add("me/cup")
    with pytest.raises(UploadError, match="me/cup is public"):
        sharing.publish(trained, "me/cup")
    assert home.sent == [] and trained.ckpt_files() == []


def test_the_verb_does_not_call_a_cut_upload_sent(
    home: type[Home], trained: Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(home, "lose", 7)
    with pytest.raises(UploadError, match=r"does not hold cup\.safetensors as it was sent"):
        sharing.publish(trained, "me/cup")


def test_the_verb_needs_a_token_and_a_trained_model(
    home: type[Home], micro_session: Session, trained: Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("HF_TOKEN")
    with pytest.raises(MachineError, match="no token to write") as caught:
        sharing.publish(trained, "me/cup")
    assert "/settings/tokens" in caught.value.hint and "HF_TOKEN" in caught.value.hint
    assert home.asked == [] and trained.ckpt_files() == []
    shutil.rmtree(trained.checkpoints)
    with pytest.raises(SessionError, match="nothing is trained yet"):
        sharing.publish(trained, "me/cup")
