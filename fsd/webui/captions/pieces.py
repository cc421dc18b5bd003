"""The widgets that the editor is made of: those of ipywidgets 7.7, with classes for the style."""

from __future__ import annotations

from typing import Any

import ipywidgets as widgets


def classed(widget: Any, *names: str) -> Any:
    """The widget, with CSS classes."""
    for name in names:
        widget.add_class(name)
    return widget


def button(label: str, tooltip: str = "", *classes: str) -> Any:
    """A button with a word on it."""
    return classed(widgets.Button(description=label, tooltip=tooltip or label), *classes)


def field(placeholder: str, width: str = "220px", *classes: str) -> Any:
    """A line to write in, heard of when it is left or Enter is pressed."""
    layout = widgets.Layout(width=width, margin="0")
    return classed(widgets.Text(placeholder=placeholder, continuous_update=False, layout=layout), *classes)


def label(text: str) -> Any:
    """The name of a row of tools."""
    return classed(widgets.HTML(f"<span>{text}</span>"), "fsd-label")


def row(*parts: Any) -> Any:
    """Widgets side by side, which wrap where there is no room."""
    return classed(widgets.HBox(list(parts)), "fsd-row")


def shown(widget: Any, visible: bool) -> None:
    """Show a widget or take it out of the page."""
    widget.layout.display = "" if visible else "none"
