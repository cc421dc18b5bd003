"""A web UI's wheelhouse: packages by their hashes, repositories by their commits, and no network the next time."""

from __future__ import annotations

import io
import subprocess
import sys
import tarfile
import zipfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from repositories import git, upstream
from tiny_wheels import tiny_wheel

from fsd.errors import FsdError
from fsd.runtime.files import sha256
from fsd.runtime.packages import wheel_house
from fsd.webui import environment as environments
from fsd.webui.checkout import check_out, is_whole, pack
from fsd.webui.flavors import A1111, Flavor, Repository
from fsd.webui.install import Installed, find_installed, install

HERE = f"{sys.version_info.major}.{sys.version_info.minor}"
BACKEND = """
import sys, tools
from pathlib import Path
def build_wheel(folder, settings=None, metadata=None):
    from tiny_wheels import tiny_wheel
    return tiny_wheel(Path(folder), "fsd-built", "1.0").name
"""


def source(folder: Path) -> Path:
    """A package that comes as its source alone, built by a module of its own and a pinned tool."""
    files = {
        "pyproject.toml": '[build-system]\nrequires = ["tools"]\nbuild-backend = "backend"\nbackend-path = ["."]\n',
        "backend.py": BACKEND,
        "tiny_wheels.py": Path(__file__).with_name("tiny_wheels.py").read_text(),
        "PKG-INFO": "Metadata-Version: 2.2\nName: fsd-built\nVersion: 1.0\n",
    }
    path = folder / "fsd_built-1.0.tar.gz"
    with tarfile.open(path, "w:gz") as archive:
        for name, text in files.items():
            row = tarfile.TarInfo(f"fsd_built-1.0/{name}")
            row.size = len(text.encode())
            archive.addfile(row, io.BytesIO(text.encode()))
    return path


