"""One attempt: one address, one fresh connection, one transaction, and everything that was learned from it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from mailprobe.auth.tokens import TokenOf, no_tokens, secret_of
from mailprobe.clock import Clock
from mailprobe.errors import ProbeFailure, Stage
from mailprobe.model import Attempt
from mailprobe.net.resolve import Resolver
from mailprobe.plan import Sender
from mailprobe.smtp import target
from mailprobe.smtp.dialogue import Dialogue, Message
from mailprobe.smtp.failure import failure_of
from mailprobe.smtp.record import Record, StageEnded

__all__ = ("Message", "submit")


async def submit(
    sender: Sender,
    message: Message,
    *,
    number: int,
    timeout: float,
    clock: Clock,
    resolver: Resolver,
    dot_sent: Callable[[float], None],
    stage_ended: StageEnded | None = None,
    target_number: int | None = None,
    token_of: TokenOf = no_tokens,
) -> Attempt:
    """Hands a message in, once, and returns how that went; no failure of the world is raised.

    It goes to address `target_number` (from 1; default: `number`) of the sender's servers. Each stage may take
    `timeout` seconds. `dot_sent` is called with the instant at which the final dot is handed to the kernel, before the
    reply is known: from then on the message may exist. `token_of` gets the token of a sender that logs in with one. A
    cancel closes the connection and is passed on.
    """
    record = Record(number, clock, dot_sent, stage_ended)
    failure: ProbeFailure | None = None
    dialogue: Dialogue | None = None
    try:
        try:
            # had before anything else: from then on no server can bring it into view, and no stage has its time
            secret = await secret_of(sender.login, token_of) if sender.login else None
            with record.at(Stage.RESOLVE):
                async with asyncio.timeout(timeout):
                    record.peer = await target.choose(
                        sender, message.recipient, target_number or number, resolver, timeout, record, message.envid
                    )
            dialogue = Dialogue(sender, record.peer, secret, record, timeout)
            await dialogue.open()
            await dialogue.hand_in(message)
        except Exception as error:
            failure = failure_of(error, record.stage, timeout)
            if failure is None:
                raise
            record.transcript.note(str(failure))
        if dialogue:
            await dialogue.quit()
    finally:
        if dialogue:
            dialogue.abort()
    return record.end(failure)
