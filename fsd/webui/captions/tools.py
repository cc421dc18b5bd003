"""What is done to all captions: find and replace, the words before each, and tags."""

from __future__ import annotations

from typing import Any

import ipywidgets as widgets

from fsd.data.caption_bulk import AT_ONCE, Changed
from fsd.webui.captions.pieces import button, classed, field, label, row, shown
from fsd.webui.captions.words import changed, counted

MOST_TAGS = 24


class Tools:
    """The panel above the photos."""

    def __init__(self, view: Any) -> None:
        self._view, self._tag, self._wanted = view, "", False
        self._find, self._replace = field("Find", "230px", "fsd-find"), field("Replace with", "230px", "fsd-replace")
        self._regex = widgets.Checkbox(description="regular expression", indent=False)
        self._count = widgets.HTML()
        go = self._button("Replace all", lambda: self._all(self._replaced), "fsd-primary")
        for asked in (self._find, self._regex):
            asked.observe(view.doing(self._counted, show=False), "value")
        self._prefix = field("Words before every caption", "468px", "fsd-prefix")
        add = self._button("Add to all", lambda: self._all(lambda: view.editor.add_prefix(self._prefix.value)))
        take = self._button("Remove from all", lambda: self._all(lambda: view.editor.remove_prefix(self._prefix.value)))
        self._tags = classed(widgets.HBox(), "fsd-row", "fsd-tags")
        self._count_tags = button("Count tags", "Read all captions and count what stands between commas")
        self._count_tags.on_click(self._ask_tags)
        self._drop = self._button("Drop", self._dropped)
        self.box = classed(
            widgets.VBox([
                row(label("Replace"), self._find, self._replace, self._regex, go, self._count),
                row(label("Prefix"), self._prefix, add, take),
                row(label("Tags"), self._count_tags, self._tags, self._drop),
            ]),
            "fsd-tools",
        )  # fmt: skip

    def show(self) -> None:
        """Show the common prefix and the tags anew, where that costs little or was asked for."""
        editor = self._view.editor
        few = len(editor.names()) <= AT_ONCE
        shown(self._count_tags, not few and not self._wanted)
        shown(self._drop, bool(self._tag))
        if few:
            common = editor.common_prefix()
            self._prefix.placeholder = f"All begin with: {common}" if common else "Words before every caption"
        if few or self._wanted:
            self._show_tags(editor.tags(MOST_TAGS))

    def _show_tags(self, tags: list[tuple[str, int]]) -> None:
        if self._tag not in dict(tags):
            self._choose("")
        made = []
        for tag, count in tags:
            made.append(button(f"{tag} · {count}", f"Show the photos with: {tag}", "fsd-tag"))
            made[-1].on_click(lambda _, tag=tag: self._pick(tag))
        self._tags.children = made

    def _ask_tags(self, _: Any) -> None:
        self._wanted = True
        self.show()

    def _pick(self, tag: str) -> None:
        """Show the photos with a tag, and offer to drop it; chosen again, show all."""
        self._choose("" if tag == self._tag else tag)
        self._view.filter(self._tag)

    def _choose(self, tag: str) -> None:
        self._tag, self._drop.description = tag, f"Drop “{tag}” everywhere"
        shown(self._drop, bool(tag))

    def _dropped(self) -> str:
        done = self._view.editor.drop_tag(self._tag)
        self._choose("")
        self._view.filter("")
        return changed(done)

    def _replaced(self) -> Changed:
        return self._view.editor.replace(self._find.value, self._replace.value, self._regex.value)

    def _counted(self) -> None:
        self._count.value = ""
        if self._find.value:
            found = self._view.editor.count(self._find.value, self._regex.value)
            self._count.value = f"<span class='fsd-quiet'>{counted(found)}</span>"

    def _all(self, work: Any) -> str:
        said = changed(work())
        self._counted()
        return said

    def _button(self, word: str, work: Any, *classes: str) -> Any:
        made = button(word, word, *classes)
        made.on_click(self._view.doing(work))
        return made
