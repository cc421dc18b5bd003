"""The studio without a browser: what the form makes of its values, what goes back into it, and what the tabs show."""

from __future__ import annotations

import http.client
import json
import os
import re
import shutil
import signal
import subprocess
import threading
import urllib.request
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from micro import make_micro_session
from PIL import Image
from studio_stand_in import StandIn

from fsd.errors import MachineError, RecipeError
from fsd.families import FAMILIES
from fsd.webui.engine import ModelChoice
from fsd.webui.server import free_port, status_of
from fsd.webui.studio import __main__ as studio
from fsd.webui.studio import pictures
from fsd.webui.studio import session as told
from fsd.webui.studio.defaults import choice_of, defaults
from fsd.webui.studio.form import OWN_SAMPLER, Form
from fsd.webui.studio.server import studio_server
from fsd.webui.studio.settings import form_values
from fsd.webui.studio.sizes import size_like, size_px

gr = pytest.importorskip("gradio")

FORM: dict[str, Any] = {
    "model": "cup", "prompt": " a cup ", "negative": "", "mode": "Text to image", "init_image": None, "painted": None,
    "mask": None, "strength": 0.6, "sampler": "Euler a", "steps": 3, "guidance": 5.0, "size": "96 × 64", "images": 2,
    "seed": 7, "loras": [], "lora_weight": 1, "control": "", "control_image": None, "preprocessor": "none",
    "control_weight": 1, "control_mode": "",
}  # fmt: skip
PAGE: Any = SimpleNamespace(session_hash="page")
A1111_TEXT = """a cup, wood <lora:clay:0.7>
Negative prompt: blurry
Steps: 21, Sampler: DPM++ 2M, Schedule type: Karras, CFG scale: 6.5, Seed: 123456789012, Size: 640x448, Model hash: 0a1b2c, \
Model: cup+text_encoder-000350+unet-001500, Lora hashes: "clay: 0123456789ab", Version: v1.10.1"""


@pytest.fixture
def engine(tmp_path: Path) -> StandIn:
    return StandIn(tmp_path)


@pytest.fixture
def create(engine: StandIn, monkeypatch: pytest.MonkeyPatch) -> Any:
    """The Create tab on the engine, which shows every step."""
    from fsd.webui.studio import create

    monkeypatch.setattr(create, "_BETWEEN_PREVIEWS_S", 0.0)
    with gr.Blocks():
        return create.CreateTab(engine)


def form(**changed: Any) -> Form:
    return Form(**FORM | changed)


def photo(folder: Path, name: str = "photo.png") -> str:
    Image.new("RGB", (60, 40), "red").save(folder / name)
    return str(folder / name)


@pytest.mark.parametrize("name", FAMILIES)
def test_a_family_gives_its_own_steps_guidance_and_size(name: str, tmp_path: Path) -> None:
    family = FAMILIES[name]
    liked = defaults(ModelChoice(name, "", "family", name), tmp_path)
    assert (liked.steps, liked.guidance) == (family.sample_steps, family.guidance)
    assert size_px(liked.sizes[0]) == (family.native_px, family.native_px)
    for size in liked.sizes:
        wide, high = size_px(size)
        assert wide % 8 == high % 8 == 0 and 0.7 < wide * high / family.native_px**2 < 1.3


def test_a_session_gives_its_own_size_and_prompt(tmp_path: Path) -> None:
    session = make_micro_session(tmp_path, tmp_path, {"unet": 2})
    liked = defaults(ModelChoice("cup@unet-000002", "", "session", "tiny"), tmp_path)
    assert liked.sizes[0] == "64 × 64" and liked.prompt == "photo of sks cup"
    session.recipe_path.write_text("{")
    assert size_px(defaults(ModelChoice("cup", "", "session", "tiny"), tmp_path).sizes[0]) == (128, 128)


def test_a_model_that_is_not_listed_is_recognised_where_that_costs_nothing(tmp_path: Path) -> None:
    assert choice_of("  ", []) is None
    assert choice_of("stable-diffusion-v1-5/stable-diffusion-v1-5", []).family == "sd15"
    (tmp_path / "broken.safetensors").write_bytes(b"no")
    assert choice_of(str(tmp_path / "broken.safetensors"), []).family == ""
    for odd in ("https://example.com/" + "x" * 500, "a" * 300, "~nobodysuch/x", "x\0y"):
        assert choice_of(odd, []).family == "", odd


