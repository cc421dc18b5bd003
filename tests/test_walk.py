"""A user's walk in a real Chromium, through the launcher and the lock: log in, draw, paint, follow, stop, look, log out.

Screenshots go to FSD_SCREENSHOTS if set. Skipped where there is no Chromium.
"""

from __future__ import annotations

import io
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import browser
import pytest
from micro import make_micro_session
from PIL import Image, ImageChops
from subjects import train_a_little
from tiny_controlnet import make_controlnet

pytest.importorskip("gradio")
pytest.importorskip("aiohttp")
if reason := browser.why_not():
    pytest.skip(reason, allow_module_level=True)

from playwright.sync_api import expect

expect.set_options(timeout=browser.WAIT_MS)
PROMPT = "photo of sks cup"


@pytest.fixture(scope="module")
def webui(tmp_path_factory: pytest.TempPathFactory, micro_model: Path) -> Iterator[Any]:
    """The studio with a trained session and a ControlNet, launched as a notebook launches it."""
    from fsd.webui.launch import launch_webui

    root = tmp_path_factory.mktemp("walk")
    session = make_micro_session(root, micro_model, {"text_encoder": 2, "unet": 2})
    train_a_little(session)
    Image.new("RGB", (640, 320), "white").save(session.logs / "loss.png")
    make_controlnet(root / "WebUI" / "models" / "ControlNet" / "canny", micro_model)
    with launch_webui("cup", tunnel="none", ui="studio", root=str(root)) as launched:
        yield launched


def downloaded(page: Any, button: str) -> tuple[str, Image.Image]:
    """(the name, the picture) that a download button gives."""
    with page.expect_download() as coming:
        page.locator(button).click()
    return coming.value.suggested_filename, Image.open(io.BytesIO(Path(coming.value.path()).read_bytes()))


def seed_of(image: Image.Image) -> str:
    match = re.search(r"Seed: (\d+)", image.info["parameters"])
    assert match
    return match[1]


def test_a_walk_at_a_desk(webui: Any, chromium: Any, shots: Path) -> None:
    link = webui.new_login_link()
    with browser.page_of(chromium, browser.DESK) as page:
        page.goto(webui.url)  # a stranger
        expect(page.locator("input[name=secret]")).to_be_visible()
        page.goto(link)
        browser.wait_for_form(page)
        assert page.locator("#size input").input_value() == "64 × 64"  # the session's own

        browser.generate(page, PROMPT, steps=2, seed=11)
        name, first = downloaded(page, "#download")
        assert name.endswith(".png") and first.size == (64, 64)
        assert first.info["parameters"].startswith(PROMPT) and seed_of(first) == "11"
        browser.generate(page, PROMPT, steps=2, seed=12)
        _, second = downloaded(page, "#download")
        assert seed_of(second) == "12" and second.tobytes() != first.tobytes()
        page.screenshot(path=shots / "desk-create.png")
        page.locator("#random").click()
        expect(page.locator("#seed input")).to_have_value("-1")
        page.locator("#reuse").click()
        expect(page.locator("#seed input")).to_have_value("12")

        page.get_by_role("tab", name="Gallery").click()
        expect(page.locator("#wall img")).to_have_count(2)
        page.locator("#wall button").nth(1).click()  # the older one
        expect(page.locator("#chosen-facts")).to_contain_text("Seed: 11")
        page.screenshot(path=shots / "desk-gallery.png")
        page.locator("#use").click()
        expect(page.locator("#seed input")).to_have_value("11")
        expect(page.locator("#prompt textarea")).to_have_value(PROMPT)
        page.locator("#generate").click()
        expect(page.locator("#made-facts")).to_contain_text("Seed: 11")
        expect(page.locator("#generate")).to_be_enabled()
        assert downloaded(page, "#download")[1].tobytes() == first.tobytes()

        page.locator("#model input").fill("no such model")
        page.locator("#model input").press("Enter")
        page.locator("#generate").click()
        expect(page.locator("#bar .fault")).to_contain_text("no such model")
        expect(page.locator("body")).not_to_contain_text("Traceback")

        expect(page.locator("#generate")).to_be_enabled()  # to be mended and asked again, without a reload
        page.locator("#model input").fill("cup")
        page.locator("#model input").press("Enter")
        browser.generate(page, PROMPT, steps=2, seed=12)

        page.locator("#log-out").click()
        expect(page.locator("input[name=secret]")).to_be_visible()
        page.goto(webui.url)
        expect(page.locator("input[name=secret]")).to_be_visible()
        page.goto(link)  # it opened once
        expect(page.locator("input[name=secret]")).to_be_visible()
        assert page.asked == []


