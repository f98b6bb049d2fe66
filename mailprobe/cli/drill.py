"""`mailprobe drill`: plays an outage against mail servers in this process, and says when the agent knew what."""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import sys
from collections.abc import AsyncIterator, Iterator
from datetime import UTC, datetime, timedelta
from textwrap import shorten
from typing import Final

import click

from mailprobe.cli.drill_findings import Findings, Knowledge, Word
from mailprobe.cli.drilling import LEAD_IN, Settings, nobody_watching
from mailprobe.cli.drilling import drill as play
from mailprobe.cli.loops import runner
from mailprobe.errors import ConfigurationError
from mailprobe.events import (
    IncidentChanged,
    IncidentClosed,
    IncidentOpened,
    MailboxDown,
    RouteStateChanged,
    SignSeen,
)
from mailprobe.lab.outage import MINUTE, Effect, Outage, Phase, find
from mailprobe.lab.pace import PacedClock
from mailprobe.lab.player import Truth
from mailprobe.model import Cause, RouteState

SPEED: Final = 60.0
_WIDTH: Final = 58
_BETWEEN: Final = 0.1
_VENDOR: Final = "the vendor's first word"


@click.command()
@click.argument("outage")
@click.option(
    "--speed",
    type=click.FloatRange(1, 3600),
    default=SPEED,
    show_default="60",
    help="Seconds of the outage in one second. Beyond 120, time-outs are longer than they should be.",
)
@click.option("--format", "format_", type=click.Choice(["text", "json"]), help="Default: text.", default="text")
@click.option(
    "--seed", type=int, default=1, show_default=True, help="Who is struck: the same again with the same seed."
)
def drill(outage: str, speed: float, format_: str, seed: int) -> None:
    """Play OUTAGE, an id of the catalogue or a file, and print when mailprobe knew what, beside the vendor's word.

    Exit status: 0 the outage was noticed; 2 it was not; 3 the file is bad.
    """
    try:
        played = find(outage)
    except ConfigurationError as error:
        for problem in error.problems:
            click.echo(problem, err=True)
        sys.exit(3)
    # each mailbox that goes down would be said here, and is said in the time line
    logging.getLogger("mailprobe").setLevel(logging.WARNING)
    settings = Settings(speed, seed, lead_in=LEAD_IN)
    as_json = format_ == "json"
    with runner() as loop:
        if not as_json:
            _say(_head(played, settings))
        knowledge, truth = loop.run(
            play(played, settings, nobody_watching if as_json else Telling(played).while_playing)
        )
    findings = Findings.of(played, speed, settings.interval, knowledge, truth)
    if as_json:
        click.echo(json.dumps(findings.document(), indent=2))
    else:
        _say(_summary(findings, truth))
    sys.exit(0 if findings.noticed else 2)


class Telling:
    """The time line, line by line as it comes about: on the left what is, on the right what mailprobe knows of it."""

    def __init__(self, outage: Outage) -> None:
        self._facts = sorted(_facts(outage), key=lambda fact: fact[0])
        self._told = 0
        self._said: set[str] = set()

    @contextlib.asynccontextmanager
    async def while_playing(self, knowledge: Knowledge, clock: PacedClock, truth: Truth) -> AsyncIterator[None]:
        """Tells as long as the block runs."""
        telling = asyncio.create_task(self._tell(knowledge, clock, truth))
        try:
            yield
        finally:
            telling.cancel()
            await asyncio.gather(telling, return_exceptions=True)
            self._say_news(knowledge, clock.now())

    async def _tell(self, knowledge: Knowledge, clock: PacedClock, truth: Truth) -> None:
        while True:
            await asyncio.sleep(_BETWEEN)
            self._say_news(knowledge, clock.now())

    def _say_news(self, knowledge: Knowledge, now: float) -> None:
        news = [(at, text, "") for at, text in self._facts if at <= now]
        del self._facts[: len(news)]
        for _, line in sorted(enumerate([*news, *self._known(knowledge)]), key=lambda item: (item[1][0], item[0])):
            _line(*line)

    def _known(self, knowledge: Knowledge) -> Iterator[tuple[float, str, str]]:
        words, self._told = knowledge.words[self._told :], len(knowledge.words)
        for word in words:
            text = _said(word)
            # a mailbox may go down a hundred times, and of an incident only what changed for people is news
            if not isinstance(word, MailboxDown | IncidentChanged) or text not in self._said:
                yield word.at, "", text
            self._said.add(text)


