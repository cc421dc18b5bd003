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
from micro import diffusers, torch
from PIL import Image

from fsd.infotext import parse
from fsd.webui.api import api_router
from fsd.webui.engine import Engine, Progress

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
