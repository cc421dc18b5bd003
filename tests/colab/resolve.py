"""Write resolved.json: what each profile would install on each recorded image of Colab, and what those packages require.

python tests/colab/resolve.py        (asks the registry, through uv and pip)

uv resolves for the image's Python and platform as of the locks' day, and keeps what the image has wherever that is possible
(its versions are given as an earlier answer, which uv prefers). torch is left out: the images' builds are not those of the
registry, and what they have is used. Only wheels count: nothing would be built.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
sys.path[:0] = [str(HERE.parent), str(HERE.parents[1]), str(HERE.parents[1] / "wheels" / "locks")]

from as_of import AS_OF, OPTIONS  # noqa: E402
from recorded_images import RESOLVED, Recorded, asked_for, images, profiles  # noqa: E402

PLATFORM = "manylinux_2_35"
NOT_RESOLVED = ("torch", "torchvision", "triton")


def resolve(image: Recorded, wanted: tuple[str, ...]) -> dict[str, str]:
    """Package -> version of everything that `wanted` needs on that image, whether it has it or not."""
    with tempfile.TemporaryDirectory() as folder:
        asked, answer, left_out = (Path(folder) / name for name in ("wanted.txt", "answer.txt", "left_out.txt"))
        asked.write_text("\n".join(wanted))
        left_out.write_text("\n".join(f'{name} ; python_version < "3"' for name in NOT_RESOLVED))
        has = [f"{name}=={version}" for name, version in image.packages.items() if "+" not in version]
        answer.write_text("\n".join(has))
        command = [
            *(sys.executable, "-m", "uv", "pip", "compile", "--quiet", "--no-config", "--no-header", "--no-annotate"),
            *("--only-binary", ":all:", "--python-version", image.python, "--python-platform", f"x86_64-{PLATFORM}"),
            *(*OPTIONS, "--overrides", str(left_out), "--output-file", str(answer), str(asked)),
        ]
        subprocess.run(command, check=True)
        return dict(re.findall(r"(?m)^([\w.-]+)==(\S+)", answer.read_text()))


def metadata(python: str, pins: list[str]) -> dict[str, Any]:
    """NAME==VERSION -> its Requires-Python and Requires-Dist."""
    platforms = [part for glibc in (*range(17, 36),) for part in ("--platform", f"manylinux_2_{glibc}_x86_64")]
    command = [
        *(sys.executable, "-m", "pip", "install", "--quiet", "--dry-run", "--no-deps", "--ignore-installed"),
        *("--only-binary", ":all:", "--python-version", python, *platforms, "--platform", "manylinux2014_x86_64"),
        *("--target", tempfile.gettempdir(), "--report", "-", *pins),
    ]
    report = json.loads(subprocess.run(command, check=True, capture_output=True).stdout)
    rows = [row["metadata"] for row in report["install"]]
    return {
        f"{re.sub(r'[-_.]+', '-', row['name']).lower()}=={row['version']}": {
            "python": row.get("requires_python", ""),
            "requires": [text for text in row.get("requires_dist", []) if "extra ==" not in text or _is_used(text)],
        }
        for row in rows
    }


def _is_used(requirement: str) -> bool:
    """Whether a requirement of an extra may matter: those for development only make the record long."""
    return not re.search(
        r"extra == ['\"](dev|test\w*|tests|docs?|quality|all|lint\w*|typing|torch|release)['\"]", requirement
    )


def main() -> None:
    """Resolve everything, and write it down."""
    record: dict[str, Any] = {
        "as_of": AS_OF,
        "asked_for": asked_for(),
        "images": {},
        "metadata": {},
    }
    for image in images():
        done: dict[frozenset[str], dict[str, str]] = {}
        for name, wanted in profiles().items():
            chosen = done.get(frozenset(wanted)) or resolve(image, wanted)
            done[frozenset(wanted)] = chosen
            record["images"].setdefault(image.name, {})[name] = chosen
            print(f"{image.name} {name}: {len(chosen)} packages", flush=True)
        every = {f"{name}=={version}" for chosen in done.values() for name, version in chosen.items()}
        while pins := {pin.partition("==")[0]: pin for pin in sorted(every - record["metadata"].keys())}:
            record["metadata"] |= metadata(image.python, list(pins.values()))  # pip takes one version of each at a time
    record["metadata"] = dict(sorted(record["metadata"].items()))
    RESOLVED.write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
