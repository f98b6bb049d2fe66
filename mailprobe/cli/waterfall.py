"""A canary's way as text: a line for each stage, with its time, what was said, and a bar where it stood in the whole.

Pure: records in, lines out, as wide as they are asked to be. Colours are the terminal's business; each line names its
style.
"""

from __future__ import annotations

import textwrap
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from mailprobe.cli.explain import Explanation, place
from mailprobe.errors import Stage, plain_text
from mailprobe.model import Attempt, AttemptOutcome, Outcome, StageTime, Verdict
from mailprobe.observe.history import Record
from mailprobe.observe.wording import seconds_text
from mailprobe.plan import Route

WIDTH: Final = 80
"""Columns where there is no terminal."""
WIDEST: Final = 120
"""Columns used of a wide terminal: longer lines are hard to read."""
_BAR: Final = 24
_NAME: Final = 12
_TIME: Final = 9
_ROOM_FOR_BARS: Final = 60
"""Columns from which on there is room for bars."""

_STYLES: Final = {
    Outcome.DELIVERED: "green",
    Outcome.JUNKED: "yellow",
    Outcome.DEFERRED: "red",
    Outcome.REJECTED: "red",
    Outcome.UNSENT: "red",
    Outcome.BOUNCED: "red",
    Outcome.OVERDUE: "red",
    Outcome.UNOBSERVED: "magenta",
    Outcome.SKIPPED: "magenta",
}


@dataclass(frozen=True, slots=True)
class Line:
    """A line of output; `style` is a colour's name, empty for none."""

    text: str
    style: str = ""


@dataclass(frozen=True, slots=True)
class Paper:
    """What is written on: its width in columns, and the characters that it can show for bars."""

    width: int = WIDTH
    full: str = "━"
    dot: str = "·"

    @classmethod
    def of(cls, encoding: str | None, width: int = WIDTH) -> Paper:
        """A terminal or file with this encoding."""
        width = min(width, WIDEST)
        try:
            "━·".encode(encoding or "ascii")
        except (UnicodeEncodeError, LookupError):
            return cls(width, "=", ".")
        return cls(width)

    def cut(self, text: str) -> str:
        """The text, no longer than a line."""
        return text if len(text) <= self.width else text[: self.width - 3] + "..."

    def wrapped(self, text: str, indent: str, style: str = "", *, hanging: str | None = None) -> Iterator[Line]:
        """The text on as many lines as it needs; `hanging`: the indent of all but the first."""
        following = indent if hanging is None else hanging
        room = max(self.width, len(following) + 20)
        for line in textwrap.wrap(
            text, room, initial_indent=indent, subsequent_indent=following, break_on_hyphens=False
        ):
            yield Line(line, style)


def head(route: Route, paper: Paper) -> Iterator[Line]:
    """What stands above a canary's way."""
    sender = place(route.sender.name, route.sender.endpoint)
    mailbox = place(route.mailbox.name, route.mailbox.endpoint)
    return paper.wrapped(f"{route.name}: from {sender} to {mailbox}", "", "bold")


def way(record: Record, paper: Paper) -> Iterator[Line]:
    """The stages of a canary's last attempt and its way to the mailbox; of earlier attempts why they failed."""
    if not record.attempts:
        return
    *earlier, last = record.attempts
    for attempt in earlier:
        reply = attempt.last_reply
        said = reply.reply if reply and reply.stage == attempt.stage else attempt.detail or attempt.reason
        words = f"{_numbered(attempt, record)}: {attempt.outcome} at {attempt.stage}: {said}"
        yield from paper.wrapped(plain_text(words), "  ", "red", hanging="    ")
    if earlier:
        yield Line(f"  {_numbered(last, record)}", "dim")
    verdict = record.verdict
    transit = verdict.transit_seconds if verdict else None
    scale = _Scale(sum(time.seconds for time in last.stages) + (transit or 0.0), paper)
    yield from _attempt(last, scale, paper)
    if record.sighting and verdict:
        yield _transit(record.sighting.folder, verdict, scale, paper)


def stages(times: Sequence[StageTime], paper: Paper) -> Iterator[Line]:
    """The stages of an attempt that is not over yet."""
    scale = _Scale(sum(time.seconds for time in times), paper)
    for time in times:
        yield Line(_row(time.stage, seconds_text(time.seconds), scale.next(time.seconds), "", paper))


