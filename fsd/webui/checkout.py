"""Git checkouts at exact commits: fetched by commit from the first mirror that has it, checked, repaired in place."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from fsd.errors import DownloadError
from fsd.runtime import report
from fsd.runtime.files import make_folder, write_text
from fsd.webui.flavors import Repository
from fsd.webui.steps import StepFailed, clean_environment, run_step

_FETCH_LIMIT_S = 900.0
_LOCAL_LIMIT_S = 300.0
_QUIET = (
    *("-c", "credential.helper="),  # nobody may ask for a login: an address that wants one is gone
    *("-c", "http.lowSpeedLimit=1000", "-c", "http.lowSpeedTime=60"),
    *("-c", "advice.detachedHead=false", "-c", "core.hooksPath=/dev/null", "-c", "gc.auto=0"),
)


def is_at(folder: Path, commit: str) -> bool:
    """Whether a checkout's HEAD is that commit: read from its file, without git."""
    with suppress(OSError, UnicodeDecodeError):
        return (folder / ".git" / "HEAD").read_text().strip() == commit
    return False


def is_whole(repository: Repository, folder: Path) -> bool:
    """Whether the folder is a checkout of the commit with every file as committed. Asks git, not the network."""
    if not is_at(folder, repository.commit):
        return False
    try:
        return not _git(folder, "status", "--porcelain", "--untracked-files=no").strip()
    except StepFailed:
        return False


def check_out(
    repository: Repository, folder: Path, pack_of: Callable[[Repository], Path | None] = lambda repository: None
) -> bool:
    """Bring `folder` to the repository's commit; return whether anything had to be done.

    Files that git does not know stay as they are. pack_of: gives a file that `pack` wrote, or None; asked before the
    mirrors. These are asked in turn; DownloadError with what each of them said.
    FSD_WEBUI_MIRRORS may name a folder with bare repositories, which are asked first: for machines without access.
    """
    if is_whole(repository, folder):
        return False
    make_folder(folder)
    if _restored(repository, folder) or ((packed := pack_of(repository)) and _unpacked(repository, folder, packed)):
        return True
    said = []
    for address in addresses(repository):
        try:
            _fetch(repository, folder, address)
            return True
        except StepFailed as fault:
            said.append(f"\n  {address}: {fault.why}" + "".join(f"\n    {line}" for line in fault.lines[-5:]))
            hint = fault.hint
    raise DownloadError(f"{repository.title} could not be fetched at {repository.commit[:12]}:{''.join(said)}", hint)


def addresses(repository: Repository) -> list[str]:
    """Where to ask for a repository, in turn: the folder of FSD_WEBUI_MIRRORS first, where it has one of the names."""
    local = []
    if mirrors := os.environ.get("FSD_WEBUI_MIRRORS"):
        for address in repository.mirrors:
            path = Path(mirrors).expanduser().absolute() / address.rpartition("/")[2]
            local += [found.as_uri() for found in (path, path.with_suffix("")) if found.is_dir()]
    return [*local, *repository.mirrors]


def pack(repository: Repository, folder: Path, target: Path) -> None:
    """Write what a checkout holds of its commit into one file, from which `check_out` makes it again."""
    _git(folder, "update-ref", "refs/fsd/packed", repository.commit)
    stem = target.with_suffix("")
    _git(folder, "pack-objects", "--quiet", "--all", "--missing=allow-any", str(stem), limit_s=_FETCH_LIMIT_S)
    for made in stem.parent.glob(f"{stem.name}-*"):
        made.replace(target) if made.suffix == ".pack" else made.unlink()


def _unpacked(repository: Repository, folder: Path, packed: Path) -> bool:
    """Whether a pack was enough to make the checkout: git reckons every object's name from its content."""
    report.say(f"  {repository.title} comes from the wheelhouse")
    try:
        _begin(repository, folder, repository.mirrors[0])
        packs = folder / ".git" / "objects" / "pack"
        path = Path(shutil.copy(packed, packs / f"pack-{repository.commit}.pack"))
        if repository.without:
            path.with_suffix(".promisor").touch()
        _git(folder, "index-pack", str(path), limit_s=_FETCH_LIMIT_S)
        write_text(folder / ".git" / "shallow", f"{repository.commit}\n")
        _check_out_files(repository, folder)
    except StepFailed as fault:
        report.say(f"  {fault.step} {fault.why}; so it is fetched from the network")
        return False
    return True


def _restored(repository: Repository, folder: Path) -> bool:
    """Whether what was already fetched is enough: files that were changed or deleted are as committed again."""
    git = folder / ".git"
    if not git.is_dir():
        return False
    for left_over in (git / "index", *git.glob("*.lock")):
        left_over.unlink(missing_ok=True)
    try:
        _git(folder, "cat-file", "-e", f"{repository.commit}^{{tree}}")
        _check_out_files(repository, folder)
    except StepFailed:
        return False
    return True


def _fetch(repository: Repository, folder: Path, address: str) -> None:
    """Fetch the commit alone from one address, into a new git folder: what an old one held may be what was broken."""
    report.say(f"  fetching {repository.title} from {address}")
    _begin(repository, folder, address)
    options = ["--quiet", "--depth=1", "--no-tags", "--no-write-fetch-head"]
    if repository.without:
        options.append("--filter=blob:none")
    _git(folder, "fetch", *options, "origin", repository.commit, limit_s=_FETCH_LIMIT_S)
    _check_out_files(repository, folder)


def _begin(repository: Repository, folder: Path, address: str) -> None:
    """A new git folder that holds nothing yet, with the address from which what it lacks may come."""
    if (git := folder / ".git").is_dir():
        shutil.rmtree(git)
    git.unlink(missing_ok=True)
    _git(folder, "init", "--quiet")
    _git(folder, "config", "remote.origin.url", address)
    if repository.without:
        _git(folder, "config", "remote.origin.promisor", "true")


def _check_out_files(repository: Repository, folder: Path) -> None:
    if repository.without:
        _git(folder, "config", "core.sparseCheckout", "true")
        _git(folder, "config", "core.sparseCheckoutCone", "false")
        wanted = ["/*", *(f"!{path}" for path in repository.without)]
        write_text(folder / ".git" / "info" / "sparse-checkout", "\n".join(wanted) + "\n")
    _git(folder, "checkout", "--quiet", "--force", "--detach", repository.commit, limit_s=_FETCH_LIMIT_S)
    if not is_whole(repository, folder):
        raise StepFailed(
            f"checking out {repository.title}", "the files are not those of the commit", [], "run it again"
        )


def _git(folder: Path, *arguments: str, limit_s: float = _LOCAL_LIMIT_S) -> str:
    environment = clean_environment(
        GIT_ASKPASS="true", GIT_SSH_COMMAND="false", LC_ALL="C", GIT_DIR=str(folder / ".git"), GIT_WORK_TREE=str(folder),
        GIT_LFS_SKIP_SMUDGE="1",
    )  # fmt: skip
    return run_step(
        f"git {arguments[0]} in {folder}", ["git", *_QUIET, *arguments], environment, limit_s, folder=folder
    )
