"""`mailprobe check --connect`: a login at every server, without a message, and what each offers."""

from __future__ import annotations

import asyncio
import textwrap
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Final
from urllib.parse import urlsplit

from mailprobe.auth.mistakes import of_reply
from mailprobe.auth.tokens import TokenOf, Tokens
from mailprobe.cli.loops import runner
from mailprobe.clock import Clock, SystemClock
from mailprobe.errors import ProbeFailure, Reason, Stage, plain_text, stage_and_reason
from mailprobe.events import Event, VendorStatusSeen
from mailprobe.imap import Session, folders
from mailprobe.model import Attempt, SenderKind, TlsFacts
from mailprobe.net.resolve import Resolver
from mailprobe.observe.wording import peer_words
from mailprobe.plan import Mailbox, Plan, Sender, StatusFeed
from mailprobe.smtp.check import check_sender, offered
from mailprobe.vendor import VendorState

AT_ONCE: Final = 20
"""Connections at once: a configuration of a thousand servers is no flood."""
WITHIN: Final = 10.0
"""Seconds for a server: whoever asks sits at a prompt, whatever the agent may wait for."""
STEP: Final = 8.0
"""Seconds for one step, so that a server that falls silent is said with the step where it did."""
WIDTH: Final = 80
_LABEL: Final = 14
_SECURING: Final = (Stage.STARTTLS, Stage.TLS, Stage.EHLO)
"""Where an attempt that failed had heard what is offered in the clear alone."""

Facts = list[tuple[str, str]]
Progress = Callable[[int, int], object]
"""Told of how many servers, out of how many, have answered."""


@dataclass(frozen=True, slots=True)
class Report:
    """What one server said: a title, facts as (label, text), and whether all was well."""

    title: str
    facts: Facts
    good: bool

    def __str__(self) -> str:
        return "\n".join([f"{self.title}: {'good' if self.good else 'FAILED'}", *self._lines()])

    def _lines(self) -> Iterator[str]:
        for label, text in self.facts:
            yield from textwrap.wrap(
                plain_text(text, 2000) or "nothing",  # capabilities and folders are the server's own words
                WIDTH,
                initial_indent=f"  {label:{_LABEL - 2}}",
                subsequent_indent=" " * _LABEL,
                break_on_hyphens=False,
            )


def connect_all(plan: Plan, echo: Callable[[str], object], progress: Progress) -> bool:
    """Prints what every sender and mailbox of the plan says, in the plan's order; False if one failed."""
    with runner() as loop:
        return loop.run(_connect_all(plan, echo, progress))


async def _connect_all(plan: Plan, echo: Callable[[str], object], progress: Progress) -> bool:
    room, good, clock = asyncio.Semaphore(AT_ONCE), True, SystemClock()
    tokens = Tokens(clock, lambda event: None)
    # before any server, whose time it is not; what cannot be had is said by each that needs it
    await asyncio.gather(*(source.ready() for source in tokens.keep(plan.token_users()).values()))
    wanted = list(_reports(plan, clock, tokens.token_of))
    ended = 0

    async def in_turn(title: str, report: Awaitable[Report]) -> Report:
        nonlocal ended
        async with room:
            try:
                async with asyncio.timeout(WITHIN):
                    return await report
            except TimeoutError:
                return Report(title, [("failed", f"not done within {WITHIN:g} s")], good=False)
            finally:
                ended += 1
                progress(ended, len(wanted))

    progress(0, len(wanted))
    async with asyncio.TaskGroup() as group:
        for task in [group.create_task(in_turn(*each)) for each in wanted]:
            report = await task
            good = good and report.good
            echo(f"\n{report}")
    return good


def _reports(plan: Plan, clock: Clock, token_of: TokenOf) -> Iterator[tuple[str, Awaitable[Report]]]:
    for sender in plan.senders.values():
        routes = [route for route in plan.routes.values() if route.sender.name == sender.name]
        timeout = min(STEP, max(route.timeout for route in routes))
        # one conversation is enough for a submission service; the MX are those of each domain
        domains = {route.mailbox.address.rpartition("@")[2]: route.mailbox.address for route in routes}
        for address in domains.values() if sender.kind is SenderKind.MX else [routes[0].mailbox.address]:
            where = f"MX of {address.rpartition('@')[2]}" if sender.kind is SenderKind.MX else str(sender.endpoint)
            title = f"sender {sender.name}, {where}"
            yield title, _of_sender(title, sender, address, timeout, clock, token_of)
    for mailbox in plan.mailboxes.values():
        title = f"mailbox {mailbox.name}, {mailbox.endpoint}"
        yield title, _of_mailbox(title, replace(mailbox, timeout=min(STEP, mailbox.timeout)), clock, token_of)
    for feed in plan.feeds.values():
        title = f"status feed {feed.name}, {urlsplit(feed.url).hostname}"
        yield title, _of_feed(title, replace(feed, timeout=min(STEP, feed.timeout)), clock, token_of)


