"""What the studio says while it works and when something is wrong: one clear sentence, never a traceback."""

from __future__ import annotations

import functools
import html
import inspect
import traceback
from collections.abc import Callable, Iterator
from typing import Any

import gradio as gr

from fsd.errors import FsdError, MachineError


def sentence(fault: FsdError) -> str:
    """An error in one sentence: what failed, and what to do."""
    return f"{fault.message}: {fault.hint}" if fault.hint else fault.message


def shown(fault: FsdError) -> gr.Error:
    """The error as the page shows it; the page reads it as HTML, so that nothing in it may be any."""
    return gr.Error(html.escape(sentence(fault), quote=False), duration=15, print_exception=False)


def foreseen(fault: Exception) -> FsdError:
    """The error itself if it is one of ours; of another one the traceback goes to the log, and this says so."""
    if isinstance(fault, FsdError):
        return fault
    traceback.print_exception(fault)
    return MachineError(f"this failed in a way that nobody foresaw ({type(fault).__name__})", "the log says more")


def careful(work: Callable[..., Any]) -> Callable[..., Any]:
    """What the page calls, so that whatever goes wrong in it is shown in one sentence."""

    @functools.wraps(work)
    def once(*values: Any) -> Any:
        try:
            return work(*values)
        except gr.Error:
            raise
        except Exception as fault:
            raise shown(foreseen(fault)) from None

    @functools.wraps(work)
    def again(*values: Any) -> Iterator[Any]:
        try:
            yield from work(*values)
        except gr.Error:
            raise
        except Exception as fault:
            raise shown(foreseen(fault)) from None

    return again if inspect.isgeneratorfunction(work) else once


def asker(request: gr.Request, tab: str) -> str:
    """Whose job it is, for the engine: the page's in the browser, by its tab."""
    return f"{tab} {request.session_hash}"


def bar(said: str = "", done: int = 0, total: int = 0, fault: FsdError | None = None) -> str:
    """The line above the pictures, as HTML: how far it is, what is said, or what went wrong."""
    if fault:
        return f"<div id='bar' role='alert'><span class='fault'>{html.escape(sentence(fault))}</span></div>"
    progress = f"<progress max='{total}' value='{done}'></progress>" if total else ""
    text = said or (f"step {done} of {total}" if total else "")
    return f"<div id='bar' role='status'>{progress}<span class='said'>{html.escape(text)}</span></div>"
