"""A conversation without a message: up to the point where mail would be handed in, and goodbye."""

from __future__ import annotations

import asyncio

from mailprobe.auth.tokens import TokenOf, no_tokens, secret_of
from mailprobe.clock import Clock
from mailprobe.errors import ProbeFailure, Stage
from mailprobe.model import Attempt
from mailprobe.net.resolve import Resolver
from mailprobe.plan import Sender
from mailprobe.smtp import target
from mailprobe.smtp.dialogue import Dialogue
from mailprobe.smtp.failure import failure_of
from mailprobe.smtp.record import Record


async def check_sender(
    sender: Sender, recipient: str, *, timeout: float, clock: Clock, resolver: Resolver, token_of: TokenOf = no_tokens
) -> Attempt:
    """Connects, says EHLO, STARTTLS and AUTH as an attempt would, and QUIT; nothing is sent.

    `recipient` says whose MX is asked, for an mx sender. Each stage may take `timeout` seconds. The attempt has
    no reason if all went well. A cancel closes the connection and is passed on.
    """
    record = Record(1, clock, lambda _: None)
    failure: ProbeFailure | None = None
    dialogue: Dialogue | None = None
    try:
        try:
            secret = await secret_of(sender.login, token_of) if sender.login else None
            with record.at(Stage.RESOLVE):
                async with asyncio.timeout(timeout):
                    record.peer = await target.choose(sender, recipient, 1, resolver, timeout, record)
            dialogue = Dialogue(sender, record.peer, secret, record, timeout)
            await dialogue.open()
        except Exception as error:
            failure = failure_of(error, record.stage, timeout)
            if failure is None:
                raise
        if dialogue:
            await dialogue.quit()
    finally:
        if dialogue:
            dialogue.abort()
    return record.end(failure)


def offered(attempt: Attempt) -> tuple[str, ...]:
    """What the server offered in its last reply to EHLO, as it wrote it. Source: RFC 5321 4.1.1.1."""
    replies = [said.reply for said in attempt.replies if said.stage is Stage.EHLO]
    return replies[-1].lines[1:] if replies else ()
