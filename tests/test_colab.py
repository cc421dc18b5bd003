"""fsd on Colab and off it: where sessions are kept, uploads, and a remedy for everything that Drive says."""

from __future__ import annotations

import errno
import inspect
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest
from notebook_runner import ROOT, STAND_IN

from fsd.errors import FsdError, MachineError, SessionError
from fsd.runtime import colab, secrets

SIGNATURES = {
    "drive.mount": "(mountpoint, force_remount=False, timeout_ms=120000, readonly=False)",
    "drive.flush_and_unmount": "(timeout_ms=86400000)",
    "files.upload": "(target_dir='')",
    "files.upload_file": "(filename)",
    "files.download": "(filename)",
    "files.view": "(filepath)",
    "userdata.get": "(key)",
    "runtime.unassign": "()",
    "output.eval_js": "(script, ignore_result=False, timeout_sec=None)",
    "output.register_callback": "(function_name, callback)",
    "auth.authenticate_user": "(clear_output=True, project_id=None)",
    "output.unregister_callback": "(function_name)",
    "output.clear": "(wait=False, output_tags=())",
    "output.no_vertical_scroll": "()",
    "output.serve_kernel_port_as_iframe": "(port, path='/', width='100%', height='400', cache_in_notebook=False)",
    "output.serve_kernel_port_as_window": "(port, path='/', anchor_text=None, skip_warning=False)",
}
"""As in googlecolab/colabtools at 3c07d77."""


@pytest.mark.parametrize("name", SIGNATURES)
def test_the_stand_in_has_the_real_signatures(google: ModuleType, name: str) -> None:
    module, _, function = name.partition(".")
    assert str(inspect.signature(getattr(getattr(google, module), function))) == SIGNATURES[name]


def test_the_stand_in_has_the_real_errors(google: ModuleType) -> None:
    message, userdata = google.userdata._message, google.userdata
    with pytest.raises(userdata.SecretNotFoundError, match="Secret HF_TOKEN does not exist"):
        userdata.get("HF_TOKEN")
    message.replies["GetSecret"] = {"exists": True, "access": False}
    with pytest.raises(userdata.NotebookAccessError, match="does not have access to secret HF_TOKEN"):
        userdata.get("HF_TOKEN")
    message.replies["GetSecret"] = None
    with pytest.raises(userdata.TimeoutException, match="Colab UI"):
        userdata.get("HF_TOKEN")
    message.replies["GetSecret"] = {"exists": True, "access": True, "payload": "value"}
    assert userdata.get("HF_TOKEN") == "value"
    with pytest.raises(ValueError, match="whitespace"):
        userdata.get("HF TOKEN")
    with pytest.raises(google.runtime.errors.RuntimeManagementError):
        google.runtime.unassign()


# --- elsewhere -------------------------------------------------------------------------------------------------------


def test_elsewhere_sessions_are_in_the_current_folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("FSD_HOME", raising=False)
    monkeypatch.chdir(tmp_path)
    assert not colab.in_colab()
    assert colab.home() == tmp_path
    monkeypatch.setenv("FSD_HOME", str(tmp_path / "other"))
    assert colab.home() == tmp_path / "other"


def test_elsewhere_an_upload_cannot_be_asked_for() -> None:
    with pytest.raises(MachineError, match="only Colab can ask for an upload") as caught:
        colab.upload_photos()
    assert "folder" in caught.value.hint


# --- Drive -----------------------------------------------------------------------------------------------------------


