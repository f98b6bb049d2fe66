"""Reads an outage file; says all that is wrong with it at once, each with its line.

A player reads `id`, `title`, `acknowledged` and `replay`; keys beside these are for people and not looked at. Inside
`replay` an unknown key would be an effect that is silently not played, and is an error.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping
from datetime import datetime
from enum import StrEnum
from pathlib import Path
from typing import Any, Final, TypeVar

from mailprobe.config.document import Document, read_document
from mailprobe.config.problems import KeyPath, did_you_mean, dotted, shown
from mailprobe.errors import ConfigurationError
from mailprobe.lab.outage import (
    GOES_TOGETHER,
    MINUTE,
    RESPONSE_CODES,
    SMTP_SAYS,
    Acknowledged,
    At,
    Do,
    Effect,
    Label,
    Outage,
    Per,
    Phase,
    Skip,
    Through,
)

Word = TypeVar("Word", bound=StrEnum)

_ID: Final = re.compile(r"[a-z0-9-]{1,100}")
_SMTP_CODE: Final = re.compile(r"[0-9]{3}(?![^ \n-])")
_CERTIFICATES: Final = ("expired", "untrusted", "name")
_REPLAY_KEYS: Final = ("zero", "through", "phases", "skip", "note")
_PHASE_KEYS: Final = ("label", "from", "to", "effects", "assumed")
_EFFECT_KEYS: Final = ("at", "fraction", "per", "only", "do", "reply", "seconds", "assumed", "why")
_SAYING: Final = (Do.REPLY, Do.BOUNCE, Do.CERT)
_LASTING: Final = (Do.DELAY, Do.STALL, Do.BOUNCE)
_BY_MESSAGE: Final = (At.QUEUE, At.MAILBOX)


def read(path: Path) -> Outage:
    """The outage in a file. Raises ConfigurationError."""
    reader = _Reader(path, read_document(path))
    outage = reader.outage()
    if outage is None or reader.problems:
        raise ConfigurationError(*reader.in_order())
    return outage


class _Reader:
    """Takes a document apart, and goes on where something is wrong, so that everything is said at once."""

    def __init__(self, path: Path, document: Document) -> None:
        self.problems: list[tuple[tuple[int, int], str]] = []
        self._path = path
        self._document = document
        for problem in document.problems:
            self._note(problem.at if isinstance(problem.at, tuple) else (0, 0), problem.text)

    def in_order(self) -> Iterable[str]:
        """The problems as lines, in the order of the file."""
        for (line, column), text in dict.fromkeys(sorted(self.problems)):
            yield f"{self._path}:{line}:{column}: {text}" if line else f"{self._path}: {text}"

    def outage(self) -> Outage | None:
        """The outage, as far as it can be read; None where nothing can."""
        data = self._document.data
        if not isinstance(data, dict):
            if not self.problems:
                self._wrong((), "an outage is a mapping with id, title, acknowledged and replay")
            return None
        self._require((), data, ("id", "title", "acknowledged", "replay"))
        id = self._text((), data, "id")
        if id and not _ID.fullmatch(id):
            self._wrong(("id",), "an id has lower-case letters, digits and dashes only")
        replay = self._mapping((), data, "replay", _REPLAY_KEYS)
        if replay is None:
            return None
        here: KeyPath = ("replay",)
        self._require(here, replay, ("zero", "through", "phases"))
        phases = self._phases(replay)
        return Outage(
            id=id or "",
            title=self._text((), data, "title") or "",
            acknowledged=self._acknowledged(data),
            zero_wall=self._zero(replay),
            through=self._word(here, replay, "through", Through) or Through.MX,
            phases=phases,
            skips=self._skips(replay, phases),
            note=self._text(here, replay, "note") or "",
        )

    def _acknowledged(self, data: Mapping[str, Any]) -> Acknowledged:
        said = data.get("acknowledged")
        if said is None:
            return Acknowledged(None)
        if not isinstance(said, dict):
            self._wrong(("acknowledged",), "takes a mapping with at, minutes and where, or null")
            return Acknowledged(None)
        here = ("acknowledged",)
        minutes = None if said.get("minutes") is None else self._number(here, said, "minutes")
        return Acknowledged(None if minutes is None else minutes * MINUTE, self._text(here, said, "where") or "")

    def _zero(self, replay: Mapping[str, Any]) -> float:
        said = self._text(("replay",), replay, "zero")
        if said is None:
            return 0.0
        try:
            moment = datetime.fromisoformat(said)
        except ValueError:
            moment = None
        if moment is None or moment.tzinfo is None:
            self._wrong(("replay", "zero"), "takes a time in UTC such as 2026-01-22T19:00:00Z")
            return 0.0
        return moment.timestamp()

    # ---- phases and skips

    def _phases(self, replay: Mapping[str, Any]) -> tuple[Phase, ...]:
        phases = [self._phase(("replay", "phases", i), item) for i, item in self._items(replay, "phases")]
        if "phases" in replay and not phases:
            self._wrong(("replay", "phases"), "at least one phase is needed")
        due = 0.0
        for i, phase in enumerate(phases):
            if phase is None:
                return ()
            self._follows(("replay", "phases", i, "from"), phase.begin, due)
            due = phase.end
        if phases and phases[-1] and phases[-1].label is not Label.RECOVERED:
            self._wrong(("replay", "phases", len(phases) - 1, "label"), "the last phase is to be recovered")
        return tuple(phase for phase in phases if phase)

    def _follows(self, path: KeyPath, begin: float, due: float) -> None:
        if begin == due:
            return
        minutes = f"{due / MINUTE:g}"
        if due == 0:
            self._wrong(path, "the first phase begins at 0")
        elif begin > due:
            self._wrong(path, f"leaves a gap: the phase before ends at {minutes}")
        else:
            self._wrong(path, f"overlaps: the phase before ends at {minutes}")

    def _phase(self, here: KeyPath, item: Any) -> Phase | None:
        if not self._known(here, item, _PHASE_KEYS, "a phase"):
            return None
        self._require(here, item, ("label", "from", "to", "effects"))
        label = self._word(here, item, "label", Label)
        begin, end = self._number(here, item, "from"), self._number(here, item, "to")
        effects = tuple(self._effect((*here, "effects", i), each) for i, each in self._items(item, "effects", here))
        self._shares(here, effects)
        if begin is None or end is None or label is None:
            return None
        if begin >= end:
            self._wrong((*here, "to"), f"the phase runs backwards: it begins at {begin:g}")
        assumed = self._flag(here, item)
        return Phase(label, begin * MINUTE, end * MINUTE, tuple(effect for effect in effects if effect), assumed)

    def _shares(self, here: KeyPath, effects: tuple[Effect | None, ...]) -> None:
        """Effects at one stage share a draw, and there is no more than everything."""
        sums: dict[At, float] = {}
        for i, effect in enumerate(effects):
            if effect is None:
                continue
            before = sums.get(effect.at, 0.0)
            sums[effect.at] = before + effect.fraction
            # a sum of decimal fractions may be a little above what it is on paper
            if before <= 1 + 1e-9 < sums[effect.at]:
                self._wrong((*here, "effects", i), f"the fractions at {effect.at} are more than 1 in this phase")

    def _skips(self, replay: Mapping[str, Any], phases: tuple[Phase, ...]) -> tuple[Skip, ...]:
        skips: list[Skip] = []
        for i, item in self._items(replay, "skip"):
            here: KeyPath = ("replay", "skip", i)
            if not self._known(here, item, ("from", "to"), "a skip"):
                continue
            self._require(here, item, ("from", "to"))
            begin, end = self._number(here, item, "from"), self._number(here, item, "to")
            if begin is None or end is None:
                continue
            skip = Skip(begin * MINUTE, end * MINUTE)
            if begin >= end:
                self._wrong(here, "the skip runs backwards")
            elif phases and not any(phase.begin <= skip.begin and skip.end <= phase.end for phase in phases):
                self._wrong(here, "the skip crosses the limit of a phase")
            elif any(skip.begin < other.end and other.begin < skip.end for other in skips):
                self._wrong(here, "the skip overlaps with another one")
            skips.append(skip)
        return tuple(sorted(skips, key=lambda skip: skip.begin))

    # ---- effects

    def _effect(self, here: KeyPath, item: Any) -> Effect | None:
        if not self._known(here, item, _EFFECT_KEYS, "an effect"):
            return None
        self._require(here, item, ("at", "do"))
        at, do = self._word(here, item, "at", At), self._word(here, item, "do", Do)
        if at and do and do not in GOES_TOGETHER[at]:
            possible = ", ".join(sorted(GOES_TOGETHER[at]))
            self._wrong((*here, "do"), f"{do} cannot happen at {at}; there is {possible}")
        usual = Per.MESSAGE if at in _BY_MESSAGE else Per.ATTEMPT
        per = self._word(here, item, "per", Per) if "per" in item else usual
        reply, seconds = self._text(here, item, "reply"), self._seconds(here, item, do)
        if at and do:
            self._reply(here, item, at, do, reply)
        fraction = self._fraction(here, item)
        if at is None or do is None or per is None:
            return None
        only, why = self._text(here, item, "only"), self._text(here, item, "why") or ""
        return Effect(at, do, fraction, per, only, reply, seconds, self._flag(here, item), why)

    def _fraction(self, here: KeyPath, item: Mapping[str, Any]) -> float:
        fraction = self._number(here, item, "fraction")
        if fraction is None:
            return 1.0 if "fraction" not in item else 0.0
        if not 0 < fraction <= 1:
            self._wrong((*here, "fraction"), "a fraction is above 0 and at most 1")
            return 0.0
        return fraction

    def _seconds(self, here: KeyPath, item: Mapping[str, Any], do: Do | None) -> float | None:
        if "seconds" in item and do and do not in _LASTING:
            self._wrong((*here, "seconds"), f"{do} takes no time; seconds go with {', '.join(_LASTING)}")
        return self._number(here, item, "seconds")

    def _reply(self, here: KeyPath, item: Mapping[str, Any], at: At, do: Do, reply: str | None) -> None:
        if do not in _SAYING:
            if "reply" in item:
                self._wrong((*here, "reply"), f"{do} says nothing; a reply goes with {', '.join(_SAYING)}")
            return
        path = (*here, "reply") if "reply" in item else here
        if not reply:
            if "reply" not in item or reply == "":
                self._wrong(path, f"{do} needs a reply")
        elif do is Do.CERT:
            if reply not in _CERTIFICATES:
                self._wrong(path, f"a certificate is {', '.join(_CERTIFICATES)}{did_you_mean(reply, _CERTIFICATES)}")
        elif at is At.DNS:
            if reply not in RESPONSE_CODES:
                self._wrong(path, f"at dns the reply is a response code: {', '.join(RESPONSE_CODES)}")
        elif at in SMTP_SAYS:
            if not _SMTP_CODE.match(reply):
                self._wrong(path, "an SMTP reply begins with a three-digit code")
        elif "\n" in reply.removesuffix("\n"):
            self._wrong(path, "an IMAP answer is one line")

    # ---- values

    def _items(self, mapping: Mapping[str, Any], key: str, above: KeyPath = ("replay",)) -> list[tuple[int, Any]]:
        value = mapping.get(key)
        if isinstance(value, list):
            return list(enumerate(value))
        if key in mapping:
            self._wrong((*above, key), "takes a list")
        return []

    def _mapping(self, above: KeyPath, data: Mapping[str, Any], key: str, keys: Iterable[str]) -> dict[str, Any] | None:
        value = data.get(key)
        if key not in data or not self._known((*above, key), value, keys, key):
            return None
        return value if isinstance(value, dict) else None

    def _known(self, here: KeyPath, value: Any, keys: Iterable[str], what: str) -> bool:
        """Whether it is a mapping; says which of its keys are none."""
        keys = tuple(keys)
        if not isinstance(value, dict):
            self._wrong(here, f"{what} is a mapping with {', '.join(keys)}")
            return False
        for key in value.keys() - set(keys):
            self._wrong((*here, key), f"unknown key{did_you_mean(key, keys)}")
        return True

    def _require(self, here: KeyPath, mapping: Mapping[str, Any], keys: Iterable[str]) -> None:
        for key in keys:
            if key not in mapping:
                self._wrong(here, f"{key} is missing")

    def _text(self, here: KeyPath, mapping: Mapping[str, Any], key: str) -> str | None:
        value = mapping.get(key)
        if value is None and (key not in mapping or key in ("note", "where")):
            return None
        if isinstance(value, str):
            return value
        if isinstance(value, int | float) and not isinstance(value, bool):
            return str(value)
        self._wrong((*here, key), "takes a text; put it in quotes")
        return None

    def _number(self, here: KeyPath, mapping: Mapping[str, Any], key: str) -> float | None:
        if key not in mapping:
            return None
        value = mapping[key]
        if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value) or value < 0:
            self._wrong((*here, key), "takes a number, finite and not negative")
            return None
        return float(value)

    def _flag(self, here: KeyPath, mapping: Mapping[str, Any]) -> bool:
        value = mapping.get("assumed", False)
        if not isinstance(value, bool):
            self._wrong((*here, "assumed"), "takes true or false")
        return value is True

    def _word(self, here: KeyPath, mapping: Mapping[str, Any], key: str, words: type[Word]) -> Word | None:
        if key not in mapping:
            return None
        value = mapping[key]
        if isinstance(value, str) and value in {*words}:
            return words(value)
        near = did_you_mean(str(value), words) if isinstance(value, str) else ""
        self._wrong((*here, key), f"{shown(str(value))!r} is none of {', '.join(words)}{near if '?' in near else ''}")
        return None

    def _wrong(self, path: KeyPath, text: str) -> None:
        place = None
        for length in range(len(path), -1, -1):
            place = self._document.place(path[:length])
            if place:
                break
        self._note(place or (1, 1), f"{dotted(path)}: {text}" if path else text)

    def _note(self, place: tuple[int, int], text: str) -> None:
        self.problems.append((place, text))
