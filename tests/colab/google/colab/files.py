"""Uploads and downloads without a browser."""

import os

from google.colab import _message

__all__ = ["download", "upload", "upload_file", "view"]


def upload_file(filename):
    """Upload local (to the browser) file to the kernel."""
    uploaded = _message.blocking_request("upload", {"multiple": False}, None)
    if not uploaded:
        raise ValueError("File has not been uploaded")
    if len(uploaded) > 1:
        raise ValueError("Multiple files received, please upload a single file")
    name, content = next(iter(uploaded.items()))
    with open(filename, "wb") as stream:
        stream.write(content)
    print(f"Saved {name} to {os.getcwd()}/{filename}")


def upload(target_dir=""):
    """Upload local (to the browser) files to the kernel; return {name as saved: content}."""
    uploaded = _message.blocking_request("upload", {"multiple": True}, None)
    if target_dir:
        os.makedirs(target_dir, exist_ok=True)
    saved = {}
    for name, content in uploaded.items():
        local = _unique(os.path.join(target_dir, name))
        print(f"Saving {name} to {local}")
        with open(local, "ab") as stream:
            stream.write(content)
        saved[local] = content
    return saved


def download(filename):
    """Downloads the file to the user's local disk via a browser download action."""
    if not os.path.exists(filename):
        raise FileNotFoundError(f"Cannot find file: {filename}")


def view(filepath):
    """Views a file in Colab's file viewer."""
    if not os.path.exists(filepath):
        raise FileNotFoundError(f"Cannot find file: {filepath}")


def _unique(name: str) -> str:
    free, counter = name, 1
    while os.path.lexists(free):
        stem, suffix = os.path.splitext(name)
        free, counter = f"{stem} ({counter}){suffix}", counter + 1
    return free