def overview(records: Sequence[tuple[Record, Explanation]], paper: Paper) -> Iterator[Line]:
    """A line for each of several canaries."""
    name = max(len(record.canary.route) for record, _ in records)
    for record, explanation in records:
        yield Line(paper.cut(f"{record.canary.route:<{name}}  {explanation.verdict}"), style_of(record.verdict))


def style_of(verdict: Verdict | None) -> str:
    """The colour of what a canary came to."""
    return _STYLES[verdict.outcome] if verdict else "magenta"


def summary(record: Record, explanation: Explanation, paper: Paper) -> Iterator[Line]:
    """What a canary came to, who said what, and what would be right."""
    style = style_of(record.verdict)
    yield from paper.wrapped(explanation.verdict, "  ", style)
    yield from paper.wrapped(explanation.facts, "    ", style)
    yield from paper.wrapped(explanation.advice, "    ")
    yield from paper.wrapped(_facts(record), "  ", "dim")


class _Scale:
    """Places each duration after the one before, on a bar as long as all of them."""

    def __init__(self, total: float, paper: Paper) -> None:
        self._total = total or 1.0
        self._paper = paper
        self._gone = 0.0

    def next(self, seconds: float) -> str:
        begin = round(self._gone / self._total * _BAR)
        self._gone = min(self._gone + seconds, self._total)
        end = round(self._gone / self._total * _BAR)
        mark = self._paper.full * (end - begin) or self._paper.dot
        return (" " * min(begin, _BAR - 1) + mark)[:_BAR]


def _numbered(attempt: Attempt, record: Record) -> str:
    after = attempt.begun - record.attempts[0].begun
    return f"attempt {attempt.number}" + (f", {seconds_text(after)} after the first" if after else "")


def _attempt(attempt: Attempt, scale: _Scale, paper: Paper) -> Iterator[Line]:
    refusals = {said.stage: str(said.reply) for said in attempt.replies if said.reply.is_refusal}
    for time in attempt.stages:
        failed = time.stage in refusals or time.stage == attempt.stage
        note = refusals.get(time.stage) or (str(attempt.reason) if failed else _note(time.stage, attempt))
        text = _row(time.stage, seconds_text(time.seconds), scale.next(time.seconds), note, paper)
        yield Line(text, "red" if failed else "")


def _note(stage: Stage, attempt: Attempt) -> str:
    if stage is Stage.CONNECT and attempt.peer:
        return f"{attempt.peer.address} port {attempt.peer.port}"
    if stage is Stage.TLS and attempt.tls:
        return attempt.tls.version
    if stage is Stage.END_OF_DATA and attempt.outcome is AttemptOutcome.ACCEPTED and attempt.queue_id:
        return f"queued as {attempt.queue_id}"
    return ""


def _transit(folder: str, verdict: Verdict, scale: _Scale, paper: Paper) -> Line:
    style = _STYLES[verdict.outcome] if verdict.outcome is not Outcome.DELIVERED else ""
    note = f"in {plain_text(folder)}"
    if verdict.transit_seconds is None:
        return Line(_row(Stage.TRANSIT, "unknown", "", note, paper), style)
    if verdict.upper_bound:
        note += ", at most so long"
    elif verdict.transit_error_seconds:
        note += f", to within {seconds_text(verdict.transit_error_seconds)}"
    taken = seconds_text(verdict.transit_seconds)
    return Line(_row(Stage.TRANSIT, taken, scale.next(verdict.transit_seconds), note, paper), style)


def _row(stage: Stage, taken: str, bar: str, note: str, paper: Paper) -> str:
    bar = f"  {bar:<{_BAR}}" if paper.width >= _ROOM_FOR_BARS else ""
    return paper.cut(f"  {stage:<{_NAME}}{taken:>{_TIME}}{bar}  {note}".rstrip())


def _facts(record: Record) -> str:
    facts = [f"canary {record.canary.id}"]
    tls = next((attempt.tls for attempt in reversed(record.attempts) if attempt.tls), None)
    if tls and tls.not_after:
        facts.append(f"certificate valid until {tls.not_after:%Y-%m-%d}" + ("" if tls.verified else ", NOT verified"))
    return "; ".join(facts)
