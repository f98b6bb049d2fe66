"""RSS 2.0, RDF and Atom: what was posted, and when. Neither says how bad it is or when it is over.

So a post counts as an incident that goes on for `OPEN_SECONDS` after its last date, and never as more than degraded;
a `<status>` of Microsoft's own is believed. Nothing is read out of words. Entities and DTDs are refused.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final
from xml.parsers import expat

from mailprobe.errors import plain_text
from mailprobe.feeds.parse.bounded import INCIDENTS, TITLE, FeedError, earliest, mail_time_of
from mailprobe.vendor import VendorIncident, VendorReport, VendorState

OPEN_SECONDS: Final = 86400.0
DEPTH: Final = 50
_TEXT: Final = 2000
"""Characters that are kept of one element."""
_ROOTS: Final = ("rss", "RDF", "feed")
_ITEMS: Final = ("item", "entry")
_POSTED: Final = ("published", "issued", "created", "pubDate", "date")
_DATES: Final = (*_POSTED, "updated", "modified", "lastBuildDate")
_ATTRIBUTES: Final = {"link": "href", "category": "term"}
"""What Atom says in an attribute, and RSS as a text."""
_REPEATED: Final = 20
_FIELDS: Final = frozenset((*_DATES, "title", "guid", "id", "link", "category", "status"))
_STATUS: Final = {
    "available": VendorState.OK,
    "operational": VendorState.OK,
    "servicerestored": VendorState.OK,
    "serviceinterruption": VendorState.OUTAGE,
}

Fields = dict[str, list[str]]


def parse(content: bytes, services: frozenset[str]) -> VendorReport:
    """The posts whose title or category has one of these words (casefolded; none: all). Raises FeedError."""
    found = (_incident(fields) for fields in _Reader().read(content) if _concerns(fields, services))
    return VendorReport(tuple(incident for incident in found if incident.id))


def _concerns(fields: Fields, services: frozenset[str]) -> bool:
    words = " ".join((*fields.get("title", ()), *fields.get("category", ()))).casefold()
    return not services or any(service in words for service in services)


def _incident(fields: Fields) -> VendorIncident:
    posted = earliest(mail_time_of(text) for name in _POSTED for text in fields.get(name, ()))
    dates = [time for name in _DATES for text in fields.get(name, ()) if (time := mail_time_of(text)) is not None]
    known = next((text for name in ("guid", "id", "link", "title") for text in fields.get(name, ()) if text), "")
    status = next(iter(fields.get("status", ())), "")
    return VendorIncident(
        id=plain_text(known, TITLE),
        title=plain_text(next(iter(fields.get("title", ())), ""), TITLE),
        state=_STATUS.get(status.casefold(), VendorState.DEGRADED),
        posted=posted if posted is not None else earliest(dates),
        resolved=max(dates) + OPEN_SECONDS if dates else 0.0,
    )


class _Reader:
    """One pass of expat over a document; keeps the texts of the elements that matter, nothing else."""

    def __init__(self) -> None:
        self._found: list[Fields] = []
        self._open: list[str] = []
        self._item: Fields | None = None
        self._item_depth = 0
        self._text: list[str] = []
        self._length = 0

    def read(self, content: bytes) -> Iterator[Fields]:
        """The items. Raises FeedError."""
        parser = expat.ParserCreate()
        parser.StartDoctypeDeclHandler = _refuse
        parser.EntityDeclHandler = _refuse
        parser.StartElementHandler = self._start
        parser.EndElementHandler = self._end
        parser.CharacterDataHandler = self._characters
        try:
            parser.Parse(content, True)
        except expat.ExpatError as error:
            raise FeedError(f"not XML: {expat.errors.messages.get(error.code, 'malformed')}") from None
        except (LookupError, ValueError):  # an encoding that Python does not have, or that is none of text
            raise FeedError("XML in an encoding that is not known") from None
        return iter(self._found)

    def _start(self, name: str, attributes: dict[str, str]) -> None:
        name = name.rpartition(":")[2]
        if not self._open and name not in _ROOTS:
            html = name.casefold() == "html"
            raise FeedError("HTML where RSS was expected" if html else "XML that is neither RSS nor Atom")
        self._open.append(name)
        if len(self._open) > DEPTH:
            raise FeedError("XML that is nested too deeply")
        if name in _ITEMS and self._item is None and len(self._found) < INCIDENTS:
            self._item, self._item_depth = {}, len(self._open)
        elif self._item is not None and (said := attributes.get(_ATTRIBUTES.get(name, ""))):
            self._keep(name, said)
        self._text.clear()
        self._length = 0

    def _characters(self, text: str) -> None:
        if self._item is not None and self._length < _TEXT:
            self._text.append(text[:_TEXT])
            self._length += len(text)

    def _end(self, name: str) -> None:
        depth, name = len(self._open), self._open.pop()
        if self._item is None:
            return
        if depth == self._item_depth:
            self._found.append(self._item)
            self._item = None
        elif depth == self._item_depth + 1 and name in _FIELDS:
            self._keep(name, "".join(self._text))
        self._text.clear()
        self._length = 0

    def _keep(self, name: str, text: str) -> None:
        assert self._item is not None
        texts = self._item.setdefault(name, [])
        if len(texts) < _REPEATED:
            texts.append(text.strip()[:_TEXT])


def _refuse(*_: object) -> None:
    raise FeedError("XML with a DTD, which no feed needs")