def test_the_form_becomes_a_job(tmp_path: Path) -> None:
    picture = photo(tmp_path)
    job = form(
        mode="Image to image", init_image=picture, loras=["clay"], lora_weight=0.5, control="union", control_image=picture,
        preprocessor="canny",
    ).job(tmp_path)  # fmt: skip
    assert (job.model, job.prompt, job.mode, job.init_image) == ("cup", "a cup", "img2img", picture)
    assert (job.steps, job.guidance, job.seed, job.images, job.width_px, job.height_px) == (3, 5.0, 7, 2, 96, 64)
    assert (job.sampler, job.lora[0].weight, job.controls[0].preprocessor) == ("Euler a", 0.5, "canny")
    plain = form(init_image=picture, sampler=OWN_SAMPLER, seed=None).job(tmp_path)
    assert (plain.init_image, plain.sampler, plain.seed, plain.controls) == ("", "", -1, ())


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"model": " "}, "no model is chosen"),
        ({"mode": "Image to image"}, "no picture to start from"),
        ({"mode": "Inpainting"}, "no picture to paint in"),
        ({"size": "huge"}, "the size is 'huge'"),
        ({"size": "100000x64"}, "width_px is 100000, not 64 to 4096"),
        ({"size": "7 x 7"}, "width_px is 7, not 64 to 4096"),
        ({"steps": None}, "steps is empty"),
        ({"steps": 2.5}, "steps is 2.5, not a whole number"),
        ({"seed": -5}, "seed is -5"),
        ({"control": "canny"}, "no picture to follow"),
    ],
)
def test_what_is_missing_in_the_form_is_said_in_one_sentence(
    changed: dict[str, Any], said: str, tmp_path: Path
) -> None:
    with pytest.raises(RecipeError, match=said) as fault:
        form(**changed).job(tmp_path)
    assert fault.value.hint


def test_what_was_painted_becomes_the_mask(tmp_path: Path) -> None:
    layer = Image.new("RGBA", (60, 40))
    layer.save(tmp_path / "empty.png")
    layer.paste((255, 255, 255, 200), (10, 10, 20, 20))
    layer.save(tmp_path / "layer.png")
    painted = {"background": photo(tmp_path), "layers": [str(tmp_path / "empty.png")]}
    with pytest.raises(RecipeError, match="nothing is marked"):
        form(mode="Inpainting", painted=painted).job(tmp_path)
    painted["layers"].append(str(tmp_path / "layer.png"))
    job = form(mode="Inpainting", painted=painted).job(tmp_path)
    with Image.open(job.mask) as mask:
        assert mask.getbbox() == (10, 10, 20, 20) and mask.getpixel((15, 15)) == 255
    assert form(mode="Inpainting", painted=painted, mask="own.png").job(tmp_path).mask == "own.png"


def test_settings_of_a_picture_go_back_into_the_form(engine: StandIn) -> None:
    models = [*engine.models(), ModelChoice("cup@unet-001500", "cup, unet-001500", "session", "tiny")]
    values = form_values(A1111_TEXT, models, engine.loras())
    assert values["prompt"] == "a cup, wood" and values["negative"] == "blurry" and values["mode"] == "Text to image"
    assert (values["steps"], values["guidance"], values["seed"], values["size"]) == (21, 6.5, 123456789012, "640 × 448")
    assert (values["sampler"], values["model"]) == ("DPM++ 2M Karras", "cup@unet-001500")
    assert (values["loras"], values["lora_weight"]) == (["clay.safetensors"], 0.7)
    unknown = form_values("Steps: many, CFG scale: 7, Seed: 1, Model: elsewhere", models, [])
    assert "steps" not in unknown and "model" not in unknown and unknown["seed"] == 1