def test_drive_is_mounted_once(google: ModuleType, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    assert colab.in_colab()
    assert colab.home() == tmp_path / "drive" / "MyDrive"
    assert capsys.readouterr().out.splitlines() == [
        "Google asks you to let this notebook use your Drive: sessions are kept there",
        f"Mounted at {tmp_path / 'drive'}",
    ]
    assert colab.home() == tmp_path / "drive" / "MyDrive"
    assert capsys.readouterr().out == ""


def test_a_folder_of_ones_own_needs_no_drive(
    google: ModuleType, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    google.userdata._message.replies["request_auth"] = AssertionError("Drive was asked for")
    monkeypatch.setenv("FSD_HOME", str(tmp_path))
    assert colab.home() == tmp_path


def test_a_lost_connection_is_mounted_again(
    google: ModuleType, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    colab.home()
    calls = []
    real_mount, real_stat = google.drive.mount, Path.stat

    def stat(path: Path, **options: object) -> object:
        if path.name == "MyDrive" and not calls:
            raise OSError(errno.ENOTCONN, "Transport endpoint is not connected")
        return real_stat(path, **options)

    def mount(mountpoint: str, **options: object) -> None:
        calls.append(options)
        real_mount(mountpoint, **options)

    monkeypatch.setattr(Path, "stat", stat)
    monkeypatch.setattr(google.drive, "mount", mount)
    capsys.readouterr()
    assert colab.home() == tmp_path / "drive" / "MyDrive"
    assert calls == [{"force_remount": True}]
    assert "connection to Google Drive was lost" in capsys.readouterr().out


def pexpect_timeout() -> Exception:
    class TIMEOUT(Exception):
        """pexpect's, with its habit of printing its whole state."""

    return TIMEOUT("Timeout exceeded.\n<pexpect.popen_spawn.PopenSpawn object at 0x7f>\nsearcher: ...\nbuffer: ...")


def refused(google: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    message = google.userdata._message
    message.replies["request_auth"] = message.MessageError("Error: credential propagation was unsuccessful")


def slow(google: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    google.userdata._message.replies["request_auth"] = pexpect_timeout()


def leftovers(google: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "drive").mkdir()
    (tmp_path / "drive" / "model.ckpt").write_text("written before Drive was mounted")


def a_link(google: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "drive").symlink_to(tmp_path)


def a_file(google: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "drive").write_text("a file")


def no_parent(google: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(colab, "MOUNT_POINT", tmp_path / "nowhere" / "drive")


def a_space(google: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(colab, "MOUNT_POINT", tmp_path / "my drive")


def enterprise(google: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VERTEX_PRODUCT", "COLAB_ENTERPRISE")


def no_kernel(google: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    google.userdata._message.replies["request_auth"] = AttributeError("'NoneType' object has no attribute 'kernel'")


def process_says(words: str) -> object:
    return lambda google, tmp_path, monkeypatch: setattr(google.drive, "fault", words)


@pytest.mark.parametrize(
    ("arrange", "said", "to_do"),
    [
        (refused, "credential propagation was unsuccessful", "allow pop-ups"),
        (slow, "Timeout exceeded.", "run the cell again"),
        (leftovers, "must not already contain files", "move that folder away"),
        (a_link, "must not be a symlink", "FSD_HOME"),
        (a_file, "must either be a directory or not exist", "FSD_HOME"),
        (no_parent, "must be in a directory that exists", "FSD_HOME"),
        (a_space, "must not contain a space", "FSD_HOME"),
        (enterprise, "not supported in Colab Enterprise", "FSD_HOME"),
        (no_kernel, "no attribute 'kernel'", "only a notebook cell can mount Drive"),
        (process_says("mount failed"), "mount failed", "run the cell again"),
        (
            process_says("mount failed: timeout during initial read of root folder; for more info: ..."),
            "initial read of root folder",
            "many files",
        ),
        (
            process_says(
                "The domain policy has disabled Drive File Stream: https://support.google.com/a/answer/7496409"
            ),
            "domain policy",
            "another account",
        ),
    ],
)
def test_what_drive_says_becomes_one_clear_error(
    google: ModuleType, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, arrange: object, said: str, to_do: str
) -> None:
    arrange(google, tmp_path, monkeypatch)  # type: ignore[operator]
    with pytest.raises(MachineError) as caught:
        colab.home()
    assert said in caught.value.message
    assert to_do in caught.value.hint
    assert len(str(caught.value).splitlines()) == 2


def test_a_mount_that_did_not_take_is_noticed(google: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(google.drive, "mount", lambda *args, **options: None)
    with pytest.raises(MachineError, match=r"is mounted but .* is not there"):
        colab.home()


def test_a_stopped_cell_stays_stopped(google: ModuleType) -> None:
    google.userdata._message.replies["request_auth"] = KeyboardInterrupt()
    with pytest.raises(KeyboardInterrupt):
        colab.home()


# --- secrets ---------------------------------------------------------------------------------------------------------


def test_a_secret_is_read_and_never_shown(
    google: ModuleType, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delenv("HF_TOKEN", raising=False)
    replies = google.userdata._message.replies
    replies["GetSecret"] = {"exists": True, "access": True, "payload": "hf_private\n"}
    assert secrets.token("HF_TOKEN") == "hf_private"
    assert secrets.token_for("https://huggingface.co/a") == "hf_private"
    monkeypatch.setenv("HF_TOKEN", "from_the_environment")
    assert secrets.token("HF_TOKEN") == "from_the_environment"
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize(
    "reply",
    [None, {"exists": False}, {"exists": True, "access": False}, AttributeError("'NoneType' object has no ...")],
)
def test_a_secret_that_cannot_be_read_stops_nothing(
    google: ModuleType, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], reply: object
) -> None:
    monkeypatch.delenv("CIVITAI_TOKEN", raising=False)
    google.userdata._message.replies["GetSecret"] = reply
    assert secrets.token("CIVITAI_TOKEN") == ""
    forbidden = isinstance(reply, dict) and reply["exists"]
    assert ("may not read your secret CIVITAI_TOKEN" in capsys.readouterr().out) == forbidden


# --- uploads ---------------------------------------------------------------------------------------------------------


def test_an_upload_leaves_nothing_behind(
    google: ModuleType, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    google.userdata._message.replies["upload"] = {"IMG 1.png": b"one", "IMG 2.png": b"two"}
    monkeypatch.chdir(tmp_path)
    for _ in range(2):  # Colab would call the second ones "IMG 1 (1).png"
        assert colab.upload_photos() == {"IMG 1.png": b"one", "IMG 2.png": b"two"}
    assert list(tmp_path.iterdir()) == []
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize(
    ("reply", "kind", "said"),
    [
        ({}, SessionError, "no photo was uploaded"),
        (None, MachineError, "could not be uploaded"),
        (AttributeError("'NoneType' object has no attribute 'kernel'"), MachineError, "could not be uploaded"),
        (OSError(errno.ENOSPC, "No space left on device"), MachineError, "No space left"),
        (MemoryError(), MachineError, "could not be uploaded: MemoryError"),
    ],
)
def test_an_upload_that_fails_is_one_clear_error(
    google: ModuleType, reply: object, kind: type[FsdError], said: str
) -> None:
    google.userdata._message.replies["upload"] = reply
    with pytest.raises(kind, match=said) as caught:
        colab.upload_photos()
    assert caught.value.hint.startswith("run the cell again")
    assert len(str(caught.value).splitlines()) == 2


def test_a_refused_upload_is_one_clear_error(google: ModuleType) -> None:
    message = google.userdata._message
    message.replies["upload"] = message.MessageError("TypeError: google.colab._files is undefined")
    with pytest.raises(MachineError, match=r"google\.colab\._files is undefined"):
        colab.upload_photos()


def test_kaggles_image_is_not_colab(google: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is made from Colab's and brings google.colab, but there is no Drive, no upload and no secret."""
    monkeypatch.setenv("KAGGLE_KERNEL_RUN_TYPE", "Interactive")
    assert not colab.in_colab()
    assert colab.home() == Path.cwd()


def test_a_page_that_does_not_answer_is_not_asked_again_at_once(
    google: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []
    replies = google.userdata._message.replies
    replies["GetSecret"] = lambda request: asked.append(request["key"])
    assert [colab.secret(name) for name in secrets.NAMES] == [""] * len(secrets.NAMES)
    assert asked == ["HF_TOKEN"]
    monkeypatch.setattr(colab, "_silent_until_s", 0.0)
    replies["GetSecret"] = {"exists": True, "access": True, "payload": "hf_private"}
    assert colab.secret("HF_TOKEN") == "hf_private"


def test_importing_fsd_on_colab_asks_for_nothing() -> None:
    code = "import sys, fsd.pipeline, fsd.calling; sys.exit('google.colab.drive' in sys.modules)"
    path = f"{STAND_IN}:{ROOT}"
    assert subprocess.run([sys.executable, "-c", code], env={"PYTHONPATH": path, "PATH": "/usr/bin"}).returncode == 0
