"""A stand-in for AUTOMATIC1111: its recorded log lines and endpoints, without its gigabytes.

    python webui_stand_in.py SCENARIO --port PORT ...

The lines and their order are those of v1.10.1 on a CPU. As there, a request between "Running on local URL" and "Startup
time:" kills the server ("Cannot add middleware"). GET /stand-in/die?how=NAME makes it die later, as ENDS has it. What
it answers is in webui_answers.py.
"""

from __future__ import annotations

import argparse
import json
import os
import select
import signal
import subprocess
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

from webui_answers import checkpoints, drawn, png, recorded, title

HEAD = """Python 3.10.13 (main, Sep 11 2024, 13:44:35) [GCC 12.2.0]
Version: 1.10.1
Commit hash: 82a973c04367123ae98bd9abdf80d9eda9b910e2"""
LAUNCHING = "Launching Web UI with arguments: {arguments}"
LOADING = """Calculating sha256 for {ckpt}: 5d9c1c0e8fd7a3bf2c8a1ab8b0c0d4e0c9a0c41a
Loading weights [5d9c1c0e8f] from {ckpt}
Creating model from config: {yaml}
Applying attention optimization: InvokeAI... done."""
LOADED = "Model loaded in 2.1s (calculate hash: 0.1s, load weights from disk: 0.2s, create model: 1.2s)."
RUNNING = "Running on local URL:  http://127.0.0.1:{port}"
READY = "Startup time: 14.2s (prepare environment: 0.4s, import torch: 8.0s, setup gradio: 0.2s, create ui: 3.5s)."
BROKEN = """loading stable diffusion model: SafetensorError
Traceback (most recent call last):
  File "/home/user/webui/modules/sd_models.py", line 345, in get_checkpoint_state_dict
safetensors_rust.SafetensorError: Error while deserializing header: MetadataIncompleteBuffer

Stable diffusion model failed to load"""
MIDDLEWARE = """Traceback (most recent call last):
  File "/home/user/webui/modules/initialize_util.py", line 202, in setup_middleware
RuntimeError: Cannot add middleware after an application has started"""
ENDS = {
    "clone refused": """Cloning Stable Diffusion into /home/user/webui/repositories/stable-diffusion-stability-ai...
Traceback (most recent call last):
  File "/home/user/webui/launch.py", line 48, in <module>
RuntimeError: Couldn't clone Stable Diffusion.
Command: "git" clone "https://github.com/Stability-AI/stablediffusion.git"
Error code: 128
stderr: fatal: could not read Username for 'https://github.com': terminal prompts disabled""",
    "numpy": """Traceback (most recent call last):
  File "/home/user/webui/modules/import_hook.py", line 5, in <module>
ValueError: numpy.dtype size changed, may indicate binary incompatibility. Expected 96 from C header, got 88""",
    "no gpu": """Traceback (most recent call last):
RuntimeError: Torch is not able to use GPU; add --skip-torch-cuda-test to COMMANDLINE_ARGS variable to disable this check""",
    "cuda memory": """Traceback (most recent call last):
torch.cuda.OutOfMemoryError: CUDA out of memory. Tried to allocate 20.00 MiB (GPU 0; 14.75 GiB total capacity)""",
}
"""Scenarios that print this and end with exit code 1, before there is a server."""


def say(text: str) -> None:
    print(text, flush=True)


def main(scenario: str, arguments: list[str]) -> None:
    """Play a scenario: "ready", "slow", "killed", "port busy", "broken model", "daemon", "stubborn" or one of ENDS."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--port", type=int, default=7860)
    parser.add_argument("--ckpt", default="/models/none.safetensors")
    parser.add_argument("--data-dir", default="/nowhere")
    options = parser.parse_known_args(arguments)[0]
    port, ckpt = options.port, options.ckpt
    say(HEAD)
    say(LAUNCHING.format(arguments=" ".join(arguments)))
    if scenario in ENDS:
        say(ENDS[scenario])
        sys.exit(1)
    if scenario == "daemon":  # a process that leaves the group, as tunnels and downloads started by extensions do
        pid = subprocess.Popen(["sleep", "600"], start_new_session=True).pid
        say(f"daemon {pid}")
    if scenario == "stubborn":
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
    if scenario == "killed":
        say("Loading weights [5d9c1c0e8f] from " + ckpt)
        os.kill(os.getpid(), signal.SIGKILL)
    sys.stderr.write("\r 10%|#         | 1/10\r100%|##########| 10/10\n")
    loaded = BROKEN if scenario == "broken model" else f"{LOADING}\n{LOADED}"
    say(loaded.format(ckpt=ckpt, yaml=ckpt.rpartition(".")[0] + ".yaml"))
    serve(scenario, port, arguments, options)


def serve(scenario: str, port: int, arguments: list[str], options: argparse.Namespace) -> None:
    try:
        server = Server(("127.0.0.1", port), Handler)
    except OSError:
        say(f"OSError: Cannot find empty port in range: {port}-{port}. You can specify a different port")
        sys.exit(1)
    server.arguments, server.options = arguments, options
    say(RUNNING.format(port=port))
    window_s = 1.5 if scenario == "slow" else 0.3
    if select.select([server.socket], [], [], window_s)[0]:
        say(MIDDLEWARE)
        sys.exit(1)
    say(READY)
    server.serve_forever()


class Server(ThreadingHTTPServer):
    daemon_threads = True
    allow_reuse_address = False
    arguments: list[str]
    options: argparse.Namespace


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    server: Server

    def do_GET(self) -> None:
        parts = urlsplit(self.path)
        if parts.path == "/internal/ping":
            self.answer({})
        elif parts.path == "/sdapi/v1/cmd-flags":
            self.answer({"argv": self.server.arguments, "environment": dict(os.environ)})
        elif parts.path == "/sdapi/v1/sd-models":
            self.answer(checkpoints(Path(self.server.options.data_dir)))
        elif parts.path == "/sdapi/v1/options":
            self.answer({"sd_model_checkpoint": title(Path(self.server.options.ckpt)), "samples_format": "png"})
        elif parts.path in recorded()["answers"]:
            self.answer(recorded()["answers"][parts.path])
        elif parts.path == "/stand-in/png":
            self.answer_bytes(png(int(parse_qs(parts.query)["bytes"][0])), "image/png")
        elif parts.path == "/stand-in/die":
            self.answer({})
            threading.Thread(target=die, args=(parse_qs(parts.query)["how"][0],)).start()
        elif parts.path == "/":
            self.answer_bytes(b"<html><title>Stable Diffusion</title><gradio-app></gradio-app></html>", "text/html")
        else:
            self.send_error(404)

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        if self.path == "/sdapi/v1/txt2img":
            self.answer(drawn(json.loads(body)))
        else:
            self.send_error(404)

    def answer(self, value: object) -> None:
        self.answer_bytes(json.dumps(value).encode(), "application/json")

    def answer_bytes(self, content: bytes, kind: str) -> None:
        self.send_response(200)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *arguments: object) -> None:
        pass


def die(how: str) -> None:
    time.sleep(0.05)  # let the answer out
    if how == "killed":
        os.kill(os.getpid(), signal.SIGKILL)
    say(ENDS[how])
    os._exit(1)


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2:])
