"""What a one-shot run shows while it runs and prints when it ends: text, JSON, or a Nagios plugin's line."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING, Final

from mailprobe.cli import verdicts, waterfall
from mailprobe.cli.explain import Explanation, explain, place
from mailprobe.cli.verdicts import Status
from mailprobe.cli.waterfall import Line, Paper
from mailprobe.clock import Clock
from mailprobe.errors import ProbeFailure, Stage, plain_text
from mailprobe.events import (
    AttemptBegun,
    AttemptEnded,
    CanaryOpened,
    DotSent,
    Event,
    Judged,
    MailboxDown,
    MailboxUp,
    QuotaSeen,
)
from mailprobe.model import Canary, Outcome, StageTime
from mailprobe.observe.history import Record
from mailprobe.observe.wording import seconds_text, verdict_words
from mailprobe.plan import Plan

if TYPE_CHECKING:
    from mailprobe.cli.oneshot import Outcomes

INTERRUPTED: Final = "interrupted: waiting up to 3 s for what was sent, to remove it; once more ends at once"
_NEARLY_FULL: Final = 0.9
"""Share of a mailbox's quota from which on it is worth a word where mail does not arrive."""


class Format(StrEnum):
    """How the results are written."""

    TEXT = "text"
    JSON = "json"
    NAGIOS = "nagios"

    @classmethod
    def chosen(cls, name: str | None) -> Format:
        """The one asked for, else text for people and JSON for programs."""
        return cls(name) if name else cls.TEXT if on_terminal() else cls.JSON


@dataclass(frozen=True, slots=True)
class Wanted:
    """How a run's results are to be shown. `timeout` and `warning` in seconds."""

    format: Format
    timeout: float
    warning: float | None = None
    transcript: bool = False


class Display:
    """Shows nothing while the run lasts; prints JSON or the Nagios line at its end."""

    def __init__(self, wanted: Wanted, plan: Plan, clock: Clock) -> None:
        self.wanted = wanted
        self.plan = plan
        self.clock = clock
        self._down: dict[str, ProbeFailure] = {}
        self._quota: dict[str, float] = {}

    def event(self, event: Event) -> None:
        """Takes in what happens."""
        match event:
            case MailboxUp(mailbox):
                self._down.pop(mailbox, None)
            case MailboxDown(mailbox, _, failure):
                self._down[mailbox] = failure
            case QuotaSeen(mailbox, used):
                self._quota[mailbox] = used

    def stage_ended(self, canary: Canary, time: StageTime) -> None:
        """Takes in that a stage of a canary's attempt ended."""

    def interrupted(self) -> None:
        """Says that the run ends early."""
        print(INTERRUPTED, file=sys.stderr)  # noqa: T201

    def end(self, outcomes: Outcomes) -> Status:
        """Prints what the run came to; the exit status, also where nobody reads any more."""
        with _readers_may_leave():
            self.print(outcomes)
        if outcomes.interrupted:
            return Status.UNKNOWN
        return verdicts.worst(verdicts.status_of(record, self.wanted.warning) for record in outcomes.records)

    def print(self, outcomes: Outcomes) -> None:
        """Prints what the run came to."""
        if self.wanted.format is Format.NAGIOS:
            explained = [(record, self.explain(record)) for record in outcomes.records]
            wanted = self.wanted
            print(verdicts.nagios(explained, wanted.warning, wanted.timeout, interrupted=outcomes.interrupted))  # noqa: T201
        else:
            from mailprobe.observe.document import results_document

            document = results_document(outcomes.records, self.clock, self.wanted.transcript)
            print(json.dumps(document, indent=2, ensure_ascii=True))  # noqa: T201
            self._complain(outcomes)

    def explain(self, record: Record) -> Explanation:
        """What a canary came to, in words."""
        mailbox = record.canary.mailbox
        said = explain(record, self.plan.routes[record.canary.route], self.wanted.warning, self._down.get(mailbox))
        used = self._quota.get(mailbox, 0.0)
        if used < _NEARLY_FULL or record.verdict is None or record.verdict.outcome is not Outcome.OVERDUE:
            return said
        return Explanation(said.verdict, said.facts, f"The mailbox is {used:.0%} full. {said.advice}".strip())

    def _complain(self, outcomes: Outcomes) -> None:
        """Programs read the document; the people who look into their logs get a sentence about what is not well."""
        for record in outcomes.records:
            if verdicts.status_of(record, self.wanted.warning) is not Status.OK:
                print(f"{record.canary.route}: {self.explain(record)}", file=sys.stderr)  # noqa: T201


@dataclass(slots=True)
class _Progress:
    """How far a canary is."""

    canary: Canary
    begun: float
    stages: dict[Stage, StageTime] = field(default_factory=dict)
    attempt: int = 0
    dot_sent: float | None = None
    said: str = ""
    retry_at: float | None = None


