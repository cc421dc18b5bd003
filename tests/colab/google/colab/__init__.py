"""A stand-in for `google.colab`: the signatures, messages and errors of the real package, without a browser.

Put the folder above `google/` on PYTHONPATH. What the browser would answer is in `_message.replies`. Facts follow
googlecolab/colabtools at 3c07d77; the names in the real package's `__all__` that fsd does not use are left out.
"""

from google.colab import auth, drive, files, output, runtime, userdata

__all__ = ["auth", "drive", "files", "output", "runtime", "userdata"]
__version__ = "0.0.1a2"
