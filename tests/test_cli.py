"""The command line: every verb with help, exit codes, and one JSON object whatever happens."""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from fsd import __version__, command_line, pipeline, stage, verb_names
from fsd.data.session import Session
from fsd.errors import Interrupted

ROOT = Path(__file__).parents[1]
VERBS = [
    "setup", "open-session", "choose-base-model", "add-photos", "caption-photos", "ask-photos", "score-captions",
    "score-pictures", "find-photos", "find-duplicates", "teach-captioner", "train-text-encoder",
    "train-unet", "save-ckpt", "train-lora", "save-lora", "generate", "score", "plan", "plan-session", "demo", "run",
    "change-settings", "crop-photo", "edit-captions", "plot-loss", "show-session", "list-sessions", "remove-session", "sync",
    "clean-session", "doctor", "export-session", "import-session", "publish", "families",
    "base-model", "convert", "inspect", "webui-install", "webui-launch", "controlnet-list", "controlnet-add",
]  # fmt: skip
CODES = {"usage", "machine", "download", "upload", "session", "recipe", "weights", "training", "interrupted"}

Answer = tuple[int, str, str]
Fsd = Callable[..., Answer]


def last_json(out: str) -> dict[str, Any]:
    """The one JSON object on standard output, which is its last line and all of it."""
    assert len(out.splitlines()) == 1, out
    return json.loads(out)


# --- help ------------------------------------------------------------------------------------------------------------


def test_help_lists_every_verb_in_order_with_one_line(fsd: Fsd) -> None:
    code, out, err = fsd("--help")
    assert (code, err) == (0, "")
    rest = out
    for verb in VERBS:
        _, found, rest = rest.partition(f"    {command_line.shown(verb)}")
        assert found, verb
        assert rest.strip().splitlines()[0].strip(), verb
    assert "Exit codes: 0 done, 1 failed, 2 wrong usage; stopped, with all saved: 130 by Ctrl-C, 143 by SIGTERM" in out
    assert list(command_line.verbs()) == VERBS


def test_the_notebook_and_the_command_line_have_the_same_verbs() -> None:
    for name, verb in command_line.verbs().items():
        assert getattr(sys.modules[verb.__module__], name.replace("-", "_")) is verb
        assert sys.modules[verb.__module__] in verb_names.MODULES


@pytest.mark.parametrize("verb", VERBS)
def test_help_of_a_verb_explains_every_option(fsd: Fsd, verb: str) -> None:
    choices = next(a for a in command_line.parser()._actions if isinstance(a, argparse._SubParsersAction)).choices
    name = command_line.shown(verb)
    for action in choices[name]._actions:
        assert action.help, f"{verb}: {action.dest} is not explained"
        assert "%(" not in action.help
    code, out, _ = fsd(*name.split(), "--help")
    assert code == 0
    assert out.startswith(f"usage: fsd {name}")
    assert choices[name].description[:40] in out
    assert fsd(verb, "--help")[:2] == (0, out)
    assert "--json" in out


def test_help_speaks_the_words_of_the_command_line(fsd: Fsd) -> None:
    python = {verb.replace("-", "_") for verb in VERBS if "-" in verb and verb != "base-model"}
    spaced = {verb for verb in VERBS if command_line.shown(verb) != verb}
    for verb in VERBS:
        out = fsd(verb, "--help")[1]
        assert not {name for name in python | spaced if name in out.replace("save_ckpt, pictures", "")}, verb
        assert " as for " not in out.replace("as for your own Cloudflare", ""), verb
        assert ("--root" not in out) or "default: My Drive on Colab" in out or verb == "demo", verb


def test_help_shows_the_first_word_and_what_concerns_the_whole_verb(fsd: Fsd) -> None:
    out = fsd("setup", "--help")[1]
    assert "[PROFILE]\n" in out
    assert "\n  PROFILE " in out
    assert "\n  --profile" not in out
    assert "[SETTING ...]" in fsd("change-settings", "--help")[1]
    assert "3 training alone" in fsd("doctor", "--help")[1]
    assert "photos and captions never" in fsd("publish", "--help")[1]


def test_version(fsd: Fsd) -> None:
    assert fsd("--version") == (0, f"fsd {__version__}\n", "")


