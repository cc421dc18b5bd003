"""Functionality for working with the Colab runtime."""

import os

from google.colab import errors, output

__all__ = ["unassign"]


def unassign():
    """Instruct Colab to unassign the currently assigned runtime."""
    if not os.environ.get("TBE_RUNTIME_ADDR"):
        raise errors.RuntimeManagementError("Unable to find the runtime management service.")
    output.eval_js("google.colab.kernel.disconnect();", ignore_result=True)
