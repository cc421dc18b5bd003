"""What a child sees of our environment: no secret; what it needs of them comes through a pipe, past every listing."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from fsd.runtime import handover, secrets
from fsd.runtime.process import child_environment, python_module
from fsd.webui.worker_process import WorkerProcess

TOLD = """
import json, os
from pathlib import Path
from fsd.runtime import handover, secrets
handover.take()
listed = Path("/proc/self/environ").read_bytes().decode()
print(json.dumps([secrets.token("HF_TOKEN"), os.environ.get("https_proxy", ""), listed, sorted(os.listdir("/proc/self/fd"))]))
"""
PROXY = "http://jane:pass@127.0.0.1:3128"


@pytest.fixture(autouse=True)
def planted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_TOKEN", "hf_planted")
    monkeypatch.setenv("https_proxy", PROXY)
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:3128")
    monkeypatch.setenv("KAGGLE_KEY", "planted")
    monkeypatch.delenv("CIVITAI_TOKEN", raising=False)


@pytest.mark.parametrize(
    ("name", "value", "stays"),
    [
        ("NGROK_AUTHTOKEN", "x", False), ("OPENAI_API_KEY", "x", False), ("DB_PASSWORD", "x", False),
        ("HTTPS_PROXY", PROXY, False), ("PIP_INDEX_URL", "https://token@example.org/simple", False),
        ("HTTPS_PROXY", "http://127.0.0.1:3128", True), ("PATH", "/usr/bin:/bin", True), ("KEYMAP", "de", True),
        ("MAIL", "jane@example.org", True), ("OMP_NUM_THREADS", "1", True),
    ],
)  # fmt: skip
def test_what_is_left_to_children(name: str, value: str, stays: bool) -> None:
    assert secrets.without({name: value}) == ({name: value} if stays else {})


def test_a_child_gets_what_it_needs_and_its_listing_shows_none(tmp_path: Path) -> None:
    given = handover.held()
    assert given == {"HF_TOKEN": "hf_planted", "https_proxy": PROXY}
    with handover.handed_over(child_environment(), given) as settings:
        command = [sys.executable, "-c", TOLD]
        child = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=tmp_path, **settings)
    said, _ = child.communicate()
    token, proxy, listed, _ = json.loads(said)
    assert (token, proxy) == ("hf_planted", PROXY)
    assert "http_proxy=http://127.0.0.1:3128" in listed
    assert "planted" not in listed and "pass@" not in listed


def test_a_child_that_is_given_nothing_has_no_pipe(tmp_path: Path) -> None:
    with handover.handed_over(child_environment(), {}) as settings:
        said = subprocess.check_output([sys.executable, "-c", TOLD], text=True, cwd=tmp_path, **settings)
    token, proxy, listed, opened = json.loads(said)
    assert (token, proxy) == ("", "")
    assert "FSD_SECRETS_PIPE" not in listed
    assert len(opened) == 4  # its three streams, and the listing itself


def test_the_drawing_process_gets_them_past_its_listing(tmp_path: Path) -> None:
    worker = WorkerProcess(tmp_path, [sys.executable, "-c", TOLD])
    token, proxy, listed, _ = worker.events.get(timeout=60)  # type: ignore[misc]
    assert (token, proxy) == ("hf_planted", PROXY)
    assert "planted" not in listed and "pass@" not in listed
    assert worker.events.get(timeout=60) is None


def test_a_grandchild_gets_neither(tmp_path: Path) -> None:
    inner = f"import subprocess, sys\nsubprocess.run([sys.executable, '-c', {TOLD!r}])"
    with handover.handed_over(child_environment(), handover.held()) as settings:
        said = subprocess.check_output([*python_module("timeit", "-n1", "-r1"), "pass"], text=True, **settings)
        assert "loop" in said  # one that does not take it lives with it
        relay = f"from fsd.runtime import handover\nhandover.take()\nfrom fsd.runtime.process import child_environment\n{inner}"
        relay = relay.replace(f"{TOLD!r}]", f"{TOLD!r}], env=child_environment()")
        said = subprocess.check_output([sys.executable, "-c", relay], text=True, cwd=tmp_path, **settings)
    token, proxy, listed, opened = json.loads(said)
    assert (token, proxy, len(opened)) == ("", "", 4)
    assert "planted" not in listed and "FSD_SECRETS_PIPE" not in listed
