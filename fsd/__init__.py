"""fsd: ten photos become your own Stable Diffusion model. Importing it loads nothing heavy."""

import platform as _platform
import sys as _sys

__version__ = "0.1.0"

if _sys.version_info < (3, 11) or _sys.platform == "win32":  # said here: the next import would fail, and not say why
    raise SystemExit(
        f"fsd needs Python 3.11 or newer on Linux or macOS; this is Python {_platform.python_version()} on "
        f"{_platform.system()}\n  What to do: take a newer Python, on Windows one inside WSL"
    )
