"""aiohttp's server with a limit to its patience: who opens a connection has to ask for something soon."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

from aiohttp import web

HEAD_S = 20.0
"""A connection whose first request has not come whole after so long is closed; later ones end with keep-alive's time."""


class PatientServer(web.Server):
    """Answers by a function, as `web.Server` does. settings: aiohttp's for a connection."""

    def __init__(self, answer: Callable[[web.BaseRequest], Awaitable[web.StreamResponse]], **settings: Any) -> None:
        self._silent: set[web.RequestHandler] = set()

        async def heard(request: web.BaseRequest) -> web.StreamResponse:
            self._silent.discard(request.protocol)
            return await answer(request)

        super().__init__(heard, **settings)

    def __call__(self) -> web.RequestHandler:
        """The protocol of a new connection."""
        connection = super().__call__()
        self._silent.add(connection)
        asyncio.get_running_loop().call_later(HEAD_S, self._give_up, connection)
        return connection

    def _give_up(self, connection: web.RequestHandler) -> None:
        if connection in self._silent:
            self._silent.discard(connection)
            connection.force_close()
