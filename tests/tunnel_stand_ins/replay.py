"""Stands in for a tunnel's program: replays a recorded log, then waits, or ends.

    python replay.py STAGE ARGUMENTS...

The folder STAGE names in its file "plays" one log for each launch, the last for all that follow. Each launch leaves what
it was given in launch-N.json. Lines of a log: "#stdout" and "#stderr" choose the stream; "#exit N" ends; "#wait" waits to
be told to die (by somebody who opens the pipe die-N); {n} is the launch, {KEY} a value from values.json, \\xNN a byte.
"""

import json
import os
import re
import stat
import sys
from pathlib import Path


def main(stage: Path, arguments: list[str]) -> int:
    number = len(list(stage.glob("launch-*.json"))) + 1
    os.mkfifo(stage / f"die-{number}")
    files = {argument: seen(Path(argument)) for argument in arguments if argument.startswith("/")}
    record = {"arguments": arguments, "environment": dict(os.environ), "pid": os.getpid(), "files": files}
    record["parent"] = Path(f"/proc/{os.getppid()}/cmdline").read_text().split("\0")
    unfinished = stage / f"launch-{number}.tmp"
    unfinished.write_text(json.dumps(record))
    unfinished.rename(stage / f"launch-{number}.json")
    plays = (stage / "plays").read_text().split()
    values = json.loads((stage / "values.json").read_text()) | {"n": number}
    return play(Path(__file__).with_name(plays[min(number, len(plays)) - 1]), values, stage / f"die-{number}")


def seen(path: Path) -> list:
    """A file's content and mode."""
    return [path.read_text(), stat.S_IMODE(path.stat().st_mode)] if path.is_file() else []


def play(log: Path, values: dict, die: Path) -> int:
    stream = sys.stdout.buffer
    for line in log.read_text().splitlines():
        order, _, value = line.partition(" ")
        if order in ("#stdout", "#stderr"):
            stream = sys.stdout.buffer if order == "#stdout" else sys.stderr.buffer
        elif order == "#exit":
            return int(value)
        elif order == "#wait":
            die.open().read()
            return 1
        else:
            for key, text in values.items():
                line = line.replace(f"{{{key}}}", str(text))
            raw = re.sub(rb"\\x([0-9a-f]{2})", lambda found: bytes.fromhex(found[1].decode()), line.encode())
            stream.write(raw + b"\n")
            stream.flush()
    return 0


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]), sys.argv[2:]))
