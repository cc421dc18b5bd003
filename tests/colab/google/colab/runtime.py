"""Functionality for working with the Colab runtime."""

import os
from urllib.error import HTTPError
from urllib.request import ProxyHandler, Request, build_opener

from google.colab import errors, output

__all__ = ["unassign"]


def unassign():
    """Instruct Colab to unassign the currently assigned runtime."""
    address = os.environ.get("TBE_RUNTIME_ADDR")
    if not address:
        raise errors.RuntimeManagementError("Unable to find the runtime management service.")
    try:
        asked = Request(f"http://{address}/unassign", data=b"", method="POST")
        build_opener(ProxyHandler({})).open(asked, timeout=10).close()
    except HTTPError as refused:
        raise errors.RuntimeManagementError("Unable to request VM unassignment.") from refused
    output.eval_js("google.colab.kernel.disconnect();", ignore_result=True)