def test_paint_follow_and_stop(webui: Any, chromium: Any, shots: Path, tmp_path: Path) -> None:
    Image.effect_noise((64, 64), 90).convert("RGB").save(tmp_path / "follow.png")
    with browser.page_of(chromium, browser.DESK) as page:
        page.goto(webui.new_login_link())
        browser.wait_for_form(page)
        browser.generate(page, PROMPT, steps=2, seed=21)
        _, before = downloaded(page, "#download")
        page.locator("#paint-in").click()
        stroke(page)
        page.screenshot(path=shots / "desk-inpaint.png")
        browser.generate(page, PROMPT, steps=2, seed=22)
        name, after = downloaded(page, "#download")
        assert "Denoising strength" in after.info["parameters"] and after.tobytes() != before.tobytes(), name
        far = ImageChops.difference(after.convert("RGB"), before.convert("RGB")).crop((56, 0, 64, 64))
        assert max(band[1] for band in far.getextrema() if isinstance(band, tuple)) <= 2  # the stroke was on the left

        page.locator("#mode label", has_text="Text to image").click()
        page.locator("#control-box button").first.click()
        page.locator("#control input").click()
        page.get_by_role("option", name="canny").click()
        page.locator("#control-image input[type=file]").set_input_files(tmp_path / "follow.png")
        expect(page.locator("#control-image img")).to_be_visible()
        page.locator("#preprocessor label", has_text="Find edges").click()
        sent: list[str] = []
        page.on("request", lambda asked: "/upload" in asked.url and sent.append(asked.url))
        browser.generate(page, PROMPT, steps=2, seed=23)
        assert len(sent) < 40  # the mask editor's three files, at a few moments; not with every step that is shown
        expect(page.locator("#seen img").first).to_be_visible()
        page.screenshot(path=shots / "desk-control.png", full_page=True)

        page.locator("#steps input[type=number]").fill("100")
        page.locator("#images input[type=number]").fill("16")
        page.locator("#images input[type=number]").press("Tab")
        page.locator("#generate").click()
        expect(page.locator("#bar")).to_contain_text("step")
        page.locator("#stop").click()
        expect(page.locator("#generate")).to_be_enabled()
        expect(page.locator("#stop")).to_be_disabled()
        expect(page.locator("#bar")).to_contain_text("stopped")
        assert page.asked == []


def stroke(page: Any) -> None:
    """Brush down the left edge of the mask editor's picture, once it is there; it is square and in the middle."""
    canvas = page.locator("#painted canvas").first
    expect(canvas).to_be_visible()
    page.locator("#painted").scroll_into_view_if_needed()
    box = canvas.bounding_box()
    left, top, bottom = (
        box["x"] + box["width"] / 2 - 150,
        box["y"] + box["height"] * 0.3,
        box["y"] + box["height"] * 0.7,
    )
    page.mouse.move(left, top)
    page.mouse.down()
    page.mouse.move(left, bottom, steps=8)
    page.mouse.up()


def test_everything_fits_a_phone(webui: Any, chromium: Any, shots: Path) -> None:
    with browser.page_of(chromium, browser.PHONE) as page:
        page.goto(webui.new_login_link())
        browser.wait_for_form(page)
        browser.generate(page, PROMPT, steps=2)
        visit(page, shots / "phone-light")
    with browser.page_of(chromium, browser.PHONE, dark=True) as page:
        page.goto(webui.new_login_link())
        browser.wait_for_form(page)
        visit(page, shots / "phone-dark")


def visit(page: Any, shots: Path) -> None:
    """Open every tab and look: nothing is wider than the window, nothing is asked of strangers."""
    seen = {
        "Create": "#generate",
        "Gallery": "#wall img",
        "Compare": "#compare-go",
        "Captions": "#captions .fsd-card",
        "Training": "#loss img",
    }
    for name, what in seen.items():
        tab = page.get_by_role("tab", name=name)
        expect(tab).to_be_visible()  # not in a menu of those that do not fit
        tab.click()
        expect(tab).to_have_attribute("aria-selected", "true")
        expect(page.locator(what).first).to_be_visible()
        assert browser.overflow_px(page) == 0, name
        page.screenshot(path=f"{shots}-{name.lower()}.png", full_page=True)
    assert page.asked == []


def test_before_and_after_stand_side_by_side(webui: Any, chromium: Any, shots: Path) -> None:
    with browser.page_of(chromium, browser.DESK, dark=True) as page:
        page.goto(webui.new_login_link())
        browser.wait_for_form(page)
        page.get_by_role("tab", name="Compare").click()
        expect(page.locator("#compare-prompt textarea")).to_have_value(PROMPT)
        page.locator("#pairs-count input[type=number]").fill("1")
        page.locator("#compare-go").click()
        expect(page.locator("#pairs img")).to_have_count(2)
        expect(page.locator("#compare-go")).to_be_enabled()
        page.screenshot(path=shots / "desk-compare.png")
        page.get_by_role("tab", name="Training").click()
        expect(page.locator("#training-progress")).to_contain_text("2 of 2 steps")
        expect(page.locator("#loss img")).to_be_visible()
        page.screenshot(path=shots / "desk-training.png")
