"""`fsd VERB` as a process, which can be stopped from its first moment on; what it does is in `calling`."""

from __future__ import annotations

import os
import sys

from fsd.runtime import stopping


def main(arguments: list[str] | None = None) -> int:
    """Run one verb and return the exit code: 0 done, 1 failed with a message, 2 wrong usage, 130 or 143 stopped.

    arguments: default: this process's own, which is then set up to be stopped at any moment.
    """
    if arguments is None:
        stopping.leaving(_say_stopped)
    from fsd.calling import answer

    if arguments is not None:
        return answer(arguments)
    try:
        stopping.raising()
        code = answer(sys.argv[1:])
        stopping.leaving()
    except stopping.Stopped:  # while the last word was being said
        _say_stopped()
        return stopping.exit_code()
    return code


def _say_stopped() -> None:
    """The one line, and the one object, of what was stopped before it could do anything."""
    os.write(2, b"fsd: stopped; run the same command to go on\n")
    if "--json" in sys.argv:
        os.write(1, b'{"code": "interrupted", "error": "stopped", "hint": "run the same command to go on"}\n')


if __name__ == "__main__":
    sys.exit(main())
