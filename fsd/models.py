"""Verbs about models, with or without a session: what can be trained, where it comes from, what a file is, and its form."""

from __future__ import annotations
