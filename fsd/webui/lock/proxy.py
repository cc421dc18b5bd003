"""The proxy in front of the web UI, as a child process: everything that leaves the machine passes here.

Standard input brings its settings and what changes later, one JSON object a line; each is answered by one with the same
"number" on standard output. It ends when standard input does: with its parent.
"""

from __future__ import annotations

import asyncio
import json
import logging
import os
import resource
import sys
from contextlib import suppress
from typing import Any

from aiohttp import web, web_response

from fsd.errors import FsdError, MachineError
from fsd.webui.lock.door import Door
from fsd.webui.lock.guard import Guard
from fsd.webui.lock.patience import PatientServer

_SERVER: dict[str, Any] = {
    "access_log": None,
    "auto_decompress": False,
    "keepalive_timeout": 75,
    "lingering_time": 3.0,
    "read_bufsize": 2**18,
}
_PARENT_CHECK_S = 1.0


async def serve() -> None:
    """Serve until told to stop or left alone."""
    lines = await _standard_input()
    settings = json.loads(await lines.readline() or "{}")
    if not settings:
        return
    number = settings["number"]
    guard = Guard(settings["user"], bytes.fromhex(settings["password_sha256"]))
    door = Door(guard, settings["title"], settings["mark"])
    runner = web.ServerRunner(PatientServer(door.answer, handler_cancellation=True, **_SERVER), shutdown_timeout=1.0)
    await runner.setup()
    try:
        site = web.TCPSite(runner, "127.0.0.1", settings["port"], backlog=512)
        await site.start()
    except OSError as fault:
        hint = "choose another port, or 0 for any free one"
        taken = MachineError(f"port {settings['port']} of this machine cannot be used: {fault.strerror}", hint)
        _say(number, taken.to_json())
        return
    guard.port = runner.addresses[0][1]
    _say(number, {"port": guard.port})
    try:
        await _obey(lines, door)
    finally:
        await door.close()
        await runner.cleanup()


async def _obey(lines: asyncio.StreamReader, door: Door) -> None:
    """Take messages until standard input ends or the parent is another process than at the start."""
    parent = os.getppid()
    reading = asyncio.create_task(lines.readline())
    try:
        while os.getppid() == parent:
            await asyncio.wait([reading], timeout=_PARENT_CHECK_S)
            if not reading.done():
                continue
            line = reading.result()
            if not line:
                return
            message = json.loads(line)
            _say(message.pop("number"), _take(message, door))
            reading = asyncio.create_task(lines.readline())
    finally:
        reading.cancel()


def _take(message: dict[str, Any], door: Door) -> dict[str, Any]:
    """Carry out one message: {"upstream": port or null}, {"token_sha256": hex} or {"public": url}."""
    try:
        match message:
            case {"upstream": int() | None as port}:
                door.port = port
            case {"token_sha256": str(digest)}:
                door.guard.add_token(bytes.fromhex(digest))
            case {"public": str(url)}:
                door.guard.add_public(url)
            case _:
                raise MachineError(f"the proxy knows no message with {', '.join(message)}", "report it")
    except FsdError as fault:
        return fault.to_json()
    return {"done": True}


async def _standard_input() -> asyncio.StreamReader:
    reader = asyncio.StreamReader()
    await asyncio.get_running_loop().connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    return reader


def _say(number: int, answer: dict[str, Any]) -> None:
    with suppress(BrokenPipeError):
        print(json.dumps({"number": number} | answer), flush=True)


def _open_many() -> None:
    """Let this process hold as many connections as the system allows: strangers can open some for nothing."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    with suppress(OSError, ValueError):
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))


if __name__ == "__main__":
    logging.disable(logging.CRITICAL)  # a server's log names paths, and an error's log what was sent
    web_response.SERVER_SOFTWARE = "fsd"  # aiohttp's own answers would name its version, and Python's
    _open_many()
    with suppress(KeyboardInterrupt):
        asyncio.run(serve())
