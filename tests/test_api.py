"""AUTOMATIC1111's API on the studio: what clients send and read, with a real engine on the tiny base."""

from __future__ import annotations

import base64
import io
import json
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from fsd.infotext import parse
from fsd.webui.api.router import api_router
from fsd.webui.engine import Engine

fastapi = pytest.importorskip("fastapi")
SMALL = {"prompt": "a red cup", "steps": 2, "width": 64, "height": 64, "seed": 5}


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Engine]:
    made = Engine(tmp_path_factory.mktemp("root"))
    yield made
    made.stop()


@pytest.fixture(scope="module")
def client(engine: Engine) -> Any:
    from fastapi.testclient import TestClient

    app = fastapi.FastAPI()
    app.include_router(api_router(engine))
    return TestClient(app)


def post(client: Any, path: str, status: int = 200, **body: Any) -> Any:
    answer = client.post(path, json=body)
    assert answer.status_code == status, answer.text
    return answer.json()


def pixels(text: str) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(text))).convert("RGB")).astype(int)


def picture(color: str = "red", size: tuple[int, int] = (64, 64)) -> str:
    buffer = io.BytesIO()
    Image.new("RGB", size, color).save(buffer, format="PNG")
    return base64.b64encode(buffer.getvalue()).decode()


def test_a_picture_comes_with_how_it_was_made(client: Any, engine: Engine) -> None:
    body = {**SMALL, "seed": 1, "sampler_name": "Euler", "override_settings": {"sd_model_checkpoint": "tiny"}}
    answer = post(client, "/sdapi/v1/txt2img", **body, unknown_field={"of": "a newer version"})
    info = json.loads(answer["info"])
    assert info["all_seeds"] == [1] and info["sd_model_name"] == "tiny" and info["sampler_name"] == "Euler"
    assert parse(info["infotexts"][0]).settings["Steps"] == "2"
    assert answer["parameters"]["steps"] == 2 and answer["parameters"]["batch_size"] == 1
    assert not list(engine.outputs.rglob("*.png")), "save_images was not asked for"


def test_a_batch_counts_its_seeds_and_is_kept_if_asked(client: Any, engine: Engine) -> None:
    answer = post(client, "/sdapi/v1/txt2img", **{**SMALL, "steps": "2"}, batch_size=2, save_images=True)
    assert json.loads(answer["info"])["all_seeds"] == [5, 6] and len(answer["images"]) == 2
    saved = sorted(engine.outputs.rglob("*.png"))
    assert [base64.b64encode(path.read_bytes()).decode() for path in saved] == answer["images"]
    told = post(client, "/sdapi/v1/png-info", image=f"data:image/png;base64,{answer['images'][0]}")
    assert told["info"] == json.loads(answer["info"])["infotexts"][0]
    assert told["parameters"]["Seed"] == "5" and told["parameters"]["Prompt"] == "a red cup"
    assert not post(client, "/sdapi/v1/txt2img", **SMALL, send_images=False)["images"]


def test_a_pictures_settings_make_it_again(client: Any) -> None:
    first = post(client, "/sdapi/v1/txt2img", **SMALL, sampler_name="DPM++ 2M", scheduler="Karras", cfg_scale=3)
    text = json.loads(first["info"])["infotexts"][0]
    again = post(client, "/sdapi/v1/txt2img", infotext=text)
    assert np.array_equal(pixels(first["images"][0]), pixels(again["images"][0]))
    assert json.loads(again["info"])["infotexts"] == [text]
    other = post(client, "/sdapi/v1/txt2img", infotext=text, seed=6)
    assert json.loads(other["info"])["all_seeds"] == [6]


def test_from_a_picture_and_with_a_mask(client: Any) -> None:
    init = picture("red")
    white, black = picture("white"), Image.new("L", (64, 64))
    black.paste(255, (0, 0, 64, 32))
    buffer = io.BytesIO()
    black.save(buffer, format="PNG")
    upper = base64.b64encode(buffer.getvalue()).decode()
    whole = post(client, "/sdapi/v1/img2img", **SMALL, init_images=[init], mask=white, mask_blur=0)
    assert whole["parameters"]["init_images"] is None
    for invert, kept in ((0, slice(34, 64)), (1, slice(0, 30))):
        answer = post(client, "/sdapi/v1/img2img", **SMALL, init_images=[init], mask=upper, inpaint_full_res=False,
                      inpainting_mask_invert=invert, inpainting_fill=1, mask_blur=0)  # fmt: skip
        made = pixels(answer["images"][0])
        assert (made[kept] == (255, 0, 0)).all() and not (made == (255, 0, 0)).all()
        assert json.loads(answer["info"])["denoising_strength"] == 0.75


