"""`mailprobe drill`: plays an outage against mail servers in this process, and says when the agent knew what."""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import shutil
import sys
from collections.abc import AsyncIterator, Iterator
from datetime import UTC, datetime, timedelta
from itertools import zip_longest
from textwrap import wrap
from typing import Final

import click

from mailprobe.cli.drill_findings import Findings, Knowledge, Word
from mailprobe.cli.drilling import LEAD_IN, ROUTES, Settings, nobody_watching
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
from mailprobe.model import Cause, Incident, RouteState

SPEED: Final = 60.0
_WIDEST: Final = 120
"""Columns used of a wide terminal; 80 where there is none, or as many as COLUMNS says."""
_TIME: Final = 10
_NAME: Final = 24
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
@click.option(
    "--routes", type=click.IntRange(1, 20), default=ROUTES, show_default=True, help="Routes that may be struck."
)
def drill(outage: str, speed: float, format_: str, seed: int, routes: int) -> None:
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
    settings = Settings(speed, seed, lead_in=LEAD_IN, routes=routes)
    as_json = format_ == "json"
    with runner() as loop:
        if not as_json:
            say(head(played, settings))
        knowledge, truth = loop.run(
            play(played, settings, nobody_watching if as_json else Telling(played).while_playing)
        )
    findings = Findings.of(played, speed, settings.interval, knowledge, truth)
    if as_json:
        click.echo(json.dumps(findings.document(), indent=2))
    else:
        say(summary(findings, truth))
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
            if isinstance(word, IncidentOpened):  # what it is from the beginning is no news
                self._said.add(_now(word.incident))
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
            bad = state in (RouteState.DEGRADED, RouteState.FAILING)
            why = f", {100 * share:.0f} % of the last canaries: {_cause(cause)}" if bad else ""
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
            return _now(incident)
        case IncidentClosed(incident):
            return f"{incident.route}: the incident is closed"


def _now(incident: Incident) -> str:
    return f"{incident.route}: the incident is now {incident.state}"


def _cause(cause: Cause) -> str:
    code = " ".join(str(part) for part in (cause.code, cause.enhanced_code) if part is not None)
    return " at ".join(part for part in (code or cause.reason or "", cause.stage or "") if part)


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
    return f"{share}{per} {effect}{only}"


def _assumed(phase: Phase) -> str:
    return " (its limits are assumed)" if phase.assumed else ""


def head(outage: Outage, settings: Settings) -> Iterator[str]:
    begun = datetime.fromtimestamp(outage.zero_wall, UTC)
    minutes = (outage.played + settings.lead_in) / settings.speed / MINUTE
    yield from wrap(f"{outage.id}: {outage.title}", _columns())
    yield f"from {begun:%Y-%m-%d %H:%M} UTC, at {settings.speed:g} times its speed: about {minutes:.1f} minutes"
    yield f"a canary every {settings.interval:g} s on each route; time-outs of {settings.timeout * settings.speed:g} s"
    yield ""
    yield from _row("h:mm:ss", "what happens", "what mailprobe knows")


def summary(findings: Findings, truth: Truth) -> Iterator[str]:
    sign, acknowledged = findings.first_sign, findings.outage.acknowledged
    noted: list[tuple[str, float | None, str]] = [
        ("first sign", sign[0] if sign else None, _cause(sign[1]) if sign else ""),
        ("degraded", findings.degraded, ""),
        ("incident opened", findings.opened, ""),
        ("failing", findings.failing, ""),
    ]
    yield ""
    yield from _fact("first canary affected", _when(findings.first_affected))
    for name, at, what in noted:
        yield from _fact(name, _when(at), _beside(at, acknowledged.seconds), what)
    yield from _fact("recovering", _when(findings.recovering))
    yield from _fact("recovered", _when(findings.recovered))
    if acknowledged.seconds is None:
        yield from _fact(_VENDOR, "at an hour that is not known")
    else:
        yield from _fact(_VENDOR, _when(acknowledged.seconds), acknowledged.where)
        if findings.known is not None:
            yield from _fact("mailprobe knew", _beside(findings.known, acknowledged.seconds))
    yield from _fact(
        "canaries", ", ".join(f"{count} {outcome}" for outcome, count in sorted(findings.canaries.items()))
    )
    for incident in findings.incidents:
        end = _clock(incident.end) if incident.end is not None else "open"
        what = f"{incident.state}: {_cause(incident.cause)}"
        yield from _fact("incident", f"{incident.route} {_clock(incident.begin)} - {end}, {what}")
    for effect, count in truth.counts.most_common():
        yield from _fact("struck", f"{count} times {_words(effect).strip()}")


def _when(seconds: float | None) -> str:
    return "never" if seconds is None else _clock(seconds)


def _beside(at: float | None, vendor: float | None) -> str:
    """How long before the vendor's word something was known."""
    if at is None or vendor is None:
        return ""
    return f"{_clock(abs(vendor - at))} {'before' if at <= vendor else 'after'} {_VENDOR}"


def _fact(name: str, *parts: str) -> Iterator[str]:
    text = "  ".join(part for part in parts if part)
    hanging = " " * (_NAME + 2)
    lines = wrap(text, _columns(), initial_indent=f"{name:>{_NAME}}  ", subsequent_indent=hanging)
    return iter(lines)


def _line(at: float, truth: str, known: str) -> None:
    say(_row(_clock(at), truth, known))


def _row(time: str, truth: str, known: str) -> Iterator[str]:
    """A line of the time line: in two columns, on as many lines as they need."""
    left = (_columns() - _TIME - 4) * 2 // 5
    right = _columns() - _TIME - 4 - left
    indent = " " * (len(truth) - len(truth.lstrip()))
    cells = (
        wrap(truth.strip(), left, initial_indent=indent, subsequent_indent=f"{indent}  ", break_on_hyphens=False),
        wrap(known, right, subsequent_indent="  ", break_on_hyphens=False),
    )
    for number, (fact, knowledge) in enumerate(zip_longest(*cells, fillvalue="")):
        yield f"{'' if number else time:>{_TIME}}  {fact:<{left}}  {knowledge}".rstrip()


def _columns() -> int:
    return max(60, min(shutil.get_terminal_size().columns, _WIDEST))


def say(lines: Iterator[str] | list[str]) -> None:
    for line in lines:
        click.echo(line)


def _clock(seconds: float) -> str:
    return f"{'-' if seconds <= -0.5 else ''}{timedelta(seconds=round(abs(seconds)))}"
