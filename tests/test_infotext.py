"""AUTOMATIC1111's settings text: written, read back, and read as the real web UI and others write it."""

from __future__ import annotations

from pathlib import Path

import pytest

from fsd.families.samplers import SAMPLERS, get_sampler, known_name, sampler_names, title_and_schedule
from fsd.infotext import Infotext, parse, quoted, split_lora, with_lora, write
from fsd.webui.choices import ModelChoice
from fsd.webui.infotext import job_settings

REAL = """masterpiece, a (red:1.2) cup, <lora:mug:0.8>
on a table, "quoted", Steps: many
Negative prompt: blurry, low quality
second line: of it
Steps: 20, Sampler: DPM++ 2M, Schedule type: Karras, CFG scale: 7, Seed: 965400086, Size: 512x768, \
Model hash: 6ce0161689, Model: v1-5-pruned-emaonly, Denoising strength: 0.75, Mask blur: 4, \
ControlNet 0: "Module: canny, Model: control_v11p_sd15_canny [d14c016b], Weight: 1.0, Resize Mode: Crop and Resize, \
Processor Res: 512, Threshold A: 100.0, Threshold B: 200.0, Guidance Start: 0.0, Guidance End: 1.0", \
Lora hashes: "mug: 0123456789ab, other: ba9876543210", TI hashes: "easy\\"neg: 1", Version: v1.10.1"""


@pytest.mark.parametrize(
    "info",
    [
        Infotext("a cup", "", {"Steps": "20", "Sampler": "Euler", "Seed": "1"}),
        Infotext("a\nb, c: d\n\ne", "no\nsuch thing", {"Steps": "2", "Model": 'a, b: "c"', "Note": "x\ny", "Z": " z "}),
        Infotext("", "", {"Steps": "1", "Sampler": "DPM++ 2M SDE", "CFG scale": "7.5"}),
        Infotext("寿司 ☕", "", {"Steps": "1", "Model": "模型, 二", "Path": "C:\\new\\x"}),
        Infotext(
            "a prompt, Seed: 5, Size: 1x1, Steps: 3\nlast line", "", {"Steps": "1", "Sampler": "LMS", "Seed": "4"}
        ),
    ],
)
def test_what_is_written_is_read_back(info: Infotext) -> None:
    assert parse(write(info)) == info


def test_what_the_real_web_ui_writes() -> None:
    info = parse(REAL)
    assert info.prompt.startswith("masterpiece") and info.prompt.endswith("Steps: many")
    assert info.negative == "blurry, low quality\nsecond line: of it"
    assert info.settings["Model hash"] == "6ce0161689" and info.settings["Version"] == "v1.10.1"
    assert info.settings["ControlNet 0"].startswith("Module: canny, Model: control_v11p_sd15_canny [d14c016b], ")
    assert info.settings["Lora hashes"] == "mug: 0123456789ab, other: ba9876543210"
    assert info.settings["TI hashes"] == 'easy"neg: 1'


@pytest.mark.parametrize(
    ("text", "prompt", "steps"),
    [
        ("just a prompt", "just a prompt", None),
        ("a prompt: with a colon, and: another", "a prompt: with a colon, and: another", None),
        ("", "", None),
        ("Steps: 5, Sampler: Euler, Seed: 3", "", "5"),
        ("a cup\r\nSteps: 5, Sampler: Euler, Seed: 3\r\n", "a cup", "5"),
        ("a cup\nSteps: 5", "a cup", "5"),
        ('a cup\nSteps: 5, Model: "broken, Seed: 3', "a cup", "5"),
        ("a cup\nSteps: 5, Seed: 3, , nonsense", "a cup\nSteps: 5, Seed: 3, , nonsense", None),
    ],
)
def test_foreign_and_odd_texts(text: str, prompt: str, steps: str | None) -> None:
    info = parse(text)
    assert (info.prompt, info.settings.get("Steps")) == (prompt, steps)