async def _of_sender(
    title: str, sender: Sender, recipient: str, timeout: float, clock: Clock, token_of: TokenOf
) -> Report:
    resolver = Resolver(sender.resolver)
    attempt = await check_sender(sender, recipient, timeout=timeout, clock=clock, resolver=resolver, token_of=token_of)
    facts: Facts = []
    if attempt.peer:
        facts.append(("address", peer_words(attempt.peer)))
    if attempt.tls:
        facts += _tls(attempt.tls)
    elif attempt.reason is None:
        facts.append(("tls", "none: everything is in the clear"))
    facts += _smtp_offers(attempt)
    if attempt.reason:
        facts.append(("failed", _failed(attempt.stage, attempt.reason, attempt.detail)))
        if attempt.last_reply and (means := of_reply(attempt.last_reply.reply)):
            facts.append(("means", means))
    elif sender.login:
        facts.append(("logged in", f"as {sender.login.username}"))
    return Report(title, facts, attempt.reason is None)


async def _of_mailbox(title: str, mailbox: Mailbox, clock: Clock, token_of: TokenOf) -> Report:
    facts: Facts = []
    good = True
    try:
        session = await Session.open(mailbox, clock=clock, resolver=Resolver(), token_of=token_of)
        try:
            facts += _tls(session.tls) if session.tls else [("tls", "none: everything is in the clear")]
            facts.append(("offers", ", ".join(sorted(session.capabilities))))
            facts.append(("logged in", f"as {mailbox.login.username}"))
            found = await session.folders()
            facts.append(("inbox", folders.find(mailbox.inbox, found)))
            facts.append(("junk", folders.junk(mailbox.junk, found) or "no such folder"))
            await session.close()
        finally:
            session.abort()
    except ProbeFailure as failure:
        good = False
        facts.append(("failed", _failed(failure.stage, failure.reason, failure.detail)))
    return Report(title, facts, good)


async def _of_feed(title: str, feed: StatusFeed, clock: Clock, token_of: TokenOf) -> Report:
    from mailprobe.feeds.poller import Poller  # where there is a feed

    seen: list[Event] = []
    await Poller(feed, clock, seen.append, Resolver(), token_of=token_of).poll()
    status = next(event.status for event in seen if isinstance(event, VendorStatusSeen))
    if status.state is VendorState.UNREACHABLE:
        return Report(title, [("failed", status.detail)], good=False)
    facts: Facts = [("says", f"{status.state}; {status.detail}" if status.detail else status.state)]
    facts += [("incident", each.title or each.id) for each in status.incidents if each.is_open(clock.wall())]
    return Report(title, facts, good=True)


def _tls(tls: TlsFacts) -> Facts:
    certificate = f"{tls.subject}, from {tls.issuer}"
    if tls.not_after:
        days = (tls.not_after - datetime.now(UTC)).days
        certificate += f", until {tls.not_after:%Y-%m-%d} ({days} days)"
    return [
        ("tls", f"{tls.version}, {tls.cipher}"),
        ("certificate", certificate + ("" if tls.verified else "; not verified")),
    ]


def _smtp_offers(attempt: Attempt) -> Facts:
    offers = offered(attempt)
    if not offers:
        return []
    if attempt.reason and attempt.stage in _SECURING:
        return [("before tls", ", ".join(offers))]  # with TLS it may offer other things, and a log-in above all
    mechanisms = [line[5:] for line in offers if line.upper().startswith(("AUTH ", "AUTH="))]
    others = [line for line in offers if not line.upper().startswith(("AUTH ", "AUTH="))]
    return [("offers", ", ".join(others)), ("auth", " ".join(dict.fromkeys(" ".join(mechanisms).split())) or "none")]


def _failed(stage: Stage | None, reason: Reason, detail: str) -> str:
    return stage_and_reason(stage, reason) + (f": {detail}" if detail else "")