class TextDisplay(Display):
    """Text; on a terminal the stages appear as they happen."""

    def __init__(self, wanted: Wanted, plan: Plan, clock: Clock) -> None:
        super().__init__(wanted, plan, clock)
        self._progress: dict[str, _Progress] = {}
        self._judged: dict[str, Line] = {}
        self._notes: dict[str, str] = dict.fromkeys(self.plan.mailboxes, "logging in")

    @property
    def paper(self) -> Paper:
        """What is written on, as wide as it is at the moment."""
        return Paper.of(_encoding())

    def event(self, event: Event) -> None:
        super().event(event)
        match event:
            case MailboxUp(mailbox):
                self._notes.pop(mailbox, None)
            case MailboxDown(mailbox, _, failure):
                self._notes[mailbox] = plain_text(str(failure))
            case CanaryOpened(canary):
                self._progress[canary.id] = _Progress(canary, self.clock.now())
            case AttemptBegun(canary, number):
                self._progress[canary.id] = _Progress(canary, self.clock.now(), attempt=number)
            case DotSent(canary, _, at) if canary.id in self._progress:
                self._progress[canary.id].dot_sent = at
            case AttemptEnded(canary, attempt, retry_at) if canary.id in self._progress and retry_at is not None:
                reply = attempt.last_reply
                self._progress[canary.id].retry_at = retry_at
                self._progress[canary.id].said = str(reply.reply) if reply else str(attempt.reason)
            case Judged(verdict):
                self._progress.pop(verdict.canary.id, None)
                said = f"{verdict.canary.route}: {verdict_words(verdict)}"
                self._judged[verdict.canary.id] = Line(plain_text(said), waterfall.style_of(verdict))

    def stage_ended(self, canary: Canary, time: StageTime) -> None:
        if canary.id in self._progress:
            self._progress[canary.id].stages[time.stage] = time

    def now(self) -> Iterator[Line]:
        """What is going on, as lines."""
        paper = self.paper
        # copies: another thread draws, and the loop's goes on
        for line in [*self._judged.values()]:
            yield Line(paper.cut(line.text), line.style)
        for mailbox, note in [*self._notes.items()]:
            where = place(mailbox, self.plan.mailboxes[mailbox].endpoint)
            yield Line(paper.cut(f"mailbox {where}: {note}"), "dim")
        for progress in [*self._progress.values()]:
            yield from waterfall.head(self.plan.routes[progress.canary.route], paper)
            yield from waterfall.stages([*progress.stages.values()], paper)
            yield Line(paper.cut(f"  {self._doing(progress)}"), "dim")

    def _doing(self, progress: _Progress) -> str:
        now = self.clock.now()
        if progress.retry_at is not None:
            wait = max(0.0, progress.retry_at - now)
            return f"attempt {progress.attempt + 1} in {wait:.0f} s; attempt {progress.attempt}: {progress.said}"
        if progress.dot_sent is None:
            return f"attempt {progress.attempt}, {seconds_text(now - progress.begun)}"
        return f"on its way, {seconds_text(now - progress.dot_sent)}"

    def print(self, outcomes: Outcomes) -> None:
        for line in self.result(outcomes):
            self.write(line)

    def result(self, outcomes: Outcomes) -> Iterator[Line]:
        """What the run came to, as lines."""
        for number, record in enumerate(outcomes.records):
            if number:
                yield Line("")
            yield from self._record(record)
        if len(outcomes.records) > 1:
            yield Line("")
            yield from waterfall.overview([(record, self.explain(record)) for record in outcomes.records], self.paper)
        if outcomes.interrupted and not outcomes.records:
            yield Line("interrupted; nothing was sent", "magenta")

    def write(self, line: Line) -> None:
        """Prints a line."""
        print(line.text)  # noqa: T201

    def _record(self, record: Record) -> Iterator[Line]:
        paper = self.paper
        yield from waterfall.head(self.plan.routes[record.canary.route], paper)
        yield from waterfall.way(record, paper)
        progress = self._progress.get(record.canary.id)
        if progress and progress.attempt > len(record.attempts):  # given up in the middle of it
            yield from waterfall.stages([*progress.stages.values()], paper)
        yield from waterfall.summary(record, self.explain(record), paper)
        if self.wanted.transcript:
            yield from _transcript(record)


def on_terminal() -> bool:
    """Whether standard output is there, and a person looks at it."""
    return sys.stdout is not None and sys.stdout.isatty()


@contextmanager
def show(wanted: Wanted, plan: Plan, clock: Clock) -> Iterator[Display]:
    """The display for a format, and for what standard output is."""
    if sys.stdout is not None and hasattr(sys.stdout, "reconfigure"):
        sys.stdout.reconfigure(errors="replace")  # a server's words in a terminal that cannot show them
    if wanted.format is not Format.TEXT:
        yield Display(wanted, plan, clock)
    elif not on_terminal() or os.environ.get("TERM", "") in ("", "dumb", "unknown"):
        yield TextDisplay(wanted, plan, clock)
    else:
        from mailprobe.cli.live import LiveDisplay

        with LiveDisplay(wanted, plan, clock) as display:
            yield display


@contextmanager
def _readers_may_leave() -> Iterator[None]:
    """`| head`, a pager that was left: no error, and none when Python flushes at its end."""
    try:
        yield
        if sys.stdout is not None:
            sys.stdout.flush()
    except BrokenPipeError:
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, sys.stdout.fileno())
        os.close(nowhere)


def _transcript(record: Record) -> Iterator[Line]:
    for attempt in record.attempts:
        yield Line(f"  transcript of attempt {attempt.number}", "dim")
        for line in attempt.transcript:
            yield Line(f"  {line.seconds:8.3f} {line.direction} {line.text}", "dim")


def _encoding() -> str | None:
    return sys.stdout.encoding if sys.stdout is not None else None
