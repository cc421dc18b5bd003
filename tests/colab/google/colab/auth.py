"""Signing in to Google, which the Drive API needs."""

import os

from google.colab import _message, errors

__all__ = ["authenticate_user"]


def authenticate_user(clear_output=True, project_id=None):
    """Ensures that the given user is authenticated."""
    if os.environ.get("VERTEX_PRODUCT") == "COLAB_ENTERPRISE":
        print("WARNING: google.colab.auth.authenticate_user() is not supported in Colab Enterprise.")
        return
    if _message.blocking_request("request_auth", {"authType": "auth_user_ephemeral"}, None) is None:
        raise errors.AuthorizationError("Failed to fetch user credentials")
