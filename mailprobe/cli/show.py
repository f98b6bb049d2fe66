"""What a one-shot run shows while it runs and prints when it ends: text, JSON, or a Nagios plugin's line."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING, Any

from mailprobe.cli import verdicts, waterfall
from mailprobe.cli.verdicts import Status
from mailprobe.cli.waterfall import Bars, Line, seconds_text
from mailprobe.clock import Clock
from mailprobe.errors import Stage, plain_text
from mailprobe.events import AttemptBegun, CanaryOpened, DotSent, Event, Judged, MailboxDown, MailboxUp
from mailprobe.model import Canary, StageTime
from mailprobe.observe.history import Record
from mailprobe.plan import Plan

if TYPE_CHECKING:
    from mailprobe.cli.oneshot import Outcomes


class Format(StrEnum):
    """How the results are written."""

    TEXT = "text"
    JSON = "json"
    NAGIOS = "nagios"

    @classmethod
    def chosen(cls, name: str | None) -> Format:
        """The one asked for, else text for people and JSON for programs."""
        return cls(name) if name else cls.TEXT if sys.stdout.isatty() else cls.JSON


class Display:
    """Shows nothing while the run lasts; prints JSON or the Nagios line at its end."""

    def __init__(
        self, format_: Format, plan: Plan, clock: Clock, timeout: float, warning: float | None, transcript: bool
    ) -> None:
        self.format = format_
        self.plan = plan
        self.clock = clock
        self.timeout = timeout
        self.warning = warning
        self.transcript = transcript

    def event(self, event: Event) -> None:
        """Takes in what happens."""

    def stage_ended(self, canary: Canary, time: StageTime) -> None:
        """Takes in that a stage of a canary's attempt ended."""

    def end(self, outcomes: Outcomes) -> Status:
        """Prints what the run came to; the exit status."""
        records = outcomes.records
        if self.format is Format.NAGIOS:
            print(verdicts.nagios(records, self.warning, self.timeout, interrupted=outcomes.interrupted))  # noqa: T201
        else:
            from mailprobe.observe.document import results_document

            document = results_document(records, self.clock, self.transcript)
            print(json.dumps(document, indent=2, ensure_ascii=True))  # noqa: T201
        return self.status(outcomes)

    def status(self, outcomes: Outcomes) -> Status:
        """The exit status of a run."""
        if outcomes.interrupted:
            return Status.UNKNOWN
        return verdicts.worst(verdicts.status_of(record, self.warning) for record in outcomes.records)


@dataclass(slots=True)
class _Progress:
    """How far a canary is."""

    canary: Canary
    begun: float
    stages: dict[Stage, StageTime] = field(default_factory=dict)
    attempt: int = 0
    dot_sent: float | None = None


class TextDisplay(Display):
    """Text; on a terminal the stages appear as they happen."""

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self.bars = Bars.for_encoding(sys.stdout.encoding)
        self._progress: dict[str, _Progress] = {}
        self._notes: dict[str, str] = dict.fromkeys(self.plan.mailboxes, "logging in")

    def event(self, event: Event) -> None:
        match event:
            case MailboxUp(mailbox):
                self._notes.pop(mailbox, None)
            case MailboxDown(mailbox, _, failure):
                self._notes[mailbox] = plain_text(str(failure))
            case CanaryOpened(canary):
                self._progress[canary.id] = _Progress(canary, self.clock.now())
            case AttemptBegun(canary, number):
                self._progress[canary.id].attempt = number
                self._progress[canary.id].stages.clear()
            case DotSent(canary, _, at):
                self._progress[canary.id].dot_sent = at
            case Judged(verdict):
                self._progress.pop(verdict.canary.id, None)

    def stage_ended(self, canary: Canary, time: StageTime) -> None:
        if canary.id in self._progress:
            self._progress[canary.id].stages[time.stage] = time

    def now(self) -> Iterator[Line]:
        """What is going on, as lines."""
        for mailbox, note in self._notes.items():
            yield Line(f"mailbox {mailbox}: {note}"[: waterfall.WIDTH], "dim")
        for progress in self._progress.values():
            yield waterfall.head(progress.canary.route, progress.canary.sender, progress.canary.mailbox)
            yield from waterfall.stages([*progress.stages.values()], self.bars)
            yield Line(f"  {self._doing(progress)}", "dim")

    def _doing(self, progress: _Progress) -> str:
        if progress.dot_sent is None:
            return f"attempt {progress.attempt}, {seconds_text(self.clock.now() - progress.begun)}"
        return f"on its way, {seconds_text(self.clock.now() - progress.dot_sent)}"

    def end(self, outcomes: Outcomes) -> Status:
        for line in self.result(outcomes):
            self.write(line)
        return self.status(outcomes)

    def result(self, outcomes: Outcomes) -> Iterator[Line]:
        """What the run came to, as lines."""
        for record in outcomes.records:
            yield from self._record(record)
        if outcomes.interrupted:
            yield Line("interrupted; what was sent and had arrived has been removed", "magenta")

    def write(self, line: Line) -> None:
        """Prints a line."""
        print(line.text)  # noqa: T201

    def _record(self, record: Record) -> Iterator[Line]:
        canary = record.canary
        yield waterfall.head(canary.route, canary.sender, canary.mailbox)
        yield from waterfall.way(record, self.bars)
        if self.transcript:
            for attempt in record.attempts:
                for line in attempt.transcript:
                    yield Line(f"  {line.seconds:8.3f} {line.direction} {line.text}", "dim")


@contextmanager
def show(
    format_: Format, plan: Plan, clock: Clock, *, timeout: float, warning: float | None, transcript: bool
) -> Iterator[Display]:
    """The display for a format, and for what standard output is."""
    if format_ is not Format.TEXT:
        yield Display(format_, plan, clock, timeout, warning, transcript)
    elif not sys.stdout.isatty():
        yield TextDisplay(format_, plan, clock, timeout, warning, transcript)
    else:
        from mailprobe.cli.live import LiveDisplay

        with LiveDisplay(format_, plan, clock, timeout, warning, transcript) as display:
            yield display