class Place:
    """Machines that share a Drive. The first has a registry and mirrors; `next_machine` may have neither."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.folder, self.drive, self._patch = folder, folder / "drive", monkeypatch
        monkeypatch.setenv("GIT_CONFIG_GLOBAL", "/dev/null")
        monkeypatch.delenv("FSD_WEBUI_MIRRORS", raising=False)
        monkeypatch.setenv("UV_NO_INDEX", "1")
        monkeypatch.setattr(environments, "LOCKS", folder / "locks")
        monkeypatch.setattr(environments, "BUILD_TOOLS", folder / "locks/build.txt")
        self.next_machine("1", network=True)

    def next_machine(self, name: str, *, network: bool) -> None:
        nothing = self.folder / "nothing"
        nothing.mkdir(exist_ok=True)
        self._patch.setenv("FSD_WEBUI_HOME", str(self.folder / f"home{name}"))
        self._patch.setenv("UV_CACHE_DIR", str(self.folder / f"cache{name}"))
        self._patch.setenv("UV_FIND_LINKS", str(self.folder / "registry" if network else nothing))
        if not network and (self.folder / "up").exists():
            (self.folder / "up").rename(self.folder / "gone")
        elif network and (self.folder / "gone").exists():
            (self.folder / "gone").rename(self.folder / "up")

    def pin(self, lock: str, *files: Path) -> None:
        """Write a lock of these files."""
        lines = [
            f"{name.replace('_', '-')}=={version.removesuffix('.tar.gz')} \\\n    --hash=sha256:{sha256(path)}\n"
            for path in files
            for name, version, *_ in [path.name.split("-")]
        ]
        (self.folder / "locks").mkdir(exist_ok=True)
        (self.folder / "locks" / f"{lock}.txt").write_text("".join(lines))

    @property
    def house(self) -> Path:
        return wheel_house.path_in(self.drive, "a1111", HERE)


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Place:
    return Place(tmp_path, monkeypatch)


@pytest.fixture
def flavor(place: Place) -> Flavor:
    """A web UI of two small repositories and of three packages, one of which is built."""
    registry = place.folder / "registry"
    wheels = [tiny_wheel(registry, name, "1.0") for name in ("fsd-thing", "fsd-other")]
    tiny_wheel(registry, "fsd-thing", "2.0")
    place.pin(f"small-{HERE}", *wheels, source(registry))
    place.pin("build", tiny_wheel(registry, "tools", "1.0"))
    address, commit = upstream(place.folder / "up/program", launch_py="print('on')\n", docs__big="x" * 5000, a="1\n")
    program = Repository("", commit, (address,), without=("/docs/",))
    address, commit = upstream(place.folder / "up/part", part_py="")
    parts = (program, Repository("repositories/part", commit, (address,)))
    return replace(
        A1111, repositories=parts, pythons=(HERE,), lock="small", modules=("fsd_thing", "fsd_built"), disk_gb=0
    )


def works(installed: Installed) -> bool:
    """Whether the web UI starts, finds its packages, and git finds its commits, as AUTOMATIC1111 asks it to."""
    for part in installed.flavor.repositories:
        assert git(installed.folder / part.folder, "rev-parse", "HEAD") == part.commit
    code = "import fsd_thing, fsd_built, fsd_other; print(fsd_thing.version, fsd_built.version)"
    said = subprocess.run([installed.python, "-c", code], capture_output=True, text=True, check=True).stdout
    return said == "1.0 1.0\n" and find_installed(installed.flavor) == installed


def test_the_next_machine_installs_from_the_wheelhouse_without_a_network(
    place: Place, flavor: Flavor, capsys: pytest.CaptureFixture[str]
) -> None:
    first = install(flavor, place.drive, save=True)
    assert works(first) and f"wheelhouse: {place.house}" in capsys.readouterr().out
    with zipfile.ZipFile(place.house) as archive:
        wheels = {"fsd_thing-1.0-py3-none-any.whl", "fsd_other-1.0-py3-none-any.whl", "tools-1.0-py3-none-any.whl"}
        packs = {f"{part.commit}.pack" for part in flavor.repositories}
        assert {*archive.namelist()} == {"manifest.json", "fsd_built-1.0.tar.gz", *wheels, *packs}
    content = place.house.read_bytes()
    place.next_machine("2", network=False)
    assert works(install(flavor, place.drive, save=True))
    said = capsys.readouterr().out
    assert "packages come from the wheelhouse" in said and "part comes from the wheelhouse" in said
    assert "network" not in said and place.house.read_bytes() == content
    assert sorted(path.name for path in (place.folder / "home2/a1111").iterdir()) == [
        ".lock", "app", "env", "installed.json",
    ]  # fmt: skip
    install(flavor, place.drive, save=True)
    assert "nothing to do" in capsys.readouterr().out and place.house.read_bytes() == content


def test_an_installation_that_is_whole_can_still_be_kept(place: Place, flavor: Flavor) -> None:
    install(flavor)
    install(flavor, place.drive, save=True)
    place.next_machine("2", network=False)
    assert works(install(flavor, place.drive))


def _cut(place: Place) -> None:
    place.house.write_bytes(place.house.read_bytes()[:-2000])


def _flip(place: Place) -> None:
    content = bytearray(place.house.read_bytes())
    content[content.index(b"PACK") + 20] ^= 1
    place.house.write_bytes(content)


def _another_wheel(place: Place) -> None:
    """A wheelhouse that is whole in itself, with another file for a package that the lock names."""
    folder = place.folder / "taken"
    folder.mkdir()
    rows = {row.name: row for row in wheel_house.unpack(place.house, folder)}
    path = tiny_wheel(place.folder / "evil", "fsd-thing", "1.0", code="version = '1.0'; evil = True\n")
    row = replace(rows["fsd-thing"], where=str(path), size_bytes=path.stat().st_size, sha256=sha256(path))
    wheel_house.pack(place.house, "a1111", [*(rows | {"fsd-thing": row}).values()])


@pytest.mark.parametrize("harm", [_cut, _flip, _another_wheel])
def test_one_that_does_not_serve_is_said_and_made_anew_from_the_network(
    place: Place, flavor: Flavor, harm: Callable[[Place], None], capsys: pytest.CaptureFixture[str]
) -> None:
    install(flavor, place.drive, save=True)
    harm(place)
    harmed = place.house.read_bytes()
    place.next_machine("2", network=False)
    with pytest.raises(FsdError):
        install(flavor, place.drive)
    place.next_machine("3", network=True)
    capsys.readouterr()
    assert works(install(flavor, place.drive)) and place.house.read_bytes() == harmed
    said = capsys.readouterr().out
    assert f"the wheelhouse {place.house}" in said and "so it is installed from the network" in said
    place.next_machine("4", network=True)
    assert works(install(flavor, place.drive, save=True))
    place.next_machine("5", network=False)
    assert works(install(flavor, place.drive))


def test_a_pack_of_something_else_is_not_checked_out(place: Place, flavor: Flavor, tmp_path: Path) -> None:
    program, part = flavor.repositories
    check_out(program, tmp_path / "one")
    check_out(part, tmp_path / "two")
    pack(part, tmp_path / "two", tmp_path / "wrong.pack")
    assert check_out(program, tmp_path / "three", lambda repository: tmp_path / "wrong.pack")
    assert is_whole(program, tmp_path / "three") and (tmp_path / "three/launch.py").is_file()
    assert "file:" in git(tmp_path / "three", "config", "remote.origin.url")
