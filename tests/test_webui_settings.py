"""The flags of a web UI: chosen for the card and the host, said, overridable; the insecure ones refused by name."""

from __future__ import annotations

import stat
from pathlib import Path

import pytest

from fsd.errors import MachineError, RecipeError
from fsd.webui import settings
from fsd.webui.settings import Card, Situation, chosen_flags, find_card, first_settings, own_flags
from fsd.webui.tunnels import TUNNELS, first_kind

T4 = Card("Tesla T4", 15.0, 7.5)
L4 = Card("NVIDIA L4", 22.5, 8.9)


@pytest.mark.parametrize(
    ("now", "flags"),
    [
        (Situation(None, 13, "sd1"), "--use-cpu all --skip-torch-cuda-test --no-half --precision full"),
        (Situation(T4, 12.7, "sd1"), "--lowram --opt-sdp-attention"),
        (Situation(T4, 12.7, "sdxl", xformers=True), "--lowram --no-half-vae --xformers"),
        (Situation(T4, 51, "sd1", queues=False), "--opt-sdp-attention --no-gradio-queue"),
        (Situation(T4, 51, "sdxl"), "--no-half-vae --opt-sdp-attention"),
        (Situation(L4, 53, "sdxl", xformers=True), "--no-half-vae --opt-sdp-attention"),
        (Situation(Card("RTX 2060", 6.0, 7.5), 32, "sd1"), "--medvram --opt-sdp-attention"),
        (Situation(Card("RTX 3060", 12.0, 8.6), 32, "sdxl"), "--medvram-sdxl --no-half-vae --opt-sdp-attention"),
        (Situation(Card("GTX 1050", 2.0, 6.1), 16, "sd1"), "--lowvram --opt-sdp-attention"),
        (Situation(Card("RTX 3050", 4.0, 8.6), 16, "sdxl"), "--lowvram --no-half-vae --opt-sdp-attention"),
        (Situation(Card("NVIDIA GeForce GTX 1660", 6.0, 7.5), 16), "--medvram --upcast-sampling --opt-sdp-attention"),
    ],
)
def test_flags_by_card_and_host(now: Situation, flags: str) -> None:
    found, lines = chosen_flags(now, "a1111")
    assert " ".join(found) == flags
    assert len(lines) >= 1
    for line in lines:
        assert line.startswith("--")
        assert ": " in line
        assert "{" not in line


def test_every_flag_is_one_that_some_web_ui_knows() -> None:
    known = set().union(*settings.UNDERSTOOD.values())
    assert {choice.flags[0] for choice in settings.CHOICES} == known


def test_forge_is_given_what_it_knows() -> None:
    assert chosen_flags(Situation(T4, 12.7, "sdxl"), "forge")[0] == []
    assert chosen_flags(Situation(None, 12.7), "forge")[0] == ["--always-cpu", "--skip-torch-cuda-test"]


def test_people_have_the_last_word() -> None:
    card = Situation(Card("RTX 2060", 6.0, 7.5), 12.7, "sdxl")
    assert "--medvram" in chosen_flags(card, "a1111")[0]
    flags, lines = chosen_flags(card, "a1111", "--lowvram --opt-split-attention --theme dark")
    assert flags == ["--no-half-vae", "--lowvram", "--opt-split-attention", "--theme", "dark"]
    assert lines[-1] == "--lowvram --opt-split-attention --theme dark: as you wish"
    assert "--medvram" not in chosen_flags(card, "a1111", "!--medvram")[0]
    assert "!--medvram" not in chosen_flags(card, "a1111", "!--medvram")[0]


@pytest.mark.parametrize(
    "flags",
    [
        "--share", "--ngrok abc", "--listen", "--xformers --list", "--server-name=0.0.0.0", "--port 1", "--nowebui",
        "--gradio-auth me:geheim", "--gradio-auth-path x", "--api-auth me:geheim", "--enable-insecure-extension-access",
        "--enable-insec", "--allow-code", "--disable-safe-unpickle", "--api-server-stop", "--cors-allow-origins=*",
        "--cors-allow-origins-regex .*", "--gradio-allowed-path /", "--data-dir /", "--sha", "--subpath x",
    ],
)  # fmt: skip
def test_insecure_flags_are_refused_by_name(flags: str) -> None:
    with pytest.raises(RecipeError, match=r"the flag --\S+ is not taken \(--\S+\): .+") as caught:
        own_flags(flags)
    assert "geheim" not in str(caught.value)


def test_flags_that_look_like_refused_ones_are_taken() -> None:
    assert own_flags("--api --no-half --ckpt-dir '/my models'") == ["--api", "--no-half", "--ckpt-dir", "/my models"]
    with pytest.raises(RecipeError, match="cannot be read"):
        own_flags("--theme 'dark")


def test_a_card_that_is_too_new_is_said() -> None:
    card = Card("NVIDIA RTX PRO 6000", 96, 12.0)
    with pytest.raises(MachineError, match="newer than what a1111's PyTorch knows") as caught:
        chosen_flags(Situation(card, 100), "a1111")
    assert "ui=studio" in caught.value.hint


def test_the_card_is_what_the_driver_says(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert find_card() is None
    driver = tmp_path / "nvidia-smi"
    driver.write_text("#!/bin/sh\necho 'Tesla T4, 15360, 7.5'\n")
    driver.chmod(driver.stat().st_mode | stat.S_IXUSR)
    assert find_card() == T4
    driver.write_text("#!/bin/sh\necho 'No devices were found'\n")
    assert find_card() is None


def test_settings_that_the_model_needs() -> None:
    assert first_settings(Situation(T4, 12, "sd2")) == {"upcast_attn": True}
    assert first_settings(Situation(None, 12, "sd2")) == {}


def test_only_colabs_proxy_cannot_carry_the_queue(monkeypatch: pytest.MonkeyPatch) -> None:
    assert [kind.name for kind in TUNNELS.values() if not kind.queues] == ["colab"]
    assert first_kind("auto").queues
    monkeypatch.setattr("fsd.runtime.colab.in_colab", lambda: True)
    assert not first_kind("auto").queues
    assert first_kind(["ngrok:my.ngrok.app", "colab"]).queues