# --- exit codes and JSON ---------------------------------------------------------------------------------------------


def test_a_verb_that_ends_well(fsd: Fsd, tmp_path: Path) -> None:
    code, out, err = fsd("open-session", "cup")
    assert (code, err) == (0, "")
    assert str(tmp_path / "Fast-Dreambooth" / "Sessions" / "cup") in out
    code, out, err = fsd("show-session", "cup", "--json")
    assert (code, err) == (0, "")
    shown = last_json(out)
    assert (shown["name"], shown["photos"], shown["next"]) == ("cup", 0, "add-photos")


def test_a_session_is_shown_in_words(fsd: Fsd, micro_session: Session) -> None:
    _, out, _ = fsd("show-session", "cup", "--root", str(micro_session.folder.parents[2]))
    lines = out.splitlines()
    assert lines[0] == f"session cup: {micro_session.folder}"
    assert [line for line in lines if line.startswith("UNet: 0 of ")]
    assert lines[-1].startswith("next: ")
    assert not set(out) & set("{}[]")


def test_words_for_people_leave_standard_output_to_the_json(fsd: Fsd) -> None:
    code, out, err = fsd("open-session", "cup", "--json")
    assert code == 0
    assert last_json(out)["name"] == "cup"
    assert err.startswith("session cup: ")


def test_every_way_to_say_the_root(fsd: Fsd, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "drive").mkdir()
    assert fsd("open-session", "cup", "--root", "drive")[0] == 0
    assert fsd("show-session", "cup", "--root", "drive")[0] == 0
    assert fsd("show-session", "cup")[0] == 1
    monkeypatch.setenv("FSD_HOME", "drive")
    assert fsd("show-session", "cup")[0] == 0
    listed = last_json(fsd("list-sessions", "--json")[1])["sessions"]
    assert [row["name"] for row in listed] == ["cup"]


def test_stopped_is_130(fsd: Fsd, micro_session: Session, monkeypatch: pytest.MonkeyPatch) -> None:
    root = str(micro_session.folder.parents[2])

    def stopped(*words: str) -> None:
        raise Interrupted("stopped after step 3 of 6; everything is saved", "run the same command to go on")

    monkeypatch.setattr(stage, "run_stage", stopped)
    code, out, err = fsd("train-text-encoder", "cup", "--root", root)
    assert (code, out) == (130, "text encoder: loading PyTorch and the model\n")
    assert err == "fsd: stopped after step 3 of 6; everything is saved; run the same command to go on\n"
    code, out, err = fsd("train-text-encoder", "cup", "--root", root, "--json")
    assert code == 130
    assert last_json(out)["code"] == "interrupted"


def test_control_c_is_130(fsd: Fsd, micro_session: Session, monkeypatch: pytest.MonkeyPatch) -> None:
    def pressed(*words: str) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(stage, "run_stage", pressed)
    code, out, _ = fsd("train-text-encoder", "cup", "--root", str(micro_session.folder.parents[2]), "--json")
    assert code == 130
    assert last_json(out)["code"] == "interrupted"


