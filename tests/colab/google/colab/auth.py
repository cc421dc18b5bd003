"""Signing in to Google, which the Drive API needs."""

from google.colab import _message, errors

__all__ = ["authenticate_user"]


def authenticate_user(clear_output=True):
    """Ensures that the given user is authenticated."""
    if _message.blocking_request("request_auth", {"authType": "auth_user_ephemeral"}, None) is None:
        raise errors.AuthorizationError("Failed to fetch user credentials")