@pytest.mark.parametrize(
    ("path", "body", "status", "said"),
    [
        ("txt2img", {"steps": 0}, 422, "steps is 0"),
        ("txt2img", {"steps": "many"}, 422, "not a valid integer"),
        ("txt2img", {"steps": 2.5}, 422, "not a valid integer"),
        ("txt2img", {"prompt": 5}, 422, "not a valid string"),
        ("txt2img", {"width": 1_000_000}, 422, "width_px"),
        ("txt2img", {"sampler_name": "Elder"}, 400, "Sampler not found"),
        ("txt2img", {"sampler_name": "Elder"}, 400, "there is no 'Elder'; GET /sdapi/v1/samplers"),
        ("txt2img", {"width": 7}, 422, "width_px is 7"),
        ("txt2img", {"steps": "1e999"}, 422, "not a valid integer"),
        ("txt2img", {"cfg_scale": 10**400}, 422, "not a valid float"),
        ("txt2img", {"override_settings": {"sd_model_checkpoint": "nowhere"}}, 404, "nowhere"),
        ("txt2img", {"override_settings": {"CLIP_stop_at_last_layers": 2}}, 422, "CLIP_stop"),
        ("txt2img", {"enable_hr": True}, 422, "high-resolution"),
        ("txt2img", {"script_name": "x/y plot"}, 422, "scripts"),
        ("txt2img", {"alwayson_scripts": {"ADetailer": {"args": [True]}}}, 422, "ADetailer not found"),
        ("txt2img", {"alwayson_scripts": {"controlnet": {"args": [{"model": "None", "image": "x"}]}}}, 422, "no model"),
        ("txt2img", {"alwayson_scripts": {"controlnet": {"args": [{"module": "hed", "model": "m"}]}}}, 422, "'hed'"),
        ("txt2img", {"prompt": "a cup <lora:nowhere:1>"}, 404, "no LoRA file"),
        ("img2img", {}, 404, "Init image not found"),
        ("img2img", {"init_images": ["http://127.0.0.1/x.png"]}, 422, "Invalid encoded image"),
        ("img2img", {"init_images": ["aGVsbG8="]}, 422, "Invalid encoded image"),
        ("img2img", {"init_images": ["aGVsbG8="], "inpainting_fill": 3}, 422, "inpainting_fill"),
    ],
)
def test_what_cannot_be_done_is_refused_in_their_shape(
    client: Any, path: str, body: dict[str, Any], status: int, said: str
) -> None:
    answer = post(client, f"/sdapi/v1/{path}", status, **{**SMALL, **body})
    assert set(answer) == {"error", "detail", "body", "errors"}
    assert said in answer["errors"]


def test_no_json_is_refused(client: Any) -> None:
    for content in (b"{", b"[1]", b"5"):
        answer = client.post("/sdapi/v1/txt2img", content=content)
        assert answer.status_code == 422 and answer.json()["errors"]


def test_what_clients_look_up(client: Any) -> None:
    def get(path: str) -> Any:
        answer = client.get(path)
        assert answer.status_code == 200, path
        return answer.json()

    models = get("/sdapi/v1/sd-models")
    assert set(models[0]) == {"title", "model_name", "hash", "sha256", "filename", "config"}
    assert "sdxl" in [model["title"] for model in models]
    assert get("/sdapi/v1/options")["sd_model_checkpoint"] == models[0]["title"]
    assert client.post("/sdapi/v1/options", json={"sd_model_checkpoint": "sdxl", "new": 1}).status_code == 200
    assert get("/sdapi/v1/options")["sd_model_checkpoint"] == "sdxl"
    assert client.post("/sdapi/v1/options", json={"sd_model_checkpoint": "nowhere"}).status_code == 404
    assert client.post("/sdapi/v1/options", json={"sd_vae": "x.pt"}).status_code == 422
    assert client.post("/sdapi/v1/options", json={"sd_model_checkpoint": "tiny"}).status_code == 200
    names = [one["name"] for one in get("/sdapi/v1/samplers")]
    assert {"Euler", "Euler a", "DPM++ 2M", "DDIM", "UniPC"} <= set(names) and len(names) == len(set(names))
    assert "controlnet" in get("/sdapi/v1/scripts")["txt2img"]
    assert get("/sdapi/v1/cmd-flags") == {} and get("/controlnet/version") == {"version": 3}
    assert get("/sdapi/v1/memory")["ram"]["total"] > 0
    assert get("/controlnet/module_list")["module_list"] == ["none", "canny", "invert"]
    assert get("/controlnet/model_list") == {"model_list": []}
    assert get("/sdapi/v1/progress")["progress"] == 0
    assert client.post("/sdapi/v1/refresh-checkpoints").status_code == 200
    assert client.post("/sdapi/v1/interrupt").json() == {}


def test_progress_and_interrupt_while_a_picture_is_made(client: Any, engine: Engine) -> None:
    answers: list[Any] = []
    asked = {**SMALL, "steps": 999, "width": 128, "height": 128}
    thread = threading.Thread(target=lambda: answers.append(client.post("/sdapi/v1/txt2img", json=asked)))
    thread.start()
    deadline = threading.Event()
    while not (told := client.get("/sdapi/v1/progress").json())["progress"] and not deadline.wait(0.05):
        assert thread.is_alive()
    assert told["state"]["sampling_steps"] == 999 and told["state"]["job_count"] == 1
    assert client.post("/sdapi/v1/interrupt").status_code == 200
    thread.join(60)
    assert answers[0].status_code == 200 and answers[0].json()["images"] == []


def test_a_model_file_is_found_by_all_of_its_names(client: Any, engine: Engine) -> None:
    folder = engine.root / "WebUI" / "models" / "Stable-diffusion" / "mine"
    folder.mkdir(parents=True)
    (folder / "cup v2.safetensors").write_bytes(b"")
    there = next(model for model in client.get("/sdapi/v1/sd-models").json() if "cup v2" in model["title"])
    for name in (there["title"], there["model_name"], f"{there['title']} [0123456789]", there["filename"],
                 "cup v2.safetensors"):  # fmt: skip
        assert client.post("/sdapi/v1/options", json={"sd_model_checkpoint": name}).status_code == 200
        assert client.get("/sdapi/v1/options").json()["sd_model_checkpoint"] == there["title"]
    answer = post(client, "/sdapi/v1/txt2img", 422, **SMALL)
    assert answer["error"] == "WeightsError" and "cup v2.safetensors" in answer["detail"]
    assert Path(there["filename"]).is_absolute()