def test_a_fault_of_our_own_is_an_object_too(fsd: Fsd, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken() -> None:
        raise ZeroDivisionError("division by zero")

    monkeypatch.setattr(pipeline.machine, "survey", broken)
    code, out, err = fsd("setup", "--json")
    assert (code, last_json(out)["code"]) == (1, "error")
    assert "Traceback" in err
    assert "ZeroDivisionError: division by zero" in last_json(out)["error"]
    with pytest.raises(ZeroDivisionError):
        fsd("setup")


def test_the_main_line_by_the_command_line(fsd: Fsd, micro_model: Path, make_photos: Callable[[int], Path]) -> None:
    photos = str(make_photos(3))
    assert fsd("open-session", "cup")[0] == 0
    chosen = last_json(
        fsd("choose-base-model", "cup", "--base-model", str(micro_model), "--family", "tiny", "--json")[1]
    )
    assert chosen == {"family": "tiny", "folder": str(micro_model)}
    words = ("--photos", photos, "--identifier", "mafka4", "--class-word", "cup", "--hold-out", "1")
    added = last_json(fsd("add-photos", "cup", *words, "--json")[1])
    assert (len(added["added"]), len(added["held_out"])) == (3, 1)
    code, out, err = fsd("caption-photos", "cup", "--template", "a {class}, {identifier}", "--json")
    assert (code, err) == (0, "")
    assert {row["prompt"] for row in last_json(out)["prompts"]} == {"a cup, mafka4"}
    assert last_json(fsd("change-settings", "cup", "unet.steps=7", "--json")[1])["unet"]["steps"] == 7
    skipped = last_json(fsd("train-text-encoder", "cup", "--steps", "0", "--json")[1])
    assert skipped == {"stage": "text_encoder", "steps": 0}
    assert fsd("crop-photo", "cup", "IMG_0000.png", "0", "0", "100")[0] == 0
    assert last_json(fsd("export-session", "cup", "cup.zip", "--json")[1])["path"].endswith("cup.zip")
    assert fsd("remove-session", "cup")[0] == 0
    assert last_json(fsd("import-session", "cup.zip", "--json")[1])["photos"] == 2
    cleaned = last_json(fsd("clean-session", "cup", "all", "--json")[1])
    assert (cleaned["freed_bytes"], [row["kind"] for row in cleaned["removable"]]) == (0, ["bin"])


def test_a_home_that_was_named_and_is_not_there_is_said(fsd: Fsd, monkeypatch: pytest.MonkeyPatch) -> None:
    code, out, _ = fsd("list-sessions")
    assert (code, out.startswith("there is no session in ")) == (0, True)
    monkeypatch.setenv("FSD_HOME", "missing")
    code, out, err = fsd("list-sessions", "--json")
    assert (code, last_json(out)["code"]) == (1, "session")
    assert "FSD_HOME" in err and "fsd open-session" in err
    assert not Path("missing").exists()
    assert fsd("open-session", "cup")[0] == 0
    assert [row["name"] for row in last_json(fsd("list-sessions", "--json")[1])["sessions"]] == ["cup"]


def test_without_drive_nobody_speaks_of_it_as_if_it_were_there(fsd: Fsd, micro_session: Session) -> None:
    where = f"{micro_session.folder} is kept on this machine only: nothing is copied to Drive\n"
    for words in ((), ("--wait",), ("--ask-google",)):
        assert fsd("sync", "cup", *words) == (0, where, "")
    micro_session.cache.mkdir()
    (micro_session.cache / "latents").write_bytes(b"big")
    assert fsd("clean-session", "cup", "all") == (0, "3 B freed\n", "")


# --- bad input -------------------------------------------------------------------------------------------------------

WRONG_USAGE = {
    "no verb": ((), "VERB"),
    "unknown verb": (("paint",), "no verb 'paint'"),
    "half a verb": (("webui",), "fsd webui install, fsd webui launch"),
    "mistyped verb": (("train-unit", "cup"), "did you mean fsd train-unet?"),
    "a mistyped half": (("webui", "lanch"), "did you mean fsd webui launch?"),
    "a mistyped other half": (("weubi", "launch"), "did you mean fsd webui launch?"),
    "a mistyped option": (("webui", "launch", "--modle", "cup"), "did you mean --model? fsd webui launch --help"),
    "two words for one": (("webui", "launch", "cup", "dog"), "not understood: dog"),
    "a second profile": (("setup", "train", "webui"), "not understood: webui\n  What to do: write fsd setup PROFILE,"),
    "no session": (("train-unet",), "are required: SESSION\n"),
    "no session to clean": (("clean-session",), "are required: SESSION\n"),
    "an argument by its name": (("clean-session", "cup", "--what", "cache"), "WHAT is given without a name"),
    "a list by its name": (("generate", "cup", "--prompt", "a dog"), "PROMPT is given without a name"),
    "an option without its name": (("add-photos", "cup", "photos"), "did you mean --photos photos?"),
    "a number without its name": (("train-unet", "cup", "500"), "did you mean --steps 500?"),
    "a name of two words": (("open-session", "my", "dog"), "write fsd open-session NAME, with quotes"),
    "a word too many": (("doctor", "cup"), "What to do: write fsd doctor. fsd doctor --help"),
    "an option like none": (("train-unet", "cup", "--lr", "3"), "What to do: fsd train-unet --help"),
    "unknown option": (("show-session", "cup", "--colour", "red"), "--colour"),
    "a word for a number": (("train-unet", "cup", "--steps", "ten"), "'ten' is not a whole number"),
    "a fraction of a step": (("train-unet", "cup", "--steps", "1.5"), "'1.5' is not a whole number"),
    "a word for a rate": (("train-unet", "cup", "--learning-rate", "fast"), "'fast' is not a number"),
    "an option without its value": (("save-ckpt", "cup", "--dtype"), "--dtype"),
    "too few numbers": (("crop-photo", "cup", "IMG_0000.png", "1", "2"), "SIDE"),
}
FAILED = {
    "no such session": (("show-session", "dog"), "session", "'dog'"),
    "a name that leaves the folder": (("open-session", "../up"), "session", "'../up'"),
    "an empty name": (("open-session", ""), "session", "is empty"),
    "no such root": (("open-session", "dog", "--root", "/nowhere/at/all"), "session", "/nowhere/at"),
    "a file as root": (("open-session", "dog", "--root", "a file"), "session", "is a file"),
    "a file as root to list": (("list-sessions", "--root", "a file"), "session", "is a file"),
    "a missing root to list": (("list-sessions", "--root", "missing"), "session", "there is no folder"),
    "a missing root to read": (("show-session", "cup", "--root", "missing"), "session", "there is no folder"),
    "My Drive without Drive": (("open-session", "cup", "--root", "My Drive/x"), "machine", "which only Colab mounts"),
    "an export to My Drive": (("export-session", "cup", "MyDrive/x.zip"), "machine", "which only Colab mounts"),
    "an archive of another kind": (("export-session", "cup", "cup.tar.gz"), "session", "neither a folder nor a zip"),
    "an export above nothing": (("export-session", "cup", "no/such/cup"), "session", "there is no folder"),
    "negative steps": (("train-text-encoder", "cup", "--steps", "-5"), "recipe", "text_encoder.steps is -5"),
    "a rate that is no number": (
        ("train-text-encoder", "cup", "--learning-rate", "nan"),
        "recipe",
        "learning_rate is nan",
    ),
    "an endless rate": (("train-text-encoder", "cup", "--learning-rate", "inf"), "recipe", "learning_rate is inf"),
    "unknown model": (("choose-base-model", "cup", "--base-model", "sd99"), "recipe", "'sd99'"),
    "unknown family": (("choose-base-model", "cup", "--base-model", "a/b", "--family", "sd3"), "recipe", "'sd3'"),
    "photos that are not there": (("add-photos", "cup", "--photos", "/nowhere"), "session", "/nowhere"),
    "no photos named": (("add-photos", "cup"), "machine", "no photos were named"),
    "a negative hold-out": (("add-photos", "cup", "--photos", ".", "--hold-out", "-1"), "session", "hold_out is -1"),
    "unknown caption mode": (("caption-photos", "cup", "--mode", "poem"), "session", "'poem'"),
    "a template without the identifier": (("caption-photos", "cup", "--template", "a cup"), "recipe", "'a cup'"),
    "nothing trained": (("save-ckpt", "cup"), "session", "nothing is trained"),
    "no pictures": (("generate", "cup", "--images", "0"), "session", "images is 0"),
    "unknown setting": (("change-settings", "cup", "unet.step=3"), "recipe", "'unet.step'"),
    "a setting from within": (("change-settings", "cup", "steps=3"), "recipe", "'text_encoder.steps' or 'unet.steps'"),
    "a value for several": (
        ("change-settings", "cup", "unet=3"),
        "recipe",
        "unet is 3, not an object with steps, learning_rate",
    ),
    "a setting without a value": (("change-settings", "cup", "unet.steps"), "recipe", "unet.steps"),
    "a setting of another kind": (("change-settings", "cup", "unet.steps=many"), "recipe", "'many'"),
    "no such photo": (("crop-photo", "cup", "no.png", "0", "0", "64"), "session", "no.png"),
    "a square outside": (("crop-photo", "cup", "IMG_0000.png", "-9", "0", "64"), "session", "outside"),
    "a wheelhouse of nothing": (("setup", "--save-wheelhouse"), "recipe", "a wheelhouse is of one profile"),
    "nothing to import": (("import-session", "/nowhere.zip"), "session", "/nowhere.zip"),
    "a text to import": (("import-session", "a file"), "session", "a file"),
}


@pytest.mark.parametrize("words", WRONG_USAGE.values(), ids=list(WRONG_USAGE))
def test_wrong_usage_is_2(fsd: Fsd, words: tuple[tuple[str, ...], str]) -> None:
    line, said = words
    code, out, err = fsd(*line)
    assert (code, out) == (2, "")
    assert said in err
    assert err.startswith("fsd: ")
    assert len(err.splitlines()) == 2
    if line:
        code, out, _ = fsd(*line, "--json")
        assert code == 2
        record = last_json(out)
        assert (record["code"], said in f"fsd: {record['error']}\n  What to do: {record['hint']}") == ("usage", True)


@pytest.mark.parametrize("case", FAILED.values(), ids=list(FAILED))
def test_a_failure_is_1_with_what_to_do(
    fsd: Fsd, micro_session: Session, case: tuple[tuple[str, ...], str, str]
) -> None:
    line, kind, said = case
    Path("a file").write_text("a text")
    assert micro_session.folder.parents[2] == Path.cwd()
    code, out, err = fsd(*line)
    assert (code, out) == (1, "")
    assert said in err
    assert "Traceback" not in err
    message, hint = err.splitlines()
    assert message.startswith("fsd: ")
    assert hint.startswith("  What to do: ")
    code, out, err = fsd(*line, "--json")
    record = last_json(out)
    assert (code, record["code"]) == (1, kind)
    assert record["code"] in CODES
    assert set(record) == {"code", "error", "hint"}


# --- as a program of its own -----------------------------------------------------------------------------------------


def test_as_a_process_it_says_one_json_object_and_loads_nothing_heavy(tmp_path: Path) -> None:
    environment = {"PYTHONPATH": str(ROOT), "PATH": "/usr/bin:/bin", "FSD_HOME": str(tmp_path)}
    code = "import runpy, sys; sys.argv[0] = 'fsd'; runpy.run_module('fsd', run_name='__main__')"
    command = [sys.executable, "-X", "importtime", "-c", code, "show-session", "dog", "--json"]
    ended = subprocess.run(command, capture_output=True, text=True, env=environment, cwd=tmp_path)
    assert ended.returncode == 1
    assert last_json(ended.stdout)["code"] == "session"
    loaded = {line.rpartition("|")[2].strip() for line in ended.stderr.splitlines() if line.startswith("import time:")}
    assert "fsd.pipeline" in loaded
    assert not loaded & {"torch", "diffusers", "transformers", "numpy", "PIL", "cv2", "huggingface_hub", "tqdm"}


@pytest.mark.parametrize(
    "words",
    [
        ("generate", "cup", "a cat", "a dog", "--images", "2"),
        ("generate", "cup", "--images", "2", "a cat", "a dog"),
        ("generate", "cup", "a cat", "--images", "2", "a dog"),
    ],
)
def test_prompts_may_stand_before_or_after_the_options(words: tuple[str, ...]) -> None:
    options = command_line.read_options(list(words))
    assert options["prompts"] == ["a cat", "a dog"]
    assert options["images"] == 2


def test_the_first_option_of_a_verb_without_arguments_needs_no_name() -> None:
    for words in (["webui", "launch", "cup", "--port", "4000"], ["webui-launch", "--port", "4000", "--model", "cup"]):
        options = command_line.read_options(words)
        assert (options["verb"], options["model"], options["port"]) == ("webui-launch", "cup", 4000)


@pytest.mark.parametrize("flags", ["--medvram", "--medvram --xformers", "!--medvram", "--ckpt-dir=/a/b"])
def test_flags_may_begin_with_dashes(flags: str) -> None:
    assert command_line.read_options(["webui", "launch", "--flags", flags, "--ui", "a1111"])["flags"] == flags


def test_an_option_is_not_taken_for_the_value_of_the_one_before(fsd: Fsd) -> None:
    code, _, err = fsd("webui", "launch", "--flags", "--model", "cup")
    assert (code, "--flags: expected one argument" in err) == (2, True)


@pytest.mark.parametrize(
    ("words", "verb"),
    [
        ("session clean cup", "clean-session"),
        ("clean session cup", "clean-session"),
        ("clean-session cup", "clean-session"),
        ("session list", "list-sessions"),
        ("sessions list", "list-sessions"),
        ("session show cup", "show-session"),
        ("session export cup cup.zip", "export-session"),
        ("launch webui", "webui-launch"),
        ("add controlnet canny sd15", "controlnet-add"),
        ("photo add cup", "add-photos"),
        ("families", "families"),
        ("sync cup", "sync"),
    ],
)
def test_a_verbs_two_words_may_come_in_either_order(words: str, verb: str) -> None:
    assert command_line.read_options(words.split())["verb"] == verb


def test_no_two_verbs_are_made_of_the_same_words() -> None:
    words = [tuple(sorted(verb_names.words_of(name))) for name in command_line.verbs()]
    assert len(set(words)) == len(words)


def test_half_a_verb_lists_those_that_it_may_be(fsd: Fsd) -> None:
    code, out, _ = fsd("session", "--help")
    assert code == 0
    for verb in ("open", "show", "list", "export", "import", "remove", "clean"):
        assert f"fsd {verb}-session" in out
    code, _, err = fsd("session")
    assert (code, "fsd session is only half a verb" in err, "fsd clean-session" in err) == (2, True, True)
    code, _, err = fsd("session", "claen", "cup")
    assert (code, "there is no verb 'session claen'" in err) == (2, True)


def test_the_help_of_half_a_verb_shows_both(fsd: Fsd) -> None:
    code, out, err = fsd("webui", "--help")
    assert (code, err, [line.split("   ")[0] for line in out.splitlines()]) == (
        0,
        "",
        ["fsd webui install", "fsd webui launch"],
    )


def test_hints_are_in_the_words_of_the_command_line(fsd: Fsd) -> None:
    fsd("open-session", "cup")
    assert "run fsd add-photos first" in fsd("caption-photos", "cup")[2]
    assert "--ui studio" in fsd("webui", "launch", "--ui", "a1111")[2]


def test_a_fresh_process_asks_the_hub(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "fsd", "base-model", "owner/name"]
    environment = os.environ | {"HF_HUB_OFFLINE": "1", "HF_HOME": str(tmp_path), "FSD_HOME": str(tmp_path)}
    ended = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True)
    assert (ended.returncode, ended.stderr.splitlines()) == (
        1,
        [
            "fsd: owner/name is not on this machine and the hub cannot be reached",
            "  What to do: unset HF_HUB_OFFLINE",
        ],
    )


