"""ngrok, by pyngrok: the token stands in a private configuration file, never in a command line or an environment.

pyngrok starts the program by its path and hands on our whole environment, so that path is a script of ours: it keeps
the environment short, and it ends the program with us.
"""

from __future__ import annotations

import importlib.util
import json
import logging
import os
import re
import shlex
import sys
import threading
from contextlib import suppress
from pathlib import Path
from typing import Any

from fsd.errors import FsdError, MachineError
from fsd.runtime import secrets
from fsd.webui import keeper
from fsd.webui.logs import redacted
from fsd.webui.server import free_port
from fsd.webui.tunnels import programs
from fsd.webui.tunnels.child import Workplace
from fsd.webui.tunnels.ngrok_faults import CAUSES, DASHBOARD, DOMAIN, OTHERWISE, TOKEN
from fsd.webui.tunnels.tunnel import Opener, Passing, Tunnel

START_S, ASK_S = 30, 15.0


def ngrok(port: int, address: str) -> Opener:
    """Opens an ngrok tunnel; address, else NGROK_DOMAIN: the account's static domain."""
    if importlib.util.find_spec("pyngrok") is None:
        raise MachineError("the package pyngrok is not installed", "install it: fsd setup webui")
    programs.need(programs.NGROK)
    token = secrets.token(TOKEN)
    if not token:
        where = f"{DASHBOARD}/get-started/your-authtoken"
        raise MachineError(f"ngrok needs {TOKEN}", f"get one at {where}; {secrets.how_to_give(TOKEN)}")
    domain = address or secrets.token(DOMAIN)
    return lambda over: _Agent(token, over).open(port, domain)


class _Agent:
    """ngrok's agent, started and asked by pyngrok. over: set when it ends by itself."""

    def __init__(self, token: str, over: threading.Event) -> None:
        self._token, self._over = token, over
        self._workplace = Workplace()
        self._errors: list[str] = []
        self._config: Any = None
        self._life, self._closed = -1, False

    def open(self, port: int, domain: str) -> Tunnel:
        """The tunnel; MachineError says why there is none, without the token that ngrok repeats in its errors."""
        from pyngrok import ngrok

        logging.getLogger("pyngrok").setLevel(logging.CRITICAL + 1)  # it logs ngrok's lines as they are
        try:
            self._config = self._settings()
            late = threading.Timer(START_S, self._let_go)
            late.start()
            try:
                wanted = {"domain": domain} if domain else {}
                # without "inspect" the agent would keep the requests, with their cookies, and show them at port 4040
                opened = ngrok.connect(
                    f"http://127.0.0.1:{port}", "http", pyngrok_config=self._config, inspect=False, schemes=["https"],
                    **wanted,
                )  # fmt: skip
            finally:
                late.cancel()
            url = str(opened.public_url).replace("http://", "https://", 1)
            self._watch()
        except FsdError:
            self.close()
            raise
        except Exception as fault:  # pyngrok's errors, and what garbage in the agent's lines makes it raise
            self._note(str(fault))
            self.close()
            raise self.why() from None
        except BaseException:
            self.close()
            raise
        return Tunnel(url, self.why, self.close)

    def why(self) -> MachineError:
        """Why it has ended or was not opened."""
        for cause in CAUSES:
            if any(re.search(cause.pattern, text) for text in self._errors):
                return cause.fault()
        last = f": {redacted(self._errors[-1])}" if self._errors else ""
        return Passing(f"ngrok's agent has ended{last}", f"try again in a minute, {OTHERWISE}")

    def close(self) -> None:
        """End the agent; nothing of it stays."""
        if self._closed:
            return
        self._closed = True
        self._let_go()
        if self._config:
            from pyngrok import ngrok, process

            with suppress(Exception):
                if process.is_process_running(self._config.ngrok_path):
                    process.get_process(self._config).proc.wait(ASK_S)
            with suppress(Exception):
                ngrok.kill(self._config)
        self._workplace.close()

    def _settings(self) -> Any:
        from pyngrok.conf import PyngrokConfig

        # YAML takes JSON; the layout of version 2 is what all releases of pyngrok and ngrok in question read
        text = {"version": "2", "authtoken": self._token, "web_addr": f"127.0.0.1:{free_port()}", "update_check": False}
        config = PyngrokConfig(
            ngrok_path=str(self._script()),
            config_path=str(self._workplace.write("ngrok.yml", json.dumps(text))),
            config_version="2",
            startup_timeout=START_S,
            request_timeout=ASK_S,
            log_event_callback=self._hear,
            max_logs=20,
        )
        config.auth_token = None  # pyngrok takes it from the environment and would put it in the command line
        return config

    def _script(self) -> Path:
        """What pyngrok takes for the program: the program with a short environment, held by a pipe of ours."""
        pipe = self._workplace.path / "held"
        os.mkfifo(pipe, 0o600)
        self._life = os.open(pipe, os.O_RDWR)  # for reading too, or this would wait for the other end
        kept = [sys.executable, "-I", str(keeper.__file__), str(programs.find(programs.NGROK))]
        # not by `env`, whose command line would show a proxy's login
        code = f"import os, sys\nos.execve({kept[0]!r}, {kept!r} + sys.argv[1:], {self._workplace.environment()!r})\n"
        command = [sys.executable, "-I", str(self._workplace.write("start.py", code))]
        script = self._workplace.write(
            "ngrok", f'#!/bin/sh\nexec {shlex.join(command)} "$@" < {shlex.quote(str(pipe))}\n'
        )
        script.chmod(0o700)
        return script

    def _let_go(self) -> None:
        """Close the pipe that holds the agent: it ends."""
        if self._life >= 0:
            life, self._life = self._life, -1
            os.close(life)

    def _watch(self) -> None:
        from pyngrok import process

        if not process.is_process_running(self._config.ngrok_path):
            raise RuntimeError("it ended at once")
        running = process.get_process(self._config).proc

        def wait() -> None:
            running.wait()
            if not self._closed:
                self._over.set()

        threading.Thread(target=wait, daemon=True, name="end of ngrok").start()

    def _hear(self, log: Any) -> None:
        if log.lvl in ("ERROR", "CRITICAL", "WARNING"):
            self._note(log.err or log.line)

    def _note(self, text: str) -> None:
        text = re.sub(r"\\[rn]|\s", " ", text.replace(self._token, "***"))
        self._errors = [*self._errors, " ".join(text.split())[:400]][-20:]
