"""Installing a web UI: exact commits from the first mirror that has them, an environment from a lock, and repairs."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from repositories import git, upstream

from fsd.errors import DownloadError, MachineError, RecipeError
from fsd.runtime import colab
from fsd.runtime.packages import overlay
from fsd.webui import environment as environments
from fsd.webui import install as installing
from fsd.webui.checkout import addresses, check_out, is_at, is_whole
from fsd.webui.flavors import A1111, FLAVORS, Flavor, Repository, get_flavor
from fsd.webui.install import find_installed, install, lock_of
from fsd.webui.logs import fatal_of, phase_of
from fsd.webui.steps import StepFailed, clean_environment, run_step

HERE = f"{sys.version_info.major}.{sys.version_info.minor}"


@pytest.fixture
def program(tmp_path: Path) -> Repository:
    address, commit = upstream(tmp_path / "up/program", launch_py="print('on')\n", docs__big="x" * 5000, a="1\n")
    return Repository("", commit, (address,), without=("/docs/",))


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("FSD_WEBUI_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", "/dev/null")
    monkeypatch.delenv("FSD_WEBUI_MIRRORS", raising=False)
    return tmp_path / "home"


@pytest.fixture
def flavor(program: Repository, tmp_path: Path, home: Path, monkeypatch: pytest.MonkeyPatch) -> Flavor:
    """A web UI of two small repositories, and a lock with one package that is built here."""
    address, commit = upstream(tmp_path / "up/part", part_py="")
    locks = tmp_path / "locks"
    locks.mkdir()
    (locks / f"small-{HERE}.txt").write_text("small-thing==1.0 \\\n    --hash=sha256:00\n")
    monkeypatch.setattr(environments, "LOCKS", locks)
    parts = (program, Repository("repositories/part", commit, (address,)))
    return replace(A1111, repositories=parts, pythons=(HERE,), lock="small", modules=("small_thing",), disk_gb=0)


STAND_IN_UV = r"""#!{python}
import os, pathlib, subprocess, sys
said = pathlib.Path({said!r})
with said.open("a") as log:
    log.write(" ".join(sys.argv[1:]) + "\n")
fault = said.with_suffix(".fault")
if fault.exists():
    print(fault.read_text()); sys.exit(2)
if sys.argv[1:3] == ["python", "find"]:
    print(sys.executable)
elif sys.argv[1] == "venv":
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", sys.argv[-1]], check=True)
else:
    site = next(pathlib.Path(sys.argv[sys.argv.index("--python") + 1]).parents[1].glob("lib/*/site-packages"))
    record = site / "small_thing-1.0.dist-info"
    record.mkdir(exist_ok=True)
    (site / "small_thing.py").write_text("value = 1\n")
    (record / "RECORD").write_text("small_thing.py,sha256=x,10\nsmall_thing-1.0.dist-info/RECORD,,\n")
    print("Installed 1 package in 3ms")
"""


@pytest.fixture
def uv(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A program that does as uv does; the file to which it writes what it was asked. What FILE.fault says it fails with."""
    said, folder = tmp_path / "uv.said", tmp_path / "bin"
    folder.mkdir()
    (folder / "uv").write_text(STAND_IN_UV.format(python=sys.executable, said=str(said)))
    (folder / "uv").chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}{os.pathsep}{os.environ['PATH']}")
    return said