def test_a_reader_that_has_seen_enough_is_no_error() -> None:
    command = f"{sys.executable} -m fsd families --json | head -c 20"
    ended = subprocess.run(["bash", "-c", command], cwd=ROOT, capture_output=True, text=True)
    assert len(ended.stdout) == 20
    assert ended.stderr == ""


def test_what_is_there_is_not_converted_over(fsd: Fsd, tmp_path: Path) -> None:
    (tmp_path / "mine.safetensors").write_text("precious")
    code, _, err = fsd("convert", str(tmp_path), "mine.safetensors")
    assert (code, "mine.safetensors is there already" in err) == (1, True)
    assert (tmp_path / "mine.safetensors").read_text() == "precious"


def test_photos_that_cannot_be_read_and_settings_without_a_value_say_so(fsd: Fsd, tmp_path: Path) -> None:
    fsd("open-session", "cup")
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos/broken.jpg").write_text("no picture")
    code, _, err = fsd("add-photos", "cup", "--photos", "photos", "--class-word", "cup")
    assert code == 1
    assert "skipped broken.jpg" in err
    code, _, err = fsd("change-settings", "cup", "prior.images")
    assert (code, "write NAME=VALUE" in err) == (1, True)
    code, _, err = fsd("change-settings", "cup", "prior.image=3")
    assert "did you mean 'prior.images'?" in err
