"""All captions of a session at once: read one after the other, changed in one step that one undo takes back."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from threading import RLock

from fsd.data.caption_history import change_captions
from fsd.data.caption_words import Change, common_prefix, replacing, tags, with_prefix, without_prefix, without_tag
from fsd.data.concept import photos_of
from fsd.data.folder import Session
from fsd.data.prompt import caption_files, read_caption
from fsd.errors import SessionError

AT_ONCE = 500
"""Of more photos, what needs every caption read is told when it is asked for."""


@dataclass
class Changed:
    """What was done to all captions. photos: whose are others now. places: how many there were. skipped: (name, why)."""

    photos: list[str] = field(default_factory=list)
    places: int = 0
    skipped: list[tuple[str, str]] = field(default_factory=list)


class AllCaptions:
    """The captions of a session. Only the photos' names are held."""

    def __init__(self, session: Session) -> None:
        self.session = session
        self._photos: dict[str, Path] = {}
        self._turn = RLock()
        self.refresh()

    def refresh(self) -> None:
        """See which photos there are now."""
        with self._turn:
            own, held = photos_of(self.session.instance_images), photos_of(self.session.held_out_images)
            self._photos = {path.name: path for path in (*own, *held)}

    def names(self, having: str = "") -> list[str]:
        """The photos whose name or caption has a text in it, whatever its case; all without one."""
        wanted = having.casefold()
        if not wanted:
            return list(self._photos)
        return [path.name for path, text, _ in self._texts() if wanted in f"{path.name}\n{text}".casefold()]

    def path(self, name: str) -> Path:
        """Where a photo is; SessionError when it is not in the session any more."""
        path = self._photos.get(name)
        if path is None or not path.is_file():
            raise SessionError(f"the photo {name!r} is no longer in session {self.session.name!r}", "open it again")
        return path

    def count(self, find: str, regex: bool = False) -> Changed:
        """In which captions, and in how many places, something is found."""
        return self._over_all(replacing(find, "", regex))

    def replace(self, find: str, replace: str, regex: bool = False) -> Changed:
        """Replace something in all captions, in one step; arguments as of `caption_words.replacing`."""
        return self._over_all(replacing(find, replace, regex), "replace")

    def common_prefix(self) -> str:
        """The words that all captions begin with."""
        return common_prefix(text for _, text, _ in self._texts() if text)

    def add_prefix(self, prefix: str) -> Changed:
        """Put words before every caption that does not begin with them."""
        return self._over_all(with_prefix(_words(prefix)), "prefix")

    def remove_prefix(self, prefix: str) -> Changed:
        """Take words off the beginning of every caption."""
        return self._over_all(without_prefix(_words(prefix)), "prefix")

    def tags(self, most: int = 0) -> list[tuple[str, int]]:
        """What stands between commas, with how many captions have it, the most frequent first."""
        counts: Counter[str] = Counter()
        for _, text, _ in self._texts():
            counts.update(set(tags(text)))
        return sorted(counts.items(), key=lambda pair: (-pair[1], pair[0]))[: most or None]

    def drop_tag(self, tag: str) -> Changed:
        """Take a tag out of all captions."""
        return self._over_all(without_tag(_words(tag)), "tag")

    def _over_all(self, change: Change, by: str = "") -> Changed:
        """Change every caption in one step, or without `by` only count. What cannot be read is skipped, and told."""
        with self._turn:
            done, new = Changed(), []
            for path, text, fault in self._texts():
                if fault:
                    done.skipped.append((path.name, fault))
                    continue
                after, places = change(text) if text else (text, 0)
                done.places += places
                if places:
                    done.photos.append(path.name)
                    new.append((path, after))
            if by and new:
                done.photos = change_captions(self.session, new, by)
        return done

    def _texts(self) -> Iterator[tuple[Path, str, str]]:
        """(photo, caption, what is wrong with it) of every photo, read one after the other."""
        for path in list(self._photos.values()):
            yield path, *self._text(path)

    def _text(self, path: Path) -> tuple[str, str]:
        """(caption, what is wrong with it) of a photo."""
        files = caption_files(self.session, path)
        try:
            return (read_caption(files[0].read_bytes(), files[0].name)[0] if files else ""), ""
        except (SessionError, OSError) as fault:
            return "", fault.message if isinstance(fault, SessionError) else str(fault)


def _words(text: str) -> str:
    if not (words := " ".join(text.split())):
        raise SessionError("there are no words", "write some")
    return words
