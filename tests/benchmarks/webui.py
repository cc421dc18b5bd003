"""The web UI behind the lock: time from the launch to the first picture, and what the proxy costs beside a direct connection.

    python tests/benchmarks/webui.py [--requests 400] [--pictures 30] [--model tiny]

The studio is launched with the model and asked for one picture by its API. For the proxy a small server answers `{}` and a
PNG of 10 MB from memory, directly and through the proxy, taking turns over kept connections; medians. A third row limits the
client to 1 Gbit/s, which no tunnel reaches: what people on the other side can notice.
"""

from __future__ import annotations

import argparse
import base64
import http.client
import json
import statistics
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT), str(ROOT / "tests")]
PICTURE_BYTES = 10_000_000
GIGABIT_BYTES_S = 125e6


class Client:
    """A kept connection to a port; login: of the proxy."""

    def __init__(self, port: int, login: str = "") -> None:
        self._connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
        self._headers = {"Authorization": "Basic " + base64.b64encode(login.encode()).decode()} if login else {}

    def seconds(self, path: str, bytes_s: float = float("inf")) -> tuple[float, int]:
        """(seconds from the request to the last byte, bytes); bytes_s: no more is read in a second."""
        began, size = time.perf_counter(), 0
        self._connection.request("GET", path, headers=self._headers)
        answer = self._connection.getresponse()
        assert answer.status == 200, (path, answer.status)
        while chunk := answer.read(1 << 16):
            size += len(chunk)
            ahead = size / bytes_s - (time.perf_counter() - began)
            if ahead > 0.002:
                time.sleep(ahead)
        return time.perf_counter() - began, size


def in_turn(clients: dict[str, Client], path: str, times: int, bytes_s: float = float("inf")) -> dict[str, list[float]]:
    """Seconds of each request by client, the clients taking turns; the first of each is left out."""
    found: dict[str, list[float]] = {name: [] for name in clients}
    for number in range(times + 1):
        for name, client in clients.items():
            seconds, size = client.seconds(path, bytes_s)
            assert "png" not in path or size >= PICTURE_BYTES
            if number:
                found[name].append(seconds)
    return found


def proxy_costs(requests: int, pictures: int) -> None:
    """Measure the proxy beside a direct connection and print it."""
    from stand_in_server import server

    from fsd.webui.lock.process import start_proxy
    from fsd.webui.supervisor import Supervisor

    with tempfile.TemporaryDirectory() as folder:
        proxy = start_proxy("benchmark")
        ports: list[int | None] = []
        upstream = Supervisor(lambda port: server("ready", port, Path(folder)), Path(folder) / "it.log", ports.append)
        try:
            upstream.start()
            assert ports[0]
            proxy.set_upstream(ports[0])
            clients = {"direct": Client(ports[0]), "proxy": Client(proxy.port, f"{proxy.user}:{proxy.password}")}
            small = in_turn(clients, "/internal/ping", requests)
            path = f"/stand-in/png?bytes={PICTURE_BYTES}"
            large = in_turn(clients, path, pictures)
            limited = in_turn(clients, path, max(3, pictures // 3), GIGABIT_BYTES_S)
        finally:
            upstream.stop()
            proxy.stop()
    direct, through = (statistics.median(small[name]) * 1000 for name in clients)
    p95 = statistics.quantiles(small["proxy"], n=20)[-1] * 1000 - statistics.quantiles(small["direct"], n=20)[-1] * 1000
    print(
        f"| a small answer, median | {direct:.2f} ms | {through:.2f} ms | {through - direct:+.2f} ms (p95 {p95:+.2f}) |"
    )
    for title, found in (("a PNG of 10 MB, as fast as it goes", large), ("the same at 1 Gbit/s", limited)):
        direct, through = (PICTURE_BYTES / 1e6 / statistics.median(found[name]) for name in clients)
        print(f"| {title} | {direct:.0f} MB/s | {through:.0f} MB/s | {through / direct:.0%} |")


def first_picture(model: str) -> None:
    """Launch the studio, ask for a picture and print how long each took."""
    from fsd.serving import launch_webui

    with tempfile.TemporaryDirectory() as folder:
        began = time.perf_counter()
        with launch_webui(model, tunnel="none", ui="studio", root=folder) as ui:
            ready = time.perf_counter() - began
            login = base64.b64encode(f"{ui.user}:{ui.password}".encode()).decode()
            connection = http.client.HTTPConnection(*ui.url.removeprefix("http://").split(":"), timeout=600)  # type: ignore[arg-type]
            body = json.dumps({"prompt": "a photo of a dog", "steps": 20, "seed": 1})
            headers = {"Authorization": f"Basic {login}", "Content-Type": "application/json"}
            times = []
            for _ in range(2):
                connection.request("POST", "/sdapi/v1/txt2img", body, headers)
                answer = connection.getresponse()
                content = json.loads(answer.read())
                assert answer.status == 200, content
                assert base64.b64decode(content["images"][0]).startswith(b"\x89PNG")
                times.append(time.perf_counter() - began)
    print(
        f"\nlaunch to ready {ready:.1f} s, to the first picture {times[0]:.1f} s, the next one {times[1] - times[0]:.1f} s"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--requests", type=int, default=400)
    parser.add_argument("--pictures", type=int, default=30)
    parser.add_argument("--model", default="tiny")
    options = parser.parse_args()
    from fsd.runtime import report

    report.to_standard_error()
    print("| | direct | through the lock | |\n|---|---|---|---|")
    proxy_costs(options.requests, options.pictures)
    first_picture(options.model)


if __name__ == "__main__":
    main()
