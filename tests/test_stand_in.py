"""The stand-in for google.colab says and raises what the real module does, for what fsd's notebooks may meet.

The facts are googlecolab/colabtools' at 3c07d77. Signatures: test_colab.py. What fsd makes of it: test_colab.py, too.
"""

from __future__ import annotations

import ast
import importlib
import inspect
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from types import ModuleType

import pytest
from notebook_runner import ROOT, STAND_IN

from fsd.runtime import colab


@pytest.fixture
def google(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[ModuleType]:
    """The stand-in, importable as `google.colab`, in a folder of the test."""
    before = {name: module for name, module in sys.modules.items() if name.partition(".")[0] == "google"}
    for name in before:
        del sys.modules[name]
    monkeypatch.syspath_prepend(STAND_IN)
    monkeypatch.chdir(tmp_path)
    yield importlib.import_module("google.colab")
    for name in [name for name in sys.modules if name.partition(".")[0] == "google"]:
        del sys.modules[name]
    sys.modules.update(before)


def test_a_second_mount_says_so_and_returns(
    google: ModuleType, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    google.drive.mount(str(tmp_path / "drive"))
    assert capsys.readouterr().out == f"Mounted at {tmp_path}/drive\n"
    assert sorted(path.name for path in (tmp_path / "drive").iterdir()) == [
        *(".shortcut-targets-by-id", "MyDrive", "Shareddrives"),
    ]
    google.drive.mount(str(tmp_path / "drive"))
    assert capsys.readouterr().out == (
        f"Drive already mounted at {tmp_path}/drive; to attempt to forcibly remount, "
        f'call drive.mount("{tmp_path}/drive", force_remount=True).\n'
    )
    google.drive.mount(str(tmp_path / "drive"), force_remount=True, readonly=True)
    assert (tmp_path / "drive" / "MyDrive").stat().st_mode & 0o222 == 0


def test_elsewhere_drive_is_not_implemented(
    google: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    google.drive.hostname = ""
    with pytest.raises(NotImplementedError, match="unsupported in this environment"):
        google.drive.mount(str(tmp_path / "drive"))
    google.drive.hostname = "colab"
    monkeypatch.setenv("VERTEX_PRODUCT", "COLAB_ENTERPRISE")
    with pytest.raises(NotImplementedError, match="Colab Enterprise"):
        google.drive.mount(str(tmp_path / "drive"))
    assert list(tmp_path.iterdir()) == []


def test_drive_stays_mounted_when_the_kernel_is_restarted(
    google: ModuleType, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    google.drive.mount(str(tmp_path / "drive"))
    google.drive._mounted.clear()
    google.drive.mount(str(tmp_path / "drive"))
    assert "Drive already mounted at" in capsys.readouterr().out


def test_a_folder_that_somebody_made_is_no_drive(google: ModuleType, tmp_path: Path) -> None:
    (tmp_path / "drive" / "MyDrive").mkdir(parents=True)
    with pytest.raises(ValueError, match="must not already contain files"):
        google.drive.mount(str(tmp_path / "drive"))


def test_what_is_on_drive_is_out_of_sight_while_it_is_not_mounted(google: ModuleType, tmp_path: Path) -> None:
    google.drive.mount(str(tmp_path / "drive"))
    (tmp_path / "drive" / "MyDrive" / "a.txt").write_text("kept")
    google.drive.flush_and_unmount()
    assert list((tmp_path / "drive").iterdir()) == []
    google.drive.mount(str(tmp_path / "drive"))
    assert (tmp_path / "drive" / "MyDrive" / "a.txt").read_text() == "kept"


def test_flush_and_unmount(google: ModuleType, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    google.drive.flush_and_unmount()
    assert capsys.readouterr().out == "Drive not mounted, so nothing to flush and unmount.\n"
    google.drive.mount(str(tmp_path / "drive"))
    google.drive.fault = "mount failed"
    with pytest.raises(ValueError, match="flush_and_unmount failed"):
        google.drive.flush_and_unmount()


def test_uploads_are_numbered_when_their_name_is_taken(
    google: ModuleType, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    google.files._message.replies["upload"] = {"a.png": b"1"}
    assert google.files.upload() == {"a.png": b"1"}
    assert google.files.upload() == {"a (1).png": b"1"}
    assert (tmp_path / "a (1).png").read_bytes() == b"1"
    assert capsys.readouterr().out.splitlines() == ["Saving a.png to a.png", "Saving a.png to a (1).png"]


@pytest.mark.parametrize(("files", "said"), [({}, "has not been uploaded"), ({"a": b"", "b": b""}, "a single file")])
def test_one_file_means_one(google: ModuleType, files: dict[str, bytes], said: str) -> None:
    google.files._message.replies["upload"] = files
    with pytest.raises(ValueError, match=said):
        google.files.upload_file("name")


@pytest.mark.parametrize("name", ["download", "view"])
def test_a_file_that_is_not_there(google: ModuleType, name: str) -> None:
    with pytest.raises(FileNotFoundError, match="Cannot find file: none"):
        getattr(google.files, name)("none")


def test_signing_in_may_be_refused(google: ModuleType) -> None:
    google.auth.authenticate_user()
    google.auth._message.replies["request_auth"] = None
    with pytest.raises(google.auth.errors.AuthorizationError, match="Failed to fetch user credentials"):
        google.auth.authenticate_user()


def test_a_window_to_a_port_is_said_to_be_on_its_way_out(
    google: ModuleType, capsys: pytest.CaptureFixture[str]
) -> None:
    google.output.serve_kernel_port_as_window(7860)
    assert capsys.readouterr().out == (
        "\x1b[31mWarning: This function may stop working due to changes in browser security.\n"
        "Try `serve_kernel_port_as_iframe` instead. \x1b[0m\n"
    )


def test_callbacks(google: ModuleType) -> None:
    google.output.register_callback("name", print)
    google.output.unregister_callback("name")
    with pytest.raises(ValueError, match="Callback function not registered: name"):
        google.output.unregister_callback("name")
    with pytest.raises(ValueError, match="Unknown widgets version: 1"):
        google.output.enable_custom_widget_manager("1")


def test_the_errors_are_of_the_real_kinds(google: ModuleType) -> None:
    errors, userdata = google.runtime.errors, google.userdata
    assert userdata.NotebookAccessError.__bases__ == (Exception,)
    for kind in (userdata.SecretNotFoundError, userdata.TimeoutException, userdata._message.MessageError):
        assert kind.__bases__ == (errors.Error,)
    assert str(userdata.SecretNotFoundError("A")) == "Secret A does not exist."
    assert str(userdata.TimeoutException("A")).endswith("only be fetched when running from the Colab UI.")


def test_the_runtime_cannot_be_ended_from_elsewhere(google: ModuleType) -> None:
    with pytest.raises(google.runtime.errors.RuntimeManagementError, match="Unable to find the runtime management"):
        google.runtime.unassign()


@pytest.mark.parametrize("status", [200, 500])
def test_the_runtime_is_ended_by_its_own_service(
    google: ModuleType, monkeypatch: pytest.MonkeyPatch, status: int
) -> None:
    asked: list[str] = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            asked.append(self.path)
            self.send_response(status)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    with HTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.handle_request)
        thread.start()
        monkeypatch.setenv("TBE_RUNTIME_ADDR", f"127.0.0.1:{server.server_port}")
        if status == 200:
            colab.end_runtime()
        else:
            with pytest.raises(google.runtime.errors.RuntimeManagementError, match="Unable to request VM"):
                colab.end_runtime()
        thread.join()
    assert asked == ["/unassign"]


def test_every_call_of_fsds_fits_the_signature(google: ModuleType) -> None:
    """All of them are in the one file that may import google.colab."""
    tree = ast.parse((ROOT / "fsd" / "runtime" / "colab.py").read_text(encoding="utf-8"))
    modules = {alias.name for node in ast.walk(tree) if isinstance(node, ast.ImportFrom) and node.module == "google.colab"
               for alias in node.names}  # fmt: skip
    calls = {(node.func.value.id, node.func.attr): node for node in ast.walk(tree) if isinstance(node, ast.Call)
             if isinstance(node.func, ast.Attribute) and isinstance(node.func.value, ast.Name)
             and node.func.value.id in modules}  # fmt: skip
    calls.pop(("drive", "home"))  # of fsd's own module
    assert len(calls) == 7
    for (module, function), node in calls.items():
        signature = inspect.signature(getattr(getattr(google, module), function))
        signature.bind(*node.args, **{str(word.arg): word.value for word in node.keywords})


def test_the_page_is_asked_by_the_main_thread_alone(google: ModuleType) -> None:
    """The real module waits for ever elsewhere; the stand-in fails, so that no test of ours passes by it."""
    raised: list[BaseException] = []

    def ask() -> None:
        try:
            google.userdata.get("HF_TOKEN")
        except BaseException as fault:
            raised.append(fault)

    thread = threading.Thread(target=ask)
    thread.start()
    thread.join()
    assert isinstance(raised[0], AssertionError)


def test_every_notebook_is_run_under_it_and_without_it() -> None:
    training, web_ui, captions = "test_notebooks.py", "test_webui_notebook.py", "test_captions_notebook.py"
    tests = {"fast_dreambooth": training, "fast_lora": training, "fast_webui": web_ui, "fast_captions": captions}
    assert {path.stem for path in (ROOT / "notebooks").glob("*.ipynb")} == tests.keys()
    for notebook, test in tests.items():
        text = (ROOT / "tests" / test).read_text(encoding="utf-8")
        assert f"{notebook}.ipynb" in text
        assert "[ROOT])" in text or "[ROOT]," in text  # without
        assert "STAND_IN]" in text  # under it