def test_values_beyond_the_sliders_do_not_go_back_into_the_form(engine: StandIn) -> None:
    text = "a <lora:clay:7>\nSteps: {}, Sampler: Euler, CFG scale: {}, Seed: 5, Size: {}x9, Denoising strength: {}"
    ours = form_values(text.format(150, 30, 7, 1), [], engine.loras())
    assert (ours["steps"], ours["guidance"], ours["strength"]) == (150, 30, 1)
    others = form_values(text.format(151, "nan", "9" * 5000, 7), [], engine.loras())
    assert not {"steps", "guidance", "strength", "size"} & others.keys() and others["seed"] == 5
    assert (others["prompt"], others["loras"]) == ("a <lora:clay.safetensors:7>", [])
    from fsd.webui.studio.fields import build_ask, build_settings

    with gr.Blocks():
        fields = build_ask() | build_settings()
    for name in ("steps", "guidance", "strength"):
        assert fields[name].preprocess(ours[name]) == ours[name]


def test_sizes_taken_from_pictures_are_sizes_that_can_be_made() -> None:
    for shape in ((6000, 1), (1, 60000), (60000, 60000)):
        assert all(64 <= side <= 4096 for side in size_px(size_like(*shape, "1024 × 1024"))), shape


def test_loras_of_different_weights_are_named_in_the_prompt(tmp_path: Path) -> None:
    loras = [
        ModelChoice(f"/models/{name}.safetensors", name, "file", path=Path(f"{name}.safetensors")) for name in "ab"
    ]
    text = "a cup <lora:a:0.5> <lora:b:1.5>\nSteps: 3, Sampler: DDIM, CFG scale: 7, Seed: 1"
    values = form_values(text, [], loras)
    assert (values["prompt"], values["loras"]) == ("a cup <lora:a:0.5> <lora:b:1.5>", [])
    job = form(prompt=values["prompt"], loras=["c"], lora_weight=0.25).job(tmp_path)
    assert job.prompt == "a cup" and [(one.path, one.weight) for one in job.lora] == [
        ("c", 0.25),
        ("a", 0.5),
        ("b", 1.5),
    ]


def test_made_settings_come_back_the_same(engine: StandIn, tmp_path: Path) -> None:
    job = form(prompt="ein Tässchen, blau", negative="matt", images=1).job(tmp_path)
    (picture,) = [event for event in engine.run(job) if hasattr(event, "infotext")]
    values = form_values(pictures.settings_of(picture.path), engine.models(), [])
    again = form(**values).job(tmp_path)
    assert again == job


def test_the_gallery_lists_the_newest_first_and_reads_no_more_than_it_shows(tmp_path: Path) -> None:
    for day, number in (("2026-01-01", 1), ("2026-01-02", 2), ("2026-01-02", 3)):
        (tmp_path / day).mkdir(exist_ok=True)
        path = tmp_path / day / f"{number}.png"
        Image.new("RGB", (8, 8)).save(path)
        os.utime(path, (number, number))
    (tmp_path / "2026-01-02" / ".9.png.partial-0000").write_bytes(b"")
    names = [path.name for path in pictures.list_pictures(tmp_path, 9)]
    assert names == ["3.png", "2.png", "1.png"]
    assert len(pictures.list_pictures(tmp_path, 2)) == 2
    assert pictures.list_pictures(tmp_path / "nowhere", 9) == []


def test_thumbnails_are_small_kept_and_never_in_the_way(tmp_path: Path) -> None:
    Image.new("RGB", (1024, 512), "blue").save(tmp_path / "big.png")
    small = pictures.thumbnail(tmp_path / "big.png", tmp_path / "small")
    with Image.open(small) as image:
        assert image.size == (320, 160)
    assert pictures.thumbnail(tmp_path / "big.png", tmp_path / "small") == small
    (tmp_path / "no.png").write_bytes(b"no picture")
    assert pictures.thumbnail(tmp_path / "no.png", tmp_path / "small") == tmp_path / "no.png"
    assert pictures.settings_of(tmp_path / "no.png") == ""