@pytest.mark.parametrize(
    "line",
    [
        "a" + " " * 200_000 + "b", "Steps: 1, " + "a b" * 70_000, "Steps: 1, " * 20_000 + "b", 'a: "b" ' * 30_000,
        "<lora:a:" + "1" * 200_000, "<lora:" * 30_000, "a" + "\n" * 200_000 + "b",
    ],
)  # fmt: skip
def test_long_junk_is_read_once_and_not_from_each_of_its_letters(line: str) -> None:
    assert parse(f"p\n{line}").settings == {}
    assert split_lora(line) == (line, [])
    assert parse(write(Infotext(line, "", {"Steps": "1"}))).settings == {"Steps": "1"}


def test_a_prompt_with_a_line_like_the_negative_prompt_keeps_its_words() -> None:
    info = Infotext("a\n Negative prompt: of a cup\nb", "no\nNegative prompt: x", {"Steps": "1"})
    text = write(info)
    assert text.count("\nNegative prompt:") == 2  # the real one, and its own second line
    read = parse(text)
    assert read.prompt == "a  Negative prompt: of a cup\nb" and read.negative == info.negative


def test_values_are_quoted_where_they_must_be() -> None:
    assert [quoted(value) for value in (7.0, "Euler a", "a, b", "a: b", 'say "x"')] == [
        "7.0", "Euler a", '"a, b"', '"a: b"', '"say \\"x\\""',
    ]  # fmt: skip


def test_lora_tags_leave_the_prompt_and_come_back() -> None:
    prompt, named = split_lora("a cup <lora:mug:0.8> on <lora:wood> it <lyco:x:-1:0.5>")
    assert prompt == "a cup on it" and named == [("mug", 0.8), ("wood", 1.0), ("x", -1.0)]
    assert with_lora("a cup <lora:mug:1>", {"mug": 1.0, "tea": 0.5}) == "a cup <lora:mug:1> <lora:tea:0.5>"
    assert split_lora("a < b > c <lora:>") == ("a < b > c <lora:>", [])


def test_settings_go_back_to_a_job(tmp_path: Path) -> None:
    file = tmp_path / "v1-5-pruned-emaonly.safetensors"
    lora = ModelChoice(str(tmp_path / "mug.safetensors"), "mug", "file")
    found = job_settings(REAL, [ModelChoice(str(file), "a file", "file", path=file)], [lora])
    assert found["model"] == str(file) and found["sampler"] == "DPM++ 2M Karras" and found["mode"] == "inpaint"
    assert found["lora"] == ((str(tmp_path / "mug.safetensors"), 0.8),) and "<lora" not in found["prompt"]
    sized = [found[name] for name in ("steps", "guidance", "seed", "width_px", "height_px", "strength")]
    assert sized == [20, 7.0, 965400086, 512, 768, 0.75]
    assert "model" not in job_settings(REAL)
    assert job_settings("nothing but words") == {"prompt": "nothing but words", "negative": ""}
    assert "steps" not in job_settings("a\nSteps: many, Sampler: Euler, Seed: x")


def test_a_sessions_checkpoint_is_found_again() -> None:
    there = [ModelChoice(spec, spec, "session") for spec in ("cup", "cup@unet-000008", "cup@base")]
    for name, spec in (
        ("cup+text_encoder-000006+unet-000008", "cup@unet-000008"), ("cup@base", "cup@base"), ("cup+unet-000004", "cup"),
    ):  # fmt: skip
        assert job_settings(f"a\nSteps: 1, Seed: 1, Model: {name}", there)["model"] == spec


def test_samplers_are_known_by_the_names_of_every_version() -> None:
    for name in sampler_names():
        assert known_name(*title_and_schedule(name)) == name
        assert known_name(name.upper()) == name
    assert known_name("DPM++ 2M", "Automatic") == known_name("DPM++ 2M Karras") == "DPM++ 2M Karras"
    assert known_name("DPM++ 2M Karras", "Karras") == "DPM++ 2M Karras"
    assert known_name("Euler", "Automatic") == known_name("k_euler") == "Euler"
    assert known_name("Restart", "Automatic") == "Restart"


def test_every_sampler_is_one_of_diffusers() -> None:
    diffusers = pytest.importorskip("diffusers")
    for sampler in SAMPLERS.values():
        known = getattr(diffusers, sampler.scheduler).__init__.__wrapped__.__code__.co_varnames
        assert set(sampler.options) <= set(known), sampler.name
    with pytest.raises(Exception, match="DPM"):
        get_sampler("DPM+ 2M", flow=False)
