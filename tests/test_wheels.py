"""`fsd setup`: the machine's own stays, what is missing goes into the overlay, a wheelhouse needs no network."""

from __future__ import annotations

import errno
import importlib
import json
import runpy
import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path
from unittest.mock import patch

import pytest
from tiny_wheels import tiny_installed, tiny_wheel

from fsd.errors import FsdError, MachineError
from fsd.runtime import files
from fsd.runtime.packages import overlay, requirements, uv, validate, wheel_files, wheel_house
from fsd.runtime.packages.choose import choose
from fsd.runtime.packages.installed import Found, installed, provider
from fsd.runtime.packages.locks import check_against, read_lock
from fsd.runtime.packages.profiles import PROFILES, Profile
from fsd.runtime.packages.resolve import Wheel
from fsd.runtime.packages.setup_result import Row, SetupResult
from fsd.runtime.wheels import check, install, need_working, plan_setup

ROOT = Path(__file__).parents[1]
LOCKS = ROOT / "wheels" / "locks"


class Place:
    """A machine of the test's own: packages that its image brought, and a folder that stands for the registry."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.machine, self.registry, self._patch = folder / "machine", folder / "registry", monkeypatch
        self.house, self.folder = folder / "drive" / "house.zip", folder
        self.machine.mkdir()
        self.registry.mkdir()
        monkeypatch.setattr(sys, "path", [*sys.path, str(self.machine)])
        monkeypatch.setenv("PYTHONPATH", str(self.machine))
        monkeypatch.setenv("FSD_OVERLAY", str(folder / "overlay"))
        monkeypatch.setenv("UV_CACHE_DIR", str(folder / "cache"))
        monkeypatch.setenv("UV_NO_INDEX", "1")
        monkeypatch.setenv("UV_FIND_LINKS", str(self.registry))

    def profile(self, *lines: str) -> str:
        """A profile "tiny" of these requirements."""
        names = tuple(wanted.name.replace("-", "_") for line in lines if (wanted := requirements.parsed(line)))
        self._patch.setitem(PROFILES, "tiny", Profile("tiny", lines, names))
        return "tiny"

    def next_session(self, name: str = "2", registry: Path | None = None) -> None:
        """Another machine of the same image: no overlay, nothing imported, and, without a registry, no network any more."""
        ours, nothing = str(overlay.packages()), self.folder / "nothing"
        nothing.mkdir(exist_ok=True)
        self._patch.setenv("FSD_OVERLAY", str(self.folder / f"overlay{name}"))
        self._patch.setenv("UV_CACHE_DIR", str(self.folder / f"cache{name}"))
        self._patch.setenv("UV_FIND_LINKS", str(registry or nothing))
        self._patch.setattr(sys, "path", [path for path in sys.path if path != ours])


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Place:
    return Place(tmp_path, monkeypatch)


def _import(name: str) -> str:
    importlib.invalidate_caches()
    sys.modules.pop(name, None)
    return importlib.import_module(name).version


# What is there and what is missing


def test_the_ranges_are_those_of_setup_py() -> None:
    with patch("setuptools.setup") as setup:
        runpy.run_path(str(ROOT / "setup.py"))
    given = setup.call_args.kwargs
    for name in ("train", "webui", "caption"):
        assert set(PROFILES[name].requirements) == {*given["install_requires"], *given["extras_require"][name]}
    assert set(PROFILES["all"].requirements) >= {line for name in PROFILES for line in PROFILES[name].requirements}


def test_an_installed_copy_reads_the_ranges_from_its_metadata(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "fsd").symlink_to(ROOT / "fsd")
    (tmp_path / "fsd-9.9.dist-info").mkdir()
    lines = ["Metadata-Version: 2.1", "Name: fsd", "Version: 9.9", "Requires-Dist: tqdm>=4.66"]
    lines += ['Requires-Dist: torch>=2.6; extra == "train"', 'Requires-Dist: gradio>=6.0 ; extra == "webui"']
    (tmp_path / "fsd-9.9.dist-info" / "METADATA").write_text("\n".join(lines) + "\n")
    monkeypatch.syspath_prepend(tmp_path)
    requirements.extras.cache_clear()
    try:
        assert requirements.extras() == {"train": ("tqdm>=4.66", "torch>=2.6"), "webui": ("tqdm>=4.66", "gradio>=6.0")}
    finally:
        requirements.extras.cache_clear()


@pytest.mark.parametrize("with_packaging", [True, False])
@pytest.mark.parametrize(
    ("version", "range_", "fits"),
    [
        ("2.11.0+cu128", ">=2.6", True),
        ("2.5.1", ">=2.6", False),
        ("2.10", ">=2.9", True),
        ("11.3.0", ">=11.3", True),
        ("3.0", ">=2.6,<3", False),
        ("1.0.0", "==1.0.0", True),
        ("4.66.1", "", True),
        ("5.0.0.dev0", ">=4", True),
    ],
)
def test_ranges(version: str, range_: str, fits: bool, with_packaging: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    if not with_packaging:
        monkeypatch.setattr(requirements, "_packaging", lambda part: None)
    assert requirements.in_range(version, range_) is fits


def test_the_plan_uses_what_fits_and_names_what_is_missing_old_or_needed(place: Place) -> None:
    tiny_installed(place.machine, "fsd-alpha", "2.0", "fsd-omega>=1", "fsd-never; python_version < '3'")
    tiny_installed(place.machine, "fsd-beta", "1.0")
    plan = plan_setup(place.profile("fsd-alpha>=1", "fsd-beta>=2", "fsd-gamma>=3"))
    assert plan.reused == {"fsd-alpha": "2.0"} and plan.outdated == {"fsd-beta": "1.0"}
    assert plan.missing == ("fsd-beta>=2", "fsd-gamma>=3", "fsd-omega>=1")
    assert not overlay.folder().exists()


def test_any_opencv_will_do(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "path", [str(place.machine)])
    tiny_installed(place.machine, "opencv-python", "5.0.0.93")
    assert plan_setup(place.profile("opencv-python-headless>=4.10")).missing == ()


def test_an_unknown_profile_is_refused_with_the_valid_ones() -> None:
    with pytest.raises(MachineError, match="there is no profile 'trian'") as caught:
        plan_setup("trian")
    assert "did you mean train?" in caught.value.hint and "webui" in caught.value.hint


# Into the overlay


def _installed_files(folder: Path) -> dict[Path, bytes]:
    """All files but those that Python makes itself where it imports."""
    return {path: path.read_bytes() for path in files.files_under(folder) if path.suffix != ".pyc"}


def test_only_what_is_missing_is_installed_and_seen_without_a_restart(place: Place) -> None:
    tiny_installed(place.machine, "fsd-alpha", "1.5")
    tiny_wheel(place.registry, "fsd-alpha", "2.0")
    tiny_wheel(place.registry, "fsd-beta", "1.0", "fsd-alpha>=1", "fsd-gamma")
    tiny_wheel(place.registry, "fsd-gamma", "1.0")
    before = _installed_files(place.machine)
    result = install(place.profile("fsd-alpha>=1", "fsd-beta>=1"))
    assert [(row.name, row.version, row.origin, row.works) for row in result.rows] == [
        ("fsd-alpha", "1.5", "machine", "yes"),
        ("fsd-beta", "1.0", "new", "yes"),
    ]
    assert "fsd-gamma" in result.others and "1 reused" in result.as_text()
    assert _installed_files(place.machine) == before
    assert _import("fsd_beta") == "1.0" and _import("fsd_alpha") == "1.5"
    code = "import fsd_beta, pytest; print(fsd_beta.version)"
    assert subprocess.run([overlay.python(), "-c", code], capture_output=True, text=True, check=True).stdout == "1.0\n"
    again = install("tiny")
    assert [row.origin for row in again.rows] == ["machine", "overlay"] and again.source == ""


def test_a_new_package_is_taken_in_the_version_that_fits_what_is_there(place: Place) -> None:
    tiny_installed(place.machine, "fsd-delta", "1.0")
    tiny_wheel(place.registry, "fsd-delta", "2.0")
    tiny_wheel(place.registry, "fsd-beta", "1.0", "fsd-delta>=1")
    tiny_wheel(place.registry, "fsd-beta", "2.0", "fsd-delta>=2")
    chosen = choose(plan_setup(place.profile("fsd-beta>=1")))
    assert [(wheel.name, wheel.version) for wheel in chosen if wheel.name != "uv"] == [("fsd-beta", "1.0")]


def test_an_earlier_setups_package_gives_way_and_the_machines_does_not(place: Place) -> None:
    tiny_wheel(place.registry, "fsd-alpha", "2.0")
    install(place.profile("fsd-alpha>=1"))
    tiny_wheel(place.registry, "fsd-alpha", "1.0")
    tiny_wheel(place.registry, "fsd-beta", "1.0", "fsd-alpha<2")
    result = install(place.profile("fsd-alpha>=1", "fsd-beta>=1"))
    assert [(row.version, row.origin, row.works) for row in result.rows] == [("1.0", "new", "yes")] * 2


def test_what_may_change_changes_only_if_it_must(place: Place) -> None:
    for name in ("fsd-delta", "fsd-gamma"):
        tiny_installed(place.machine, name, "1.0")
        tiny_wheel(place.registry, name, "2.0")
    tiny_wheel(place.registry, "fsd-gamma", "1.0")
    tiny_wheel(place.registry, "fsd-beta", "1.0", "fsd-delta>=2", "fsd-gamma")
    chosen = choose(plan_setup(place.profile("fsd-beta>=1")))
    assert sorted((wheel.name, wheel.version) for wheel in chosen if wheel.name != "uv") == [
        ("fsd-beta", "1.0"),
        ("fsd-delta", "2.0"),
    ]


def test_the_setuptools_that_an_environment_began_with_holds_nothing_back(place: Place) -> None:
    sys.path.insert(0, str(place.machine))
    tiny_installed(place.machine, "setuptools", "1.0")
    tiny_wheel(place.registry, "setuptools", "90.0")
    tiny_wheel(place.registry, "fsd-beta", "1.0")
    tiny_wheel(place.registry, "fsd-beta", "2.0", "setuptools>=77")
    chosen = choose(plan_setup(place.profile("fsd-beta>=1")))
    assert ("fsd-beta", "2.0") in [(wheel.name, wheel.version) for wheel in chosen]


def test_what_a_job_can_do_without_is_left_out_where_nothing_fits(
    place: Place, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("fsd.runtime.packages.choose.OPTIONAL", ("fsd-gamma",))
    tiny_wheel(place.registry, "fsd-beta", "1.0")
    result = install(place.profile("fsd-beta>=1", "fsd-gamma>=1"))
    assert result.rows[0].works == "yes" and result.rows[1].version == "none"
    assert "fsd-gamma>=1 has no build that fits this machine: it is left out" in capsys.readouterr().out


def test_the_resolver_is_asked_for_this_python(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []
    monkeypatch.setattr(uv, "run", lambda what, arguments, wheels=None: asked.extend(arguments) or 1 / 0)
    with pytest.raises(ZeroDivisionError):
        choose(plan_setup(place.profile("fsd-beta>=1")))
    assert asked[asked.index("--python") + 1] == sys.executable


@pytest.mark.parametrize(
    ("gpu", "chosen", "away", "backends", "said"),
    [
        ("T4", "", False, [""], ""),
        ("", "", False, ["cpu"], "no NVIDIA GPU here: PyTorch's CPU build is taken; UV_TORCH_BACKEND=cu128"),
        (
            "",
            "",
            True,
            ["cpu", ""],
            "cannot be had: no way there\nso torch comes with CUDA, 2.00 GB in all; Ctrl-C now",
        ),
        ("", "cu128", False, [""], ""),
    ],
)
def test_a_machine_without_a_gpu_gets_the_cpu_build(
    place: Place, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str],
    gpu: str, chosen: str, away: bool, backends: list[str], said: str,
) -> None:  # fmt: skip
    asked = []

    def resolve(*_: object, backend: str = "", **__: object) -> list[Wheel]:
        asked.append(backend)
        if backend and away:
            raise MachineError("no way there")
        torch = Wheel("torch", "2.13.0", "t.whl", "", 2_000_000_000, "")
        return [torch] if backend else [torch, Wheel("nvidia-nccl-cu13", "2", "n.whl", "", 10, "")]

    monkeypatch.setattr("fsd.runtime.packages.choose.resolve", resolve)
    monkeypatch.setattr("fsd.runtime.packages.choose.machine.gpu", lambda: gpu)
    monkeypatch.setattr("fsd.runtime.packages.plan.installed", lambda with_overlay: {})
    monkeypatch.setenv("UV_TORCH_BACKEND", chosen)
    wheels = choose(plan_setup(place.profile("torch>=2")))
    out = capsys.readouterr().out
    assert (asked, len(wheels)) == (backends, 1 if backends == ["cpu"] else 2)
    assert said in out and bool(said) == bool(out)


def test_a_torch_that_is_there_needs_no_build(
    place: Place, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("fsd.runtime.packages.choose.machine.gpu", lambda: "")
    tiny_wheel(place.registry, "fsd-beta", "1.0")
    tiny_installed(place.machine, "torch", "2.13.0")
    assert "fsd-beta" in [wheel.name for wheel in choose(plan_setup(place.profile("fsd-beta>=1", "torch>=2")))]
    assert "NVIDIA" not in capsys.readouterr().out


def test_what_is_too_old_is_replaced_for_children_only(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ipykernel", sys)
    tiny_installed(place.machine, "fsd-alpha", "1.0")
    tiny_installed(place.machine, "fsd-delta", "1.0")
    for name, needs in (("fsd-alpha", ("fsd-delta>=2",)), ("fsd-delta", ())):
        tiny_wheel(place.registry, name, "2.0", *needs)
    result = install(place.profile("fsd-alpha>=2"))
    assert [(row.version, row.origin, row.works) for row in result.rows] == [("2.0", "new", "yes")]
    assert "fsd-delta" in result.others
    assert _import("fsd_alpha") == "1.0" and _import("fsd_delta") == "1.0"


def test_what_was_built_for_the_replaced_version_comes_anew_too(place: Place) -> None:
    """As torchvision does for torch: the children would load it beside a torch that it was not built for."""
    tiny_installed(place.machine, "fsd-alpha", "1.0")
    tiny_installed(place.machine, "fsd-delta", "1.0", "fsd-alpha==1.0")
    tiny_installed(place.machine, "fsd-gamma", "1.0", "fsd-alpha<2")
    for name, needs in (("fsd-alpha", ()), ("fsd-delta", ("fsd-alpha==2.0",)), ("fsd-gamma", ())):
        tiny_wheel(place.registry, name, "2.0", *needs)
    chosen = choose(plan_setup(place.profile("fsd-alpha>=2")))
    assert {wheel.name: wheel.version for wheel in chosen if wheel.name != "uv"} == {
        "fsd-alpha": "2.0",
        "fsd-delta": "2.0",
    }


def test_torch_for_another_driver_says_how_to_get_the_right_one() -> None:
    row = Row("torch", "2.15.0", "new", "torch's CUDA 13.2 does not work with the driver of T4")
    with pytest.raises(MachineError, match="does not work") as caught:
        need_working(SetupResult("train", (row,), (), "", "CUDA 13.2", 0.0, 0.0))
    assert "UV_TORCH_BACKEND=auto" in caught.value.hint


def test_a_machine_that_nothing_fits_gets_one_precise_message(place: Place) -> None:
    tiny_installed(place.machine, "fsd-alpha", "1.0")
    tiny_wheel(place.registry, "fsd-beta", "1.0", "fsd-alpha>=2")
    with pytest.raises(MachineError, match="for tiny fits this machine") as caught:
        install(place.profile("fsd-alpha<2", "fsd-beta>=1"))
    assert (
        "Python 3." in caught.value.message and "fsd-beta" in caught.value.message and "\n" not in caught.value.message
    )
    assert not list(overlay.packages().glob("fsd_b*"))


def test_an_overlay_of_which_an_installation_was_cut_is_not_used_and_made_anew(place: Place) -> None:
    tiny_wheel(place.registry, "fsd-beta", "1.0")
    install(place.profile("fsd-beta>=1"))
    leave = "import os\nfrom fsd.runtime.packages import overlay\nwith overlay.changing():\n    os._exit(9)"
    subprocess.run([sys.executable, "-c", leave], cwd=ROOT, check=False)
    (overlay.packages() / "fsd_beta.py").unlink()
    assert overlay.child_paths() == [] and plan_setup("tiny").missing == ("fsd-beta>=1",)
    result = install("tiny")
    assert not result.failed and result.rows[0].origin == "new" and overlay.child_paths()


def test_an_installation_that_fails_leaves_nothing(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    tiny_wheel(place.registry, "fsd-beta", "1.0")
    run = uv.run

    def fail(what: str, arguments: list[str], wheels: Path | None = None) -> str:
        if "install" in arguments:
            raise uv.UvFailed(what, "No space left on device")
        return run(what, arguments, wheels)

    monkeypatch.setattr(uv, "run", fail)
    with pytest.raises(MachineError, match="the packages cannot be installed"):
        install(place.profile("fsd-beta>=1"))
    left = [path.name for path in overlay.folder().parent.iterdir()]
    assert left == [overlay.folder().with_suffix(".lock").name]


def test_too_little_room_is_said_before_anything_is_fetched(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    tiny_wheel(place.registry, "fsd-beta", "1.0")
    monkeypatch.setattr(
        "fsd.runtime.packages.bring.choose", lambda plan: [Wheel("a", "1", "a.whl", "no-such", 10**15, "")]
    )
    with pytest.raises(MachineError, match=r"the packages need 3000000.00 GB in .*, where .* are free") as caught:
        install(place.profile("fsd-beta>=1"))
    assert "FSD_OVERLAY" in caught.value.hint


def test_what_is_there_stays_when_the_network_fails(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    _, gamma = (tiny_wheel(place.registry, name, "1.0") for name in ("fsd-beta", "fsd-gamma"))
    install(place.profile("fsd-beta>=1"))
    wrong = Wheel("fsd-gamma", "1.0", gamma.name, gamma.as_uri(), 10, "0" * 64)
    monkeypatch.setattr("fsd.runtime.packages.bring.choose", lambda plan: [wrong])
    with pytest.raises(MachineError, match="Hash mismatch"):
        install(place.profile("fsd-beta>=1", "fsd-gamma"))
    assert _import("fsd_beta") == "1.0" and plan_setup("tiny").missing == ("fsd-gamma",)


def test_a_full_disk_is_no_fault_of_the_network(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(wheel_files, "_copied", full)
    with pytest.raises(MachineError, match="has no room"):
        wheel_files.fetch_wheels([Wheel("a", "1", "a.whl", "http://127.0.0.1:9/a.whl", 1, "")], tmp_path)
    assert "FSD_OVERLAY" in uv.UvFailed("x", "failed: No space left on device (os error 28)").hint


def test_two_setups_at_once_are_refused(place: Place) -> None:
    with overlay.alone(), pytest.raises(MachineError, match="another process is installing"):
        install(place.profile("fsd-beta>=1"))


@pytest.mark.parametrize(("said", "taken"), [("uv 0.13.9 (x86_64)", True), ("uv 0.9.30", False), ("?", False)])
def test_a_uv_that_is_too_old_is_passed_over(
    said: str, taken: bool, place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    program = place.folder / "uv"
    program.write_text(f"#!/bin/sh\necho '{said}'\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{place.folder}:/usr/bin:/bin")
    assert uv.is_recent([str(program)]) is taken
    assert (uv.need_uv() == [str(program)]) is taken


def test_uv_comes_out_of_the_wheelhouse_where_there_is_none(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    overlay.make()
    with zipfile.ZipFile(place.registry / "uv-9.9-py3-none-linux.whl", "w") as wheel:
        wheel.writestr("uv-9.9.data/scripts/uv", "#!/bin/sh\necho uv 9.9 $1\n")
    monkeypatch.setenv("PATH", "/usr/bin:/bin")
    monkeypatch.setattr(overlay, "find_spec", lambda name: None)
    assert overlay.find_uv() == []
    assert uv.run("asking uv", ["hello"], place.registry) == "uv 9.9 hello\n"


# The check


def test_a_package_that_does_not_import_is_named_and_the_rest_go_on(place: Place) -> None:
    tiny_installed(place.machine, "fsd-alpha", "1.0", code="import no_such_thing")
    tiny_installed(place.machine, "fsd-beta", "1.0", code="import os, signal; os.kill(os.getpid(), signal.SIGSEGV)")
    tiny_installed(place.machine, "fsd-gamma", "1.0", code="print('hello', end='')")
    result = check(place.profile("fsd-alpha", "fsd-beta", "fsd-gamma"))
    alpha, beta, gamma = (row.works for row in result.rows)
    assert alpha == "ModuleNotFoundError: No module named 'no_such_thing'"
    assert beta == "importing it ends Python (exit code -11)" and gamma == "yes"
    with pytest.raises(MachineError, match=r"fsd-alpha 1.0: ModuleNotFoundError.*fsd-beta") as caught:
        need_working(result)
    assert "install --force-reinstall fsd-alpha fsd-beta" in caught.value.hint


@pytest.mark.parametrize("lost", ["fsd_beta.py", "fsd_beta-1.0.dist-info/METADATA", "fsd_gamma.py"])
def test_an_overlay_that_lost_files_is_made_anew(place: Place, lost: str, capsys: pytest.CaptureFixture[str]) -> None:
    tiny_wheel(place.registry, "fsd-beta", "1.0", "fsd-gamma", code="import fsd_gamma; version = '1.0'")
    tiny_wheel(place.registry, "fsd-gamma", "1.0")
    install(place.profile("fsd-beta>=1"))
    (overlay.packages() / lost).unlink()
    assert not install("tiny").failed
    assert f"{lost} is not as it was installed" in capsys.readouterr().out and _import("fsd_gamma") == "1.0"


@pytest.mark.parametrize(
    ("built", "gpu", "available", "said", "wrong"),
    [
        ("12.8", "", False, "built for CUDA 12.8, no GPU here", ""),
        (None, "", False, "built for a CPU", ""),
        (None, "T4", False, "built for a CPU", "is not used: this torch is built for a CPU"),
        ("13.0", "T4", False, "CUDA 13.0", "CUDA 13.0 does not work with the driver of T4"),
        ("12.8", "T4", True, "CUDA 12.8", "no kernel image"),
    ],
)
def test_cuda_is_judged_by_the_gpu_that_is_there(
    built: str | None, gpu: str, available: bool, said: str, wrong: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Torch:
        class version:
            cuda = built

        class cuda:
            is_available = staticmethod(lambda: available)

        @staticmethod
        def zeros(*_: object, **__: object) -> None:
            raise RuntimeError("CUDA error: no kernel image is available")

    monkeypatch.setattr(validate.machine, "gpu", lambda: gpu)
    cuda, error = validate._cuda_of(Torch)
    assert cuda == said and wrong in error and bool(wrong) == bool(error)


# The wheelhouse


@pytest.fixture
def house(place: Place) -> Place:
    """A wheelhouse of two wheels, and a session that has nothing else: no overlay and no network."""
    tiny_wheel(place.registry, "fsd-beta", "1.0", "fsd-gamma")
    tiny_wheel(place.registry, "fsd-gamma", "1.0")
    install(place.profile("fsd-beta>=1"), place.house, save=True)
    place.next_session()
    return place


def test_the_next_session_installs_from_the_wheelhouse_without_a_network(house: Place) -> None:
    assert house.house.stat().st_size > 0 and "fsd-beta" not in installed()
    with pytest.raises(FsdError, match="fsd-beta"):
        install("tiny")
    result = install("tiny", house.house)
    assert result.source == "the wheelhouse" and not result.failed and _import("fsd_beta") == "1.0"
    with zipfile.ZipFile(house.house) as archive:
        rows = json.loads(archive.read("manifest.json"))["wheels"]
        assert {info.compress_type for info in archive.infolist()} == {zipfile.ZIP_STORED}
    assert {"fsd_beta-1.0-py3-none-any.whl", "fsd_gamma-1.0-py3-none-any.whl"} <= {row["file"] for row in rows}
    assert all(len(row["sha256"]) == 64 and row["size_bytes"] > 0 for row in rows)


def _flip(path: Path) -> None:
    content = bytearray(path.read_bytes())
    at = content.index(b"version = ")
    content[at] ^= 1
    path.write_bytes(content)


def _cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def _exchange(path: Path) -> None:
    """Another wheel under the same name, in a zip that is whole."""
    with zipfile.ZipFile(path) as archive:
        content = {name: archive.read(name) for name in archive.namelist()}
    with zipfile.ZipFile(path, "w") as archive:
        for name, data in content.items():
            archive.writestr(name, data if name != "fsd_beta-1.0-py3-none-any.whl" else b"something else")


def _add(path: Path) -> None:
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr("../evil.whl", b"")


DAMAGE = [_flip, _cut, _exchange, _add, lambda path: path.write_bytes(b""), lambda path: path.write_text("<html>")]


@pytest.mark.parametrize("harm", DAMAGE, ids=["flip", "cut", "exchange", "add", "empty", "page"])
def test_damage_is_found_before_anything_is_used(tmp_path: Path, harm: Callable[[Path], object]) -> None:
    wheels, house, target = tmp_path / "wheels", tmp_path / "house.zip", tmp_path / "target"
    paths = [tiny_wheel(wheels, name, "1.0") for name in ("fsd-beta", "fsd-gamma")]
    rows = [Wheel("x", "1.0", one.name, str(one), one.stat().st_size, files.sha256(one)) for one in paths]
    assert wheel_house.pack(house, "tiny", rows) == house.stat().st_size
    target.mkdir()
    assert [Path(row.where).read_bytes() for row in wheel_house.unpack(house, target)] == [
        path.read_bytes() for path in paths
    ]
    harm(house)
    with pytest.raises(wheel_house.Damaged, match=str(house)):
        wheel_house.unpack(house, target)
    assert not (tmp_path / "evil.whl").exists()


def test_a_wheelhouse_that_serves_is_not_made_again_and_one_that_does_not_is_made_whole(house: Place) -> None:
    content = house.house.read_bytes()
    assert install("tiny", house.house, save=True).source == "the wheelhouse" and house.house.read_bytes() == content
    assert not install("tiny", house.house, save=True).source
    _flip(house.house)
    house.next_session("3", house.registry)
    tiny_installed(overlay.packages(), "fsd-gamma", "1.0")
    assert install("tiny", house.house, save=True).source == "the network"
    with zipfile.ZipFile(house.house) as archive:
        assert {"fsd_beta-1.0-py3-none-any.whl", "fsd_gamma-1.0-py3-none-any.whl"} <= set(archive.namelist())


@pytest.mark.parametrize("harm", [_flip, _cut, lambda path: path.unlink()], ids=["flip", "cut", "gone"])
def test_where_all_is_installed_a_wheelhouse_that_is_not_whole_is_made_anew(
    house: Place, harm: Callable[[Path], object], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    install("tiny", house.house)
    harm(house.house)
    left = house.house.read_bytes() if house.house.exists() else b""
    with pytest.raises(MachineError, match=r"all is installed, but the wheelhouse .* cannot be made: "):
        install("tiny", house.house, save=True)
    assert (house.house.read_bytes() if house.house.exists() else b"") == left
    monkeypatch.setenv("UV_FIND_LINKS", str(house.registry))
    capsys.readouterr()
    result = install("tiny", house.house, save=True)
    assert (result.source, result.failed) == ("", [])
    said = capsys.readouterr().out
    assert ("is damaged" in said) == bool(left) and f"wheelhouse: {house.house}" in said
    assert len(wheel_house.unpack(house.house, None)) >= 2


def test_without_a_network_a_damaged_wheelhouse_is_in_the_error(house: Place) -> None:
    _flip(house.house)
    with pytest.raises(MachineError, match=r"the wheelhouse .* is damaged: .*; and from the network: "):
        install("tiny", house.house)


def test_pip_that_cannot_bring_uv_says_why(tmp_path: Path) -> None:
    retried = "WARNING: Retrying after connection broken by 'NewConnectionError(\"x: [Errno 111] Connection refused\")'"
    last = "ERROR: No matching distribution found for uv>=0.10"
    assert uv._why_of_pip(f"{retried}\n{last}") == "no registry of packages can be reached (Connection refused)"
    assert uv._why_of_pip(last) == "No matching distribution found for uv>=0.10"
    full = "ERROR: Could not install packages due to an OSError: [Errno 28] No space left on device"
    assert "free space" in uv._what_to_do(uv._why_of_pip(f"{full}\n{last}"))


def test_a_proxy_is_named_where_packages_cannot_be_fetched(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTPS_PROXY", "http://me:hunter2@127.0.0.1:9")
    hint = uv.UvFailed("it cannot be", "Connection refused").hint
    assert "HTTPS_PROXY" in hint and "hunter2" not in hint
    assert "FSD_OVERLAY" in uv.UvFailed("it cannot be", "No space left on device").hint


def test_a_wheelhouse_that_cannot_be_written_leaves_what_was_installed(place: Place) -> None:
    tiny_wheel(place.registry, "fsd-beta", "1.0")
    place.house.parent.write_text("a file where its folder should be")
    with pytest.raises(MachineError, match=r"all is installed, but the wheelhouse .* cannot be written"):
        install(place.profile("fsd-beta>=1"), place.house, save=True)
    assert not install("tiny").failed


@pytest.mark.parametrize("harm", [_flip, _cut])
def test_a_damaged_wheelhouse_is_said_and_the_network_serves(
    house: Place, harm: Callable[[Path], object], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    harm(house.house)
    monkeypatch.setenv("UV_FIND_LINKS", str(house.registry))
    result = install("tiny", house.house)
    assert result.source == "the network" and not result.failed
    said = capsys.readouterr().out
    assert f"the wheelhouse {house.house}" in said and "so it is installed from the network" in said


def test_a_wheelhouse_for_another_machine_is_said_and_the_network_serves(
    house: Place, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    tiny_wheel(house.registry, "fsd-beta", "2.0")
    monkeypatch.setenv("UV_FIND_LINKS", str(house.registry))
    assert install(house.profile("fsd-beta>=2"), house.house).source == "the network"
    assert "fits this machine" in capsys.readouterr().out


@pytest.mark.parametrize(("save", "said"), [(False, "Hash mismatch for"), (True, "its SHA-256 is")])
def test_a_wheel_that_is_not_the_resolved_one_is_not_installed(
    place: Place, monkeypatch: pytest.MonkeyPatch, save: bool, said: str
) -> None:
    wheel = tiny_wheel(place.registry, "fsd-beta", "1.0")
    wrong = Wheel("fsd-beta", "1.0", wheel.name, wheel.as_uri(), 10, "0" * 64)
    monkeypatch.setattr("fsd.runtime.packages.bring.choose", lambda plan: [wrong])
    with pytest.raises(FsdError, match=said):
        install(place.profile("fsd-beta>=1"), place.house, save)
    assert not list(overlay.packages().glob("fsd_b*"))


# The locks and the manifest

MADE = sorted(path for path in LOCKS.glob("*-*-*.txt"))


def test_there_is_a_lock_for_each_profile_and_platform() -> None:
    platforms = ("cpu-3.11", "cpu-3.13", "colab-3.12", "colab-3.13")
    assert {path.stem for path in MADE} == {f"{profile}-{platform}" for profile in PROFILES for platform in platforms}
    for flavor in ("a1111", "forge"):
        assert all((ROOT / "fsd/webui/locks" / f"{flavor}-{python}.txt").is_file() for python in ("3.10", "3.11"))


@pytest.mark.parametrize("path", MADE, ids=lambda path: path.stem)
def test_a_lock_has_hashes_in_range_and_no_host(path: Path) -> None:
    text, lock = path.read_text(encoding="utf-8"), read_lock(path)
    assert "://" not in text and lock and {name for name, (_, sums) in lock.items() if not sums} <= {"torch"}
    same = dict(line.split("==") for line in (LOCKS / "cpu.txt").read_text().splitlines() if "==" in line)
    assert lock.get("torch", ("", ""))[0] == (same["torch"] if "-cpu-" in path.name else "")
    for need in PROFILES[path.stem.split("-")[0]].parsed():
        assert need.name in lock or "-colab-" in path.name, "a new requirement: run wheels/locks/make.py cpu colab"
        if need.name in lock:
            assert requirements.in_range(lock[need.name][0], need.range), need


@pytest.mark.parametrize("python", ["3.12", "3.13"])
@pytest.mark.parametrize("profile", PROFILES)
def test_on_colab_all_but_a_few_wheels_is_there(profile: str, python: str) -> None:
    lines = (LOCKS / f"colab-{python}.in").read_text(encoding="utf-8").splitlines()
    pins = (line.split("==") for line in lines if "==" in line)
    image = {name: Found(name, version, False, ()) for name, version in ((requirements.normal(n), v) for n, v in pins)}
    lacking = {need.name for need in PROFILES[profile].parsed() if provider(need.name, image) is None}
    there = {need for need in PROFILES[profile].parsed() if need.name not in lacking}
    assert all(requirements.in_range(provider(need.name, image).version, need.range) for need in there)
    assert set(read_lock(LOCKS / f"{profile}-colab-{python}.txt")) == lacking | {"uv"} and len(lacking) <= 4


def test_uv_runs_without_what_an_image_sets_for_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("UV_SYSTEM_PYTHON", "UV_CONSTRAINT", "UV_CACHE_DIR", "UV_INDEX_URL", "PYTHONPATH"):
        monkeypatch.setenv(name, "x")
    kept = set(uv._environment())
    assert {"UV_CACHE_DIR", "UV_INDEX_URL", "PATH"} <= kept
    assert not kept & {"UV_SYSTEM_PYTHON", "UV_CONSTRAINT", "PYTHONPATH"}
    assert uv._why("error: it failed\n  cause: no answer from https://me:secret@host/simple\n") == (
        "it failed: no answer from https://host/simple"
    )


@pytest.mark.parametrize(
    ("said", "why"),
    [
        (
            "  × Failed to download `a`\n  ├─▶ Hash mismatch for `a`\n  ╰─▶ Expected: 1\n",
            "Failed to download `a` Hash mismatch",
        ),
        (
            "Resolved 3 packages\n  x No solution\n  ╰─▶ Because b is not\n      there, no c.\n",
            "Because b is not there, no c.",
        ),
        (
            "Downloading torch (1GiB)\nerror: Failed to read: /x\n  cause: no such file\n",
            "Failed to read: /x: no such file",
        ),
    ],
)
def test_what_uv_explains_is_one_line(said: str, why: str) -> None:
    assert uv._why(said).startswith(why)


def test_the_locks_travel_with_the_package() -> None:
    assert (ROOT / "fsd/runtime/packages/locks").resolve() == LOCKS


def test_a_wheel_that_is_not_the_locked_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "lock.txt").write_text(f"fsd-beta==1.0 \\\n    --hash=sha256:{'a' * 64}\n")
    lock = read_lock(tmp_path / "lock.txt")
    check_against(lock, [Wheel("fsd-beta", "1.0", "x.whl", "", 1, "a" * 64)])
    with pytest.raises(MachineError, match="not the file that fsd's lock names"):
        check_against(lock, [Wheel("fsd-beta", "1.0", "x.whl", "", 1, "b" * 64)])


def test_the_manifest_has_one_row_for_each_wheel() -> None:
    rows = json.loads((ROOT / "wheels" / "manifest.json").read_text(encoding="utf-8"))["wheels"]
    assert {row["file"] for row in rows} == {path.name for path in (ROOT / "wheels").glob("*.whl")}
    for row in rows:
        path = ROOT / "wheels" / row["file"]
        assert set(row) == {"file", "name", "version", "python", "torch", "cuda", "gpu", "size_bytes", "sha256"}
        assert (row["size_bytes"], row["sha256"]) == (path.stat().st_size, files.sha256(path))
        assert path.name.startswith(f"{row['name'].replace('-', '_')}-{row['version']}-")
