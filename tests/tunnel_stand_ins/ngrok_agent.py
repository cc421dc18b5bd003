"""Stands in for ngrok's agent: its log lines as pyngrok reads them, and its API on 127.0.0.1.

    python ngrok_agent.py STAGE start --none --log stdout --config FILE

What it does at each launch stands in the file "plays" of the folder STAGE: "ok", "hang", "garbage", an error code that
the start fails with, or "api" and one that the API answers with. It dies when somebody opens the pipe die-N.
"""

import json
import os
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from replay import seen

ERRORS = {
    "ERR_NGROK_105": "authentication failed: The authtoken you specified does not look like a proper ngrok authtoken."
    "\\nYour authtoken: {token}\\n\\r\\n\\r\\nERR_NGROK_105\\r\\n",
    "ERR_NGROK_108": "authentication failed: Your account is limited to 3 simultaneous ngrok agent sessions."
    "\\n\\r\\n\\r\\nERR_NGROK_108\\r\\n",
    "ERR_NGROK_334": "failed to start tunnel: The endpoint 'https://mine.ngrok-free.dev' is already online."
    "\\r\\n\\r\\nERR_NGROK_334\\r\\n",
    "ERR_NGROK_727": "This ngrok account has reached its HTTP requests limit for the month.\\r\\n\\r\\nERR_NGROK_727",
}
TIME = "t=2026-11-22T10:00:00+0000"


class Api(BaseHTTPRequestHandler):
    """The part of the agent's API that pyngrok uses."""

    number, refusal, stage = 0, "", Path()

    def do_GET(self) -> None:
        self.reply(200, {"tunnels": [], "uri": "/api/tunnels"})

    def do_POST(self) -> None:
        asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        (self.stage / f"asked-{self.number}.json").write_text(json.dumps(asked))
        if self.refusal:
            details = {"err": ERRORS[self.refusal].encode().decode("unicode_escape")}
            self.reply(
                502, {"error_code": 103, "status_code": 502, "msg": "failed to start tunnel", "details": details}
            )
            return
        url = f"https://{asked.get('domain', f'random-{self.number}.ngrok-free.dev')}"
        tunnel = {"name": asked["name"], "uri": f"/api/tunnels/{asked['name']}", "public_url": url, "proto": "https"}
        self.reply(201, tunnel | {"config": {"addr": asked["addr"], "inspect": asked["inspect"]}, "metrics": {}})

    def do_DELETE(self) -> None:
        self.reply(204, None)

    def reply(self, status: int, value: object) -> None:
        body = b"" if value is None else json.dumps(value).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        return


def main(stage: Path, arguments: list[str]) -> int:
    number = len(list(stage.glob("launch-*.json"))) + 1
    os.mkfifo(stage / f"die-{number}")
    path = arguments[arguments.index("--config") + 1]
    record = {
        "arguments": arguments,
        "environment": dict(os.environ),
        "pid": os.getpid(),
        "files": {path: seen(Path(path))},
    }
    (stage / f"launch-{number}.json").write_text(json.dumps(record))
    config = json.loads(Path(path).read_text())
    plays = (stage / "plays").read_text().split()
    play, _, Api.refusal = plays[min(number, len(plays)) - 1].partition(":")
    Api.number, Api.stage = number, stage
    if play == "hang":
        (stage / f"die-{number}").open().read()
        return 1
    if play == "garbage":
        sys.stdout.buffer.write(b"\xff\xfe\x00\x80 garbage\n" * 9)
        return 3
    print(f'{TIME} lvl=info msg="open config file" path={path} err=nil', flush=True)
    if play in ERRORS:
        error = ERRORS[play].replace("{token}", config["authtoken"])
        print(f'{TIME} lvl=eror msg="failed to reconnect session" obj=tunnels.session err="{error}"', flush=True)
        print(f'{TIME} lvl=crit msg="command failed" err="{error}"', flush=True)
        return 1
    host, _, port = config["web_addr"].partition(":")
    server = ThreadingHTTPServer((host, int(port)), Api)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    print(f'{TIME} lvl=info msg="starting web service" obj=web addr={host}:{port} allow_hosts=[]', flush=True)
    print(f'{TIME} lvl=info msg="client session established" obj=tunnels.session', flush=True)
    print(f'{TIME} lvl=info msg="tunnel session started" obj=tunnels.session', flush=True)
    (stage / f"die-{number}").open().read()
    os._exit(1)


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]), sys.argv[2:]))
