"""Every web UI behind our lock makes the pictures that Diffusers makes, from what fsd wrote; who is judged is in web_uis.py."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.error import HTTPError
from urllib.request import Request, urlopen

import numpy as np
import pytest
from PIL import Image
from same_picture import CLOSE, FAR, OTHER_PROMPT, PROMPT, PX, Client, apart, as_png, drawn, guided_by, say
from web_uis import RECORD, WEB_UIS, Judged, judged, record

from fsd.webui.launch import launch_webui


@pytest.fixture(scope="module")
def base() -> Path:
    """The embedded tiny base, a Diffusers folder."""
    return Path(pytest.importorskip("fsd_tiny_base").model_folder())


@pytest.fixture(scope="module")
def judge(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, base: Path) -> Iterator[Judged]:
    """A web UI, launched with a file that lies outside of its folder; others are there to choose."""
    web_ui, folder = WEB_UIS[request.param], tmp_path_factory.mktemp("judged")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("FSD_WEBUI_HOME", str(folder / "software"))
        patch.setenv("FSD_HOME", str(folder / "home"))
        web_ui.install(folder, patch)
        files, began = web_ui.files(folder / "root", base), time.monotonic()
        with launch_webui(str(files.opened), "none", web_ui.ui, root=str(files.root)) as running:
            say(f"{request.param}: ready behind the lock after {time.monotonic() - began:.1f} s")
            client = Client(running)
            yield Judged(web_ui, client, files)
            (folder / "last.log").write_text(running.logs(400))
            if RECORD and request.param == "a1111":
                record(client)


@judged("studio", "a1111", "stand-in")
def test_both_files_are_listed_and_the_one_it_was_opened_with_is_chosen(judge: Judged) -> None:
    assert {"tiny.safetensors", "pickled.ckpt"} <= set(judge.client.files())
    assert judge.client.ask("/sdapi/v1/options")["sd_model_checkpoint"].startswith("tiny.safetensors")
    assert "controlnet" in judge.client.ask("/sdapi/v1/scripts")["txt2img"]
    assert judge.client.ask("/sdapi/v1/progress")["progress"] == 0
    assert judge.client.ask("/controlnet/version") == {"version": 3}


@judged("studio", "a1111", "stand-in")
@pytest.mark.parametrize("login", ["", "Basic ZnNkOndyb25n"])
def test_nothing_is_told_without_the_login(judge: Judged, login: str) -> None:
    with pytest.raises(HTTPError) as caught:
        urlopen(Request(f"{judge.client.url}/sdapi/v1/sd-models", headers={"Authorization": login} if login else {}))
    assert caught.value.code == 401


@judged("studio", "a1111", "stand-in")
def test_it_draws_what_diffusers_draws_and_nothing_else(judge: Judged) -> None:
    ours, made = judge.client.draw("tiny.safetensors"), judge.files.plain
    same = apart(ours, drawn(made))
    other_prompt, other_seed = apart(ours, drawn(made, OTHER_PROMPT)), apart(ours, drawn(made, seed=2))
    other = apart(judge.client.draw("tiny.safetensors", prompt=OTHER_PROMPT), drawn(made, OTHER_PROMPT))
    say(f"against Diffusers: {same} and {other} of 255; other prompt {other_prompt}, other seed {other_seed}")
    assert max(same, other) <= CLOSE
    assert min(other_prompt, other_seed) > FAR


@judged("studio", "a1111")
def test_a_ckpt_draws_what_the_safetensors_draws(judge: Judged) -> None:
    assert apart(judge.client.draw("pickled.ckpt"), judge.client.draw("tiny.safetensors")) == 0


@judged("studio", "a1111")
def test_missing_keys_do_not_pass_unseen(judge: Judged) -> None:
    say(f"without output_blocks.7: {judge.web_ui.missing(judge.client)}")


@judged("studio", "a1111")
def test_a_lora_in_kohyas_form_does_what_it_does_in_diffusers(judge: Judged) -> None:
    client, model = judge.client, judge.web_ui.layered
    assert "change" in [one["name"] for one in client.ask("/sdapi/v1/loras")]
    plain, ours = client.draw(model), client.draw(model, prompt=f"{PROMPT} <lora:change:1>")
    expected = apart(plain, drawn(judge.files.layered)), apart(ours, drawn(judge.files.changed))
    say(f"against Diffusers: {expected[0]} of 255; with the LoRA {expected[1]}; it changes {apart(ours, plain)}")
    assert max(expected) <= CLOSE
    assert apart(ours, plain) > FAR


@judged("studio", "a1111")
def test_controlnet_changes_the_picture(judge: Judged) -> None:
    client, model, (module, network) = judge.client, judge.web_ui.controlled, judge.web_ui.unit
    plain = client.draw(model)
    guided, *_ = client.draw_all(model, alwayson_scripts=unit(module, network, np.flip(plain, 1)))
    say(f"ControlNet with {module} changes {apart(guided, plain)} of 255")
    assert apart(guided, plain) > CLOSE
    assert apart(client.draw(model), plain) == 0  # what is drawn twice is the same, so it was ControlNet


@judged("studio", "a1111 at full size")
def test_a_controlnet_file_guides_as_it_does_in_diffusers(judge: Judged) -> None:
    import cv2

    client, model = judge.client, judge.files.opened.name
    (network,) = client.ask("/controlnet/model_list")["model_list"]
    assert {"none", "canny"} <= set(client.ask("/controlnet/module_list")["module_list"])
    picture = np.full((PX, PX, 3), 30)
    picture[16:48, 8:40] = (200, 180, 40)
    edges = np.repeat(cv2.Canny(picture.astype("uint8"), 100, 200)[..., None], 3, 2)
    ours = {
        module: client.draw_all(model, alwayson_scripts=unit(module, network, picture)) for module in ("none", "canny")
    }
    plain, made = client.draw(model), guided_by(judge.files.controlnet, judge.files.plain)
    unguided = apart(plain, drawn(judge.files.plain))
    say(f"{model} against Diffusers: {unguided} of 255")
    assert unguided <= CLOSE
    for module, seen in (("none", picture), ("canny", edges)):
        guided, shown = ours[module]  # no second picture: it was not loaded, though the answer says 200
        expected = apart(guided, drawn(made, image=Image.fromarray(seen.astype("uint8"))))
        say(f"guided by {module}, against Diffusers: {expected} of 255; it changes {apart(guided, plain)}")
        assert expected <= CLOSE
        assert apart(guided, plain) > CLOSE
        assert apart(shown, seen) == 0
    assert apart(ours["none"][0], ours["canny"][0]) > CLOSE


def unit(module: str, model: str, picture: Any) -> dict[str, Any]:
    """What a client sends for one ControlNet."""
    told = {"enabled": True, "module": module, "model": model, "image": as_png(picture), "processor_res": PX}
    return {"controlnet": {"args": [told]}}
