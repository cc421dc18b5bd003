"""A short way for large answers: from one socket's buffer to the other's, past the HTTP parser and its copies."""

from __future__ import annotations

import asyncio

import aiohttp
from aiohttp import hdrs, web

_BUFFER_BYTES = 2**18


async def pass_rest(answer: aiohttp.ClientResponse, request: web.BaseRequest, response: web.StreamResponse) -> bool:
    """Pass an answer's whole body on, its length being known; False, with nothing done, where that is not possible.

    ConnectionError when it breaks off. The upstream's connection is not used again.
    """
    connection = answer.connection
    source = connection.transport if connection else None
    if not isinstance(source, asyncio.Transport) or request.transport is None or answer.content_length is None:
        return False
    if hdrs.TRANSFER_ENCODING in answer.headers:
        return False
    # all that was read before, and what the parser gives out only once there is room
    begun = b"".join(iter(answer.content.read_nowait, b""))
    lane = _Lane(source, request.transport, answer.content_length - len(begun))
    before = source.get_protocol()
    source.set_protocol(lane)
    try:
        request.transport.write(begun)
        source.resume_reading()
        while lane.left:
            await lane.stopped.wait()
            await response.drain()
            lane.go_on()
    finally:
        source.set_protocol(before)
    return True


class _Lane(asyncio.BufferedProtocol):
    """Writes what comes from `source` to `sink`, and stops where that is slower. left: bytes still to come."""

    def __init__(self, source: asyncio.Transport, sink: asyncio.Transport, left: int) -> None:
        self._source, self._sink, self.left = source, sink, left
        self._buffer = bytearray(_BUFFER_BYTES)
        self._lost = False
        self.stopped = asyncio.Event()

    def get_buffer(self, sizehint: int) -> bytearray:
        """Where the next bytes go."""
        return self._buffer

    def buffer_updated(self, nbytes: int) -> None:
        """So many bytes came."""
        passed = min(nbytes, self.left)
        self.left -= passed
        self._sink.write(memoryview(self._buffer)[:passed])
        waiting = self._sink.get_write_buffer_size()
        if waiting:  # it may still hold a view of the buffer
            self._buffer = bytearray(_BUFFER_BYTES)
        if waiting > _BUFFER_BYTES or not self.left:
            self._source.pause_reading()
            self.stopped.set()

    def connection_lost(self, exc: Exception | None) -> None:
        """The upstream is gone."""
        self._lost = True
        self.stopped.set()

    def go_on(self) -> None:
        """Take more; ConnectionError when there is no more to come."""
        if self.left and self._lost:
            raise ConnectionResetError("the answer broke off")
        self.stopped.clear()
        if self.left:
            self._source.resume_reading()
