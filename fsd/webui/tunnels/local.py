"""No tunnel, and Colab's own port proxy: nothing is started and no stranger gets there."""

from __future__ import annotations

import threading

from fsd.runtime import colab
from fsd.webui.tunnels.tunnel import Opener, Tunnel


def no_tunnel(port: int, address: str) -> Opener:
    """The address on this machine."""
    return lambda over: Tunnel(f"http://127.0.0.1:{port}")


def colab_proxy(port: int, address: str) -> Opener:
    """The address at which Colab shows the port to its user; asked for once, as only the open page knows it."""
    url = colab.proxied_url(port)

    def open_it(over: threading.Event) -> Tunnel:
        return Tunnel(url)

    return open_it