@pytest.mark.parametrize("kind", ["gone", "no picture", "a bomb", "a GIF", "half a header"])
def test_a_picture_that_cannot_be_used_is_one_sentence_and_breaks_no_gallery(
    kind: str, engine: StandIn, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from fsd.webui.studio.filling import start_from
    from fsd.webui.studio.gallery import GalleryTab
    from fsd.webui.studio.page import _like

    path = Path(photo(_folder(engine.outputs / "2026-01-02")))
    with gr.Blocks():
        tab = GalleryTab(engine.outputs, tmp_path / "small")
    content = path.read_bytes()
    if kind == "gone":
        path.unlink()
    elif kind == "a bomb":
        monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 100)
    elif kind == "a GIF":
        Image.new("RGB", (9, 9)).save(path, format="GIF")
    else:
        path.write_bytes(b"no" if kind == "no picture" else content[:20])
    layers = {"background": "photo.png", "layers": [str(path)]}
    for use in (
        lambda: start_from(str(path), "Inpainting", "64 × 64"), lambda: _like(str(path), "64 × 64"),
        lambda: form(mode="Inpainting", painted=layers).job(tmp_path), lambda: tab._details(str(path)),
    ):  # fmt: skip
        with pytest.raises(RecipeError, match="not there any more" if kind == "gone" else "cannot be read"):
            use()
    assert pictures.settings_of(path) == "" and pictures.thumbnail(path, tmp_path / "small") == path
    assert len(tab.refresh(24)[1]) == (kind != "gone")


def test_facts_are_safe_html() -> None:
    shown = pictures.facts_html("<img src=x onerror=y>\nNegative prompt: <b>\nSteps: 4, Seed: 1, Version: v1")
    assert "<img" not in shown and "&lt;img" in shown and "<span>Seed: 1</span>" in shown and "Version" not in shown


def test_a_sessions_training_is_told(tmp_path: Path) -> None:
    session = make_micro_session(tmp_path, tmp_path, {"text_encoder": 4, "unet": 8})
    rows = [{"stage": "unet", "step": 2, "loss": 0.5}, {"stage": "unet", "step": 4, "loss": 0.25}]
    (session.logs / "metrics.jsonl").write_text("\n".join([*map(json.dumps, rows), '{"stage": "un']))
    for at, name in enumerate(("unet-000002", "unet-000004")):
        shutil.copy(photo(tmp_path), _folder(session.samples / name) / "grid.png")
        os.utime(session.samples / name / "grid.png", (at, at))
    text = told.progress_text(session)
    assert "**UNet**: 4 of 8 steps, loss 0.2500" in text and "**Text encoder**: 0 of 4 steps" in text
    assert [name for _, name in told.sample_grids(session)] == ["unet-000004", "unet-000002"]
    assert told.loss_plot(session) is None and told.session_names(tmp_path) == ["cup"]


def test_a_job_is_followed_and_its_pictures_are_shown(create: Any) -> None:
    steps = list(create._run(PAGE, *FORM.values()))
    assert "loading cup" in steps[1][0] and any("step 2 of 6" in step[0] for step in steps)
    assert any(step[1].get("value", "").endswith("preview.jpg") for step in steps)
    assert "2 pictures" in steps[-1][0]
    assert [seed for _, _, seed in steps[-1][3]] == [7, 8]
    _, generate, stop, chosen, facts, *_, seed = create._rest(steps[-1][3])
    assert generate["interactive"] and not stop["interactive"] and chosen.endswith("-8.png") and seed == 8
    assert "Seed: 8" in facts


def test_errors_are_one_sentence_and_no_html(create: Any) -> None:
    *_, last = create._run(PAGE, *(FORM | {"model": "broken"}).values())
    assert "the model broken is &lt;damaged&gt;: choose another one" in last[0]
    assert last[3] == gr.skip() and create._rest([])[1]["interactive"], (
        "what was made before stays; it can be asked again"
    )