def _said(word: Word) -> str:
    """What the agent said, in a line."""
    match word:
        case SignSeen(route, _, _, cause):
            return f"{route}: a sign, {_cause(cause)}"
        case RouteStateChanged(route, _, state, _, cause, share):
            why = f", {share:.0%} of late {_cause(cause)}" if state in (RouteState.DEGRADED, RouteState.FAILING) else ""
            return f"{route}: {state.value.upper()}{why}"
        case MailboxDown(mailbox, _, failure):
            return f"mailbox {mailbox}: {failure.stage} {failure.reason} (told once)"
        case IncidentOpened(incident):
            return f"{incident.route}: an incident since {_clock(incident.begin)}, {_cause(incident.cause)}"
        case IncidentChanged(incident):
            if incident.end is not None:
                return f"{incident.route}: the incident is over since {_clock(incident.end)}"
            if incident.relapses:
                return f"{incident.route}: the incident is back (relapse {incident.relapses})"
            return f"{incident.route}: the incident is now {incident.state}"
        case IncidentClosed(incident):
            return f"{incident.route}: the incident is closed"


def _cause(cause: Cause) -> str:
    code = " ".join(str(part) for part in (cause.code, cause.enhanced_code) if part is not None)
    return " ".join(part for part in (cause.stage or "", code or cause.reason or "") if part)


def _facts(outage: Outage) -> Iterator[tuple[float, str]]:
    """The truth of an outage, as (seconds, words)."""
    for phase in outage.phases:
        yield phase.begin, f"{phase.label.value.upper()}{_assumed(phase)}"
        for effect in phase.effects:
            yield phase.begin, f"  {_words(effect)}"
    for skip in outage.skips:
        yield skip.begin, f"  (nothing new until {_clock(skip.end)}: passed over)"
    if outage.acknowledged.seconds is not None:
        yield outage.acknowledged.seconds, "THE VENDOR'S FIRST WORD"
    yield outage.end, "END"


def _words(effect: Effect) -> str:
    share = f"{effect.fraction:4.0%}"
    per = f" of each {effect.per}" if effect.per not in ("attempt", "message") else ""
    only = f" ({effect.only} only)" if effect.only else ""
    return f"{share}{per} {_short(str(effect))}{only}"


def _assumed(phase: Phase) -> str:
    return " (its limits are assumed)" if phase.assumed else ""


def _head(outage: Outage, settings: Settings) -> Iterator[str]:
    begun = datetime.fromtimestamp(outage.zero_wall, UTC)
    minutes = (outage.played + settings.lead_in) / settings.speed / MINUTE
    yield f"{outage.id}: {outage.title}"
    yield f"from {begun:%Y-%m-%d %H:%M} UTC, at {settings.speed:g} times its speed: about {minutes:.1f} minutes"
    yield f"one canary every {settings.interval:g} s; time-outs of {settings.timeout * settings.speed:g} s"
    yield ""
    yield f"{'h:mm:ss':>10}  {'what happens':<{_WIDTH}}  what mailprobe knows"


def _summary(findings: Findings, truth: Truth) -> Iterator[str]:
    sign = findings.first_sign
    yield ""
    yield from _fact("first canary affected", findings.first_affected)
    yield from _fact("first sign", sign[0] if sign else None, _cause(sign[1]) if sign else "")
    yield from _fact("degraded", findings.degraded)
    yield from _fact("failing", findings.failing)
    yield from _fact("recovering", findings.recovering)
    yield from _fact("recovered", findings.recovered)
    acknowledged = findings.outage.acknowledged
    if acknowledged.seconds is None:
        yield f"{_VENDOR:>24}  at an hour that is not known"
    else:
        yield from _fact(_VENDOR, acknowledged.seconds, _short(acknowledged.where))
    if findings.lead is not None:
        yield f"{'mailprobe knew':>24}  {_clock(abs(findings.lead))} {'earlier' if findings.lead >= 0 else 'later'}"
    canaries = ", ".join(f"{count} {outcome}" for outcome, count in sorted(findings.canaries.items()))
    yield f"{'canaries':>24}  {canaries}"
    for incident in findings.incidents:
        end = _clock(incident.end) if incident.end is not None else "open"
        what = f"{incident.state}: {_cause(incident.cause)}"
        yield f"{'incident':>24}  {incident.route} {_clock(incident.begin)} - {end}, {what}"
    for effect, count in truth.counts.most_common():
        yield f"{'struck':>24}  {count} times {_words(effect).strip()}"


def _short(text: str) -> str:
    return shorten(text, _WIDTH, placeholder=" ...")


def _fact(name: str, seconds: float | None, more: str = "") -> Iterator[str]:
    yield f"{name:>24}  {'never' if seconds is None else _clock(seconds)}" + (f"  {more}" if more else "")


def _line(at: float, truth: str, known: str) -> None:
    _say([f"{_clock(at):>10}  {truth:<{_WIDTH}}  {known}".rstrip()])


def _say(lines: Iterator[str] | list[str]) -> None:
    for line in lines:
        click.echo(line)


def _clock(seconds: float) -> str:
    return f"{'-' if seconds <= -0.5 else ''}{timedelta(seconds=round(abs(seconds)))}"