def test_a_checkout_is_at_the_commit_and_leaves_out_what_it_need_not_have(
    program: Repository, home: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "app"
    assert check_out(program, folder)
    assert is_at(folder, program.commit) and is_whole(program, folder)
    assert sorted(path.name for path in folder.iterdir()) == [".git", "a", "launch.py"]
    assert not check_out(program, folder)


def test_the_next_mirror_is_asked_when_one_is_gone_or_lacks_the_commit(
    program: Repository, home: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    other, _ = upstream(tmp_path / "up/other", b="2")
    gone = (tmp_path / "up/gone").as_uri()
    assert check_out(replace(program, mirrors=(gone, other, *program.mirrors)), tmp_path / "app")
    assert [line.split()[-1] for line in capsys.readouterr().out.splitlines()] == [gone, other, program.mirrors[0]]
    with pytest.raises(DownloadError) as fault:
        check_out(replace(program, mirrors=(gone, other)), tmp_path / "again")
    assert gone in fault.value.message and other in fault.value.message and program.commit[:12] in fault.value.message
    assert "not our ref" in fault.value.message or "does not exist" in fault.value.message


def test_without_a_network_it_says_so(program: Repository, home: Path, tmp_path: Path) -> None:
    nowhere = replace(program, mirrors=("https://127.0.0.1:9/x.git",))
    with pytest.raises(DownloadError) as fault:
        check_out(nowhere, tmp_path / "app")
    assert "check the network" in fault.value.hint


@pytest.mark.parametrize("harm", ["changed", "deleted", "no_git", "no_objects", "locked", "other_commit", "cut"])
def test_a_broken_checkout_is_repaired_and_what_is_yours_stays(
    harm: str, program: Repository, home: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "app"
    check_out(program, folder)
    (folder / "yours").write_text("mine")
    if harm == "changed":
        (folder / "a").write_text("another")
    elif harm == "deleted":
        (folder / "a").unlink()
    elif harm == "no_git":
        subprocess.run(["rm", "-rf", str(folder / ".git")], check=True)
    elif harm == "no_objects":
        subprocess.run(["rm", "-rf", str(folder / ".git/objects")], check=True)
    elif harm == "locked":
        (folder / ".git/index.lock").touch()
        (folder / "a").unlink()
    elif harm == "other_commit":
        git(folder, "checkout", "--quiet", "--orphan", "other")
        git(folder, "commit", "--quiet", "-m", "mine")
    else:
        (folder / ".git/HEAD").write_text("")
    assert not is_whole(program, folder)
    assert check_out(program, folder)
    assert is_whole(program, folder)
    assert (folder / "a").read_text() == "1\n" and (folder / "yours").read_text() == "mine"


def test_a_folder_of_mirrors_is_asked_first(
    program: Repository, home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FSD_WEBUI_MIRRORS", str(tmp_path / "up"))
    far = replace(program, mirrors=("https://127.0.0.1:9/x/program.git",))
    assert addresses(far) == [(tmp_path / "up/program").as_uri(), *far.mirrors]
    assert check_out(far, tmp_path / "app")


def test_a_second_run_does_nothing_and_damage_is_repaired(
    flavor: Flavor, uv: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert find_installed(flavor) is None
    first = install(flavor)
    assert find_installed(flavor) == first
    assert first.record["commits"]["."] == flavor.repositories[0].commit
    asked = uv.read_text().splitlines()
    assert any("--require-hashes" in line and "--no-deps" in line for line in asked)
    capsys.readouterr()
    assert install(flavor) == first
    assert "nothing to do" in capsys.readouterr().out and uv.read_text().splitlines() == asked
    site = next(first.python.parents[1].glob("lib/*/site-packages"))
    (site / "small_thing.py").unlink()
    (first.folder / "repositories/part/part.py").unlink()
    install(flavor)
    assert (site / "small_thing.py").is_file() and (first.folder / "repositories/part/part.py").is_file()
    assert "--reinstall-package small-thing" in uv.read_text()
    first.python.unlink()
    assert find_installed(flavor) is None
    assert install(flavor) == first and first.python.is_file()


def test_other_pins_are_another_installation(flavor: Flavor, uv: Path) -> None:
    install(flavor)
    lock = lock_of(flavor, HERE)
    lock.write_text(lock.read_text() + "# changed\n")
    assert find_installed(flavor) is None
    install(flavor)
    assert find_installed(flavor) is not None
    newer = replace(flavor.repositories[1], commit="0" * 40)
    assert find_installed(replace(flavor, repositories=(flavor.repositories[0], newer))) is None


@pytest.mark.parametrize(
    ("said", "hint"),
    [
        ("error: dns error: failed to lookup address", "check the network"),
        ("error: No space left on device (os error 28)", "disk space"),
        ("Hash mismatch for `small-thing==1.0`", "not the one that was pinned"),
    ],
)
def test_a_failure_names_its_step_with_the_last_lines(flavor: Flavor, uv: Path, said: str, hint: str) -> None:
    install(flavor)
    next(find_installed(flavor).python.parents[1].glob("lib/*/site-packages/small_thing.py")).unlink()  # type: ignore[union-attr]
    uv.with_suffix(".fault").write_text(f"resolving\n{said}")
    with pytest.raises(MachineError) as fault:
        install(flavor)
    assert "installing the packages" in fault.value.message and said in fault.value.message
    assert hint in fault.value.hint
    assert find_installed(flavor) is None
    uv.with_suffix(".fault").unlink()
    install(flavor)
    assert find_installed(flavor) is not None


def test_it_is_never_on_drive_nor_on_a_full_disk(
    flavor: Flavor, uv: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(MachineError, match="are free"):
        install(replace(flavor, disk_gb=1e6))
    monkeypatch.setattr(colab, "MOUNT_POINT", tmp_path / "drive")
    (tmp_path / "link").symlink_to(tmp_path / "drive")
    for folder in ("drive", "drive/MyDrive/x", "link/x"):
        monkeypatch.setenv("FSD_WEBUI_HOME", str(tmp_path / folder))
        with pytest.raises(MachineError, match="on Google Drive"):
            install(flavor)
    assert not uv.exists()


def test_two_installations_at_once_are_refused(flavor: Flavor, uv: Path, home: Path) -> None:
    with installing._alone(home / flavor.name), pytest.raises(MachineError, match="another process"):
        install(flavor)
    install(flavor)


def test_no_uv_is_said(flavor: Flavor, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(overlay.shutil, "which", lambda name, path=None: None)
    monkeypatch.setattr(overlay, "find_spec", lambda name: None)
    with pytest.raises(MachineError, match="uv is not installed"):
        install(flavor)


def test_the_environment_is_clean(flavor: Flavor, uv: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    foreign = {
        "PYTHONPATH": "/x", "UV_CONSTRAINT": "/gone", "UV_SYSTEM_PYTHON": "true", "COMMANDLINE_ARGS": "--share",
        "MPLBACKEND": "module://inline", "HF_TOKEN": "hf_x", "NGROK_AUTHTOKEN": "x", "MY_PASSWORD": "x", "TORCH_COMMAND": "x",
        "K_DIFFUSION_REPO": "x", "GIT_DIR": "/x", "FSD_WEBUI_MIRRORS": "", "VIRTUAL_ENV": "/x",
    }  # fmt: skip
    installed = install(flavor)
    for name, value in foreign.items():
        monkeypatch.setenv(name, value)
    made = installed.environment()
    constraints = str(environments.LOCKS / "small-constraints.txt")
    fixed = {"MPLBACKEND": "Agg", "UV_CONSTRAINT": constraints, "PIP_CONSTRAINT": constraints, "GIT_TERMINAL_PROMPT": "0",
             "TORCH_COMMAND": "pip --version", "VIRTUAL_ENV": str(installed.python.parents[1])}  # fmt: skip
    assert {name: made[name] for name in fixed} == fixed
    assert not (foreign.keys() - fixed.keys()) & made.keys()
    assert made["PATH"].startswith(str(installed.python.parent)) and made["HOME"] == os.environ["HOME"]
    assert installed.command(["--port", "1"]) == [
        str(installed.python), str(installed.folder / "launch.py"), *flavor.flags, "--port", "1",
    ]  # fmt: skip


def test_a_step_that_takes_too_long_is_ended() -> None:
    with pytest.raises(StepFailed, match="stopped after 1 s") as fault:
        run_step("waiting", [sys.executable, "-c", "print('on', flush=True); input and __import__('time').sleep(60)"],
                 clean_environment(), 1)  # fmt: skip
    assert fault.value.lines == ["on"] and "slow" in fault.value.hint


@pytest.mark.parametrize("flavor_name", list(FLAVORS))
def test_locks_pin_every_package_by_hash_and_name_no_host(flavor_name: str) -> None:
    record = get_flavor(flavor_name)
    limits = environments.pinned(environments.LOCKS / record.constraints)
    for python in record.pythons:
        text = lock_of(record, python).read_text()
        packages = environments.pinned(lock_of(record, python))
        assert "://" not in text and len(packages) > 100
        for line in text.replace("\\\n", " ").splitlines()[1:]:
            assert re.fullmatch(r"[\w.-]+==\S+(\s+--hash=sha256:[0-9a-f]{64})+", line), line
        assert packages["numpy"] == "1.26.2" and "clip-anytorch" in packages
        assert {name: limits[name] for name in limits.keys() & packages.keys()}.items() <= packages.items()
    for part in record.repositories:
        assert re.fullmatch(r"[0-9a-f]{40}", part.commit)
        assert all(address.startswith("https://") for address in part.mirrors)


def test_only_known_web_uis_are_installed() -> None:
    with pytest.raises(RecipeError, match="comfyui"):
        get_flavor("comfyui")


def test_its_log_is_understood() -> None:
    assert phase_of("Model loaded in 3.0s (calculate hash: 0.1s)", A1111.phases) == "the model is loaded (3.0 s)"
    assert phase_of("17:23 - ControlNet - INFO - ControlNet v1.1.455", A1111.phases) == "ControlNet 1.1.455 is loaded"
    known = {
        "RuntimeError: Couldn't clone Stable Diffusion.": "clone",
        "RuntimeError: Cannot add middleware after an application has started": "while it started",
        "ValueError: numpy.dtype size changed, may indicate": "NumPy",
        "torch.cuda.OutOfMemoryError: CUDA out of memory. Tried": "GPU's memory is full",
        "*** Error loading script: controlnet.py": "ControlNet",
        "ModuleNotFoundError: No module named 'clip'": "clip",
    }
    for line, part in known.items():
        found = fatal_of([line], A1111.fatal)
        assert found and part in found.message, line
    assert fatal_of(["fatal: No names found, cannot describe anything."], A1111.fatal) is None
    assert fatal_of(["No module 'xformers'. Proceeding without it."], A1111.fatal) is None
