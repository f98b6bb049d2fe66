"""A canary's way as text: a line for each stage, with its time, what was said, and a bar where it stood in the whole.

Pure: records in, lines out, at most 80 columns. Colours are the terminal's business; each line names its style.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from mailprobe.errors import Stage, plain_text
from mailprobe.model import Attempt, AttemptOutcome, Outcome, StageTime, Verdict
from mailprobe.observe.history import Record

WIDTH: Final = 80
_BAR: Final = 24
_NAME: Final = 12
_TIME: Final = 9

STYLES: Final = {
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
class Bars:
    """The characters that bars are made of."""

    full: str = "━"
    dot: str = "·"

    @classmethod
    def for_encoding(cls, encoding: str | None) -> Bars:
        """What a terminal with this encoding can show."""
        try:
            "━·".encode(encoding or "ascii")
        except (UnicodeEncodeError, LookupError):
            return cls("=", ".")
        return cls()


def seconds_text(seconds: float) -> str:
    """A duration for people: `0.3 ms`, `214 ms`, `1.25 s`, `4 min 10 s`."""
    if seconds < 0.0995:
        return f"{seconds * 1e3:.1f} ms"
    if seconds < 0.9995:
        return f"{seconds * 1e3:.0f} ms"
    if seconds < 99.95:
        return f"{seconds:.2f} s" if seconds < 9.995 else f"{seconds:.1f} s"
    return f"{int(seconds) // 60} min {int(seconds) % 60} s"


def head(route: str, sender: str, mailbox: str, width: int = WIDTH) -> Line:
    """The line above a canary's way."""
    return Line(_cut(f"{route}: from {sender} to {mailbox}", width), "bold")


def way(record: Record, bars: Bars, width: int = WIDTH) -> Iterator[Line]:
    """All stages of a judged canary, and what it came to."""
    total = sum(time.seconds for attempt in record.attempts for time in attempt.stages)
    verdict = record.verdict
    total += (verdict.transit_seconds or 0.0) if verdict else 0.0
    scale = _Scale(total or 1.0, bars)
    for attempt in record.attempts:
        yield from _attempt(attempt, scale, width, numbered=len(record.attempts) > 1)
    if record.sighting and verdict:
        yield _transit(record, verdict, scale, width)
    yield from summary(record, width)


def stages(times: Sequence[StageTime], bars: Bars, width: int = WIDTH) -> Iterator[Line]:
    """The stages of an attempt that is not over yet."""
    scale = _Scale(sum(time.seconds for time in times) or 1.0, bars)
    for time in times:
        yield Line(_row(time.stage, time.seconds, scale.next(time.seconds), "", width))


def summary(record: Record, width: int = WIDTH) -> Iterator[Line]:
    """What a canary came to, in a line or two."""
    verdict = record.verdict
    if verdict is None:
        yield Line("  not judged: interrupted", "magenta")
        return
    style = STYLES[verdict.outcome]
    for text in _wrapped(_verdict_text(verdict, record), width - 2):
        yield Line(f"  {text}", style)
    facts = _facts(record)
    if facts:
        yield Line(_cut(f"  {facts}", width), "dim")


class _Scale:
    """Places each duration after the one before, on a bar as long as all of them."""

    def __init__(self, total: float, bars: Bars) -> None:
        self._total = total
        self._bars = bars
        self._gone = 0.0

    def next(self, seconds: float) -> str:
        begin = round(self._gone / self._total * _BAR)
        self._gone = min(self._gone + seconds, self._total)
        end = round(self._gone / self._total * _BAR)
        mark = self._bars.full * (end - begin) or self._bars.dot
        return (" " * min(begin, _BAR - 1) + mark)[:_BAR]


def _attempt(attempt: Attempt, scale: _Scale, width: int, *, numbered: bool) -> Iterator[Line]:
    if numbered:
        yield Line(f"  attempt {attempt.number}", "dim")
    said = {reply.stage: reply.reply for reply in attempt.replies}
    for time in attempt.stages:
        refused = time.stage in said and said[time.stage].is_refusal
        failed = time.stage == attempt.stage
        note = _note(time.stage, attempt)
        if refused:
            note = str(said[time.stage])
        elif failed:
            note = str(attempt.reason)
        text = _row(time.stage, time.seconds, scale.next(time.seconds), note, width)
        yield Line(text, "red" if refused or failed else "")


def _note(stage: Stage, attempt: Attempt) -> str:
    if stage is Stage.CONNECT and attempt.peer:
        return f"{attempt.peer.address} port {attempt.peer.port}"
    if stage is Stage.TLS and attempt.tls:
        return attempt.tls.version
    if stage is Stage.END_OF_DATA and attempt.outcome is AttemptOutcome.ACCEPTED and attempt.queue_id:
        return f"queued as {attempt.queue_id}"
    return ""


def _transit(record: Record, verdict: Verdict, scale: _Scale, width: int) -> Line:
    folder = plain_text(record.sighting.folder) if record.sighting else ""
    if verdict.transit_seconds is None:
        return Line(_cut(f"  {Stage.TRANSIT:<{_NAME}}{'unknown':>{_TIME}}  {' ' * _BAR}  {folder}", width))
    error = verdict.transit_error_seconds
    note = f"in {folder}" + (f", known to {seconds_text(error)}" if error else "")
    if verdict.upper_bound:
        note = f"in {folder}, at most this long"
    bar = scale.next(verdict.transit_seconds)
    style = STYLES[verdict.outcome] if verdict.outcome is not Outcome.DELIVERED else ""
    return Line(_row(Stage.TRANSIT, verdict.transit_seconds, bar, note, width), style)


def _row(stage: Stage, seconds: float, bar: str, note: str, width: int) -> str:
    return _cut(f"  {stage:<{_NAME}}{seconds_text(seconds):>{_TIME}}  {bar:<{_BAR}}  {note}".rstrip(), width)


def _verdict_text(verdict: Verdict, record: Record) -> str:
    words = str(verdict.outcome)
    if verdict.delivery_seconds is not None:
        words += f" in {seconds_text(verdict.delivery_seconds)}"
    if verdict.outcome is Outcome.JUNKED and record.sighting:
        words += f", in folder {record.sighting.folder}"
    if verdict.retried and verdict.outcome in (Outcome.DELIVERED, Outcome.JUNKED):
        words += f", at attempt {verdict.attempts}"
    if verdict.stage:
        words += f" at {verdict.stage}"
    if verdict.reason and verdict.reason != verdict.outcome.value:
        words += f": {verdict.reason}"
    told = str(verdict.reply.reply) if verdict.reply else verdict.detail
    return plain_text(f"{words}: {told}" if told else words)


def _facts(record: Record) -> str:
    facts = [f"canary {record.canary.id}"]
    tls = next((attempt.tls for attempt in reversed(record.attempts) if attempt.tls), None)
    if tls and tls.not_after:
        facts.append(f"certificate valid until {tls.not_after:%Y-%m-%d}" + ("" if tls.verified else ", NOT verified"))
    return "; ".join(facts)


def _wrapped(text: str, width: int) -> Iterable[str]:
    lines = [""]
    for word in text.split(" "):
        if lines[-1] and len(lines[-1]) + 1 + len(word) > width:
            lines.append("  " + word)
        else:
            lines[-1] = f"{lines[-1]} {word}" if lines[-1] else word
    return (_cut(line, width) for line in lines[:6])


def _cut(text: str, width: int) -> str:
    return text if len(text) <= width else text[: width - 1] + "…"