def test_what_nobody_foresaw_is_one_sentence_too(
    engine: StandIn, create: Any, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(engine, "run", lambda job, asker: {}["<secret>"])
    *_, last = create._run(PAGE, *FORM.values())
    assert "this failed in a way that nobody foresaw (KeyError): the log says more" in last[0]
    assert "Traceback" in capfd.readouterr().err
    from fsd.webui.studio.words import careful

    with pytest.raises(gr.Error, match="nobody foresaw"):
        careful(lambda: [][1])()


def test_a_controlnet_for_many_tasks_asks_what_its_picture_shows(tmp_path: Path) -> None:
    from controlnets import narrow

    from fsd.webui.studio.unions import reads_many

    for name, many in (("sdxl union", True), ("flux union", True), ("tiny", False), ("flux", False)):
        assert reads_many(str(narrow(name, tmp_path / f"{name}.safetensors"))) == many, name
    (tmp_path / "config.json").write_text('{"num_mode": 10}')
    assert reads_many(str(tmp_path)) and not reads_many(str(tmp_path / "nowhere"))
    (tmp_path / "no.safetensors").write_text("no")
    assert not reads_many(str(tmp_path / "no.safetensors"))
    assert form(control="u", control_image="p", control_mode="depth").job(tmp_path).controls[0].mode == "depth"


def test_a_stopped_job_leaves_the_pictures_that_were_whole(engine: StandIn, create: Any) -> None:
    engine.hold.set()
    running: Iterator[Any] = create._run(PAGE, *FORM.values())
    while "step 2" not in (step := next(running))[0]:
        assert step
    engine.cancel()
    assert "stopped" in list(running)[-1][0]


def test_before_and_after_are_made_from_the_same_seeds(engine: StandIn, tmp_path: Path) -> None:
    from fsd.webui.studio.compare import CompareTab

    make_micro_session(tmp_path, tmp_path, {"unet": 2})
    with gr.Blocks():
        tab = CompareTab(engine)
    choices, none, box = tab.refresh(None)
    assert choices["value"] == "cup" and box["visible"] and not none["visible"]
    *_, last = tab._run(PAGE, "cup", "a cup", 2, 5)
    assert [caption for _, caption in last[1]["value"]] == [
        "before, seed 5", "after, seed 5", "before, seed 6", "after, seed 6",
    ]  # fmt: skip
    assert [(job.model, job.seed, job.images) for job in engine.jobs] == [("cup@base", 5, 2), ("cup", 5, 2)]
    *_, last = tab._run(PAGE, None, "", 2, 5)
    assert "no session is chosen" in last[0]


def test_the_gallery_shows_pictures_with_their_settings_and_reads_uploads(engine: StandIn, tmp_path: Path) -> None:
    from fsd.webui.studio.gallery import GalleryTab

    with gr.Blocks():
        tab = GalleryTab(engine.outputs, tmp_path / "small")
    assert tab.refresh(24)[2]["visible"]
    list(engine.run(form().job(tmp_path)))
    wall, paths, empty, more = tab.refresh(1)
    assert len(wall["value"]) == 1 and paths[0].endswith("-8.png") and not empty["visible"] and more["visible"]
    *_, infotext = tab._read(paths[0])
    assert "Seed: 8" in infotext
    with pytest.raises(gr.Error, match="no settings"):
        tab._read(photo(tmp_path))


def test_the_form_is_filled_at_the_start_by_a_model_and_by_a_picture(engine: StandIn, tmp_path: Path) -> None:
    from fsd.webui.studio.filling import _NAMES, Filling, start_from

    filled = dict(zip(_NAMES, Filling(engine, "sdxl").at_start(), strict=True))
    assert (filled["model"]["value"], filled["size"]["value"], filled["steps"]["value"]) == ("sdxl", "1024 × 1024", 30)
    assert dict(zip(_NAMES, Filling(engine).at_start(), strict=True))["model"]["value"] == "cup"
    put = dict(zip(_NAMES, start_from(photo(tmp_path), "Inpainting", "128 × 128"), strict=True))
    assert put["painted"]["value"]["background"].endswith("photo.png") and put["size"]["value"] == "160 × 104"
    assert "value" not in put["init_image"]


def test_gradios_copies_go_with_time_and_pictures_stay(engine: StandIn, tmp_path: Path) -> None:
    from gradio.route_utils import delete_files_created_by_app

    from fsd.webui.studio.page import build_page

    picture = Path(photo(_folder(engine.outputs)))
    gr.set_static_paths([engine.outputs])
    page = build_page(engine, tmp_path)
    every_s, age_s = page.delete_cache
    assert every_s <= 3600 and age_s >= 86400, "a page that is open for a day still shows what it showed"
    copied = page.default_config.blocks
    image = next(one for one in copied.values() if getattr(one, "elem_id", "") == "big")
    copy = Path(image.move_resource_to_block_cache(photo(tmp_path)))
    delete_files_created_by_app(page, age=None)
    assert not copy.exists() and picture.exists()


def test_the_app_answers_and_keeps_to_itself(engine: StandIn, tmp_path: Path) -> None:
    from starlette.testclient import TestClient

    client = TestClient(studio.build_app(engine, _folder(tmp_path / "scratch")))
    assert client.get("/internal/ping").json() == {}
    assert client.get("/sdapi/v1/sd-models").status_code == 200
    page = client.get("/")
    assert "fsd studio" in page.text and "connect-src 'self'" in page.headers["content-security-policy"]
    style = client.get("/theme.css").text
    assert not re.search(r"@import|url\(['\"]?(https?:)?//", style)
    assert "text to image alone" in client.get("/config").text, "what SD 3.5's ControlNets cannot do"
    secret = tmp_path / "Fast-Dreambooth" / "secret.txt"
    _folder(secret.parent)
    secret.write_text("mine")
    assert client.get(f"/gradio_api/file={secret}").status_code in (403, 404)


@pytest.mark.parametrize("told", [signal.SIGTERM, signal.SIGINT])
def test_the_process_says_when_it_is_ready_and_leaves_nothing_when_told_to_end(
    told: signal.Signals, tmp_path: Path
) -> None:
    server = studio_server(tmp_path, free_port(), "tiny")
    assert server.command[-2:] == ("--model", "tiny") and not any(
        name.startswith("GRADIO_S") for name in server.environment
    )
    module, *options = server.command[server.command.index("-m") + 1 :]
    held = "import fsd.webui.engine, held_worker, runpy; fsd.webui.engine.WorkerProcess = held_worker.HeldWorker; "
    start = f"{held}runpy.run_module({module!r}, run_name='__main__', alter_sys=True)"
    places = os.pathsep.join([str(Path(__file__).parent), str(Path(__file__).parents[1])])
    child = subprocess.Popen(
        [server.command[0], "-c", start, *options],
        env=server.environment | {"TMPDIR": str(_folder(tmp_path / "scratch")), "PYTHONPATH": places},
        cwd=server.folder,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    asking = threading.Thread(target=_ask, args=(server.port,), daemon=True)
    try:
        assert child.stdout is not None
        lines = []
        for line in child.stdout:
            lines.append(line)
            if line.startswith("Startup time:"):
                assert status_of(f"http://127.0.0.1:{server.port}{server.ping}") == 200, "".join(lines)
                asking.start()
            if line.startswith("held"):  # a picture is being made
                break
        assert len(list((tmp_path / "scratch").glob("fsd-*"))) >= 3, "uploads, previews, and the request's pictures"
        child.send_signal(told)
        assert "Traceback" not in child.communicate(timeout=30)[0]
        assert child.returncode == 0 and list((tmp_path / "scratch").glob("fsd-*")) == []
    finally:
        child.kill()
        child.wait()
        asking.join(30)


def _ask(port: int) -> None:
    address = f"http://127.0.0.1:{port}/sdapi/v1/txt2img"
    asked = urllib.request.Request(address, b"{}", {"Content-Type": "application/json"})
    with suppress(OSError, http.client.HTTPException):
        urllib.request.urlopen(asked, timeout=30).close()


def test_a_root_that_is_no_folder_is_one_sentence(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "file").write_text("")
    assert studio.main(["--root", str(tmp_path / "file")]) == 1
    said = "".join(capfd.readouterr())
    assert "cannot be made: Not a directory" in said and "Traceback" not in said


def test_a_port_that_is_taken_is_said(tmp_path: Path) -> None:
    taken = studio._listen(0)
    taken.listen()
    port = taken.getsockname()[1]
    with taken, pytest.raises(MachineError, match=f"port {port} cannot be used"):
        studio._listen(port)


def _folder(path: Path) -> Path:
    path.mkdir(parents=True, exist_ok=True)
    return path
