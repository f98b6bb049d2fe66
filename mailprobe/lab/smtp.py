"""The embedded SMTP server: aiosmtpd, asking a `Behaviour` before each answer."""

from __future__ import annotations

import asyncio
import hmac
import logging
import re
import secrets
import ssl
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from functools import partial
from typing import Any, cast

from aiosmtpd.smtp import SMTP, AuthResult, Envelope, LoginPassword, Session, TLSSetupException

from mailprobe.lab.behaviour import Answer, Behaviour, Context, Credential, Drop, Moment, Say, Show, Stall
from mailprobe.lab.doors import Visitor

_log = logging.getLogger(__name__)

HOST_NAME = "mail.lab.test"

_ASKED = {
    "EHLO": Moment.EHLO,
    "HELO": Moment.EHLO,
    "STARTTLS": Moment.STARTTLS,
    "AUTH": Moment.AUTH,
    "MAIL": Moment.MAIL,
    "RCPT": Moment.RCPT,
    "DATA": Moment.DATA,
}
_PATH = re.compile(r"<([^<>]{0,320})>")

Accept = Callable[[Context, str, tuple[str, ...], bytes], None]
"""Takes a mail over: queue id, recipients, content with its trace header."""


class Submissions:
    """What all SMTP connections of a lab share, and aiosmtpd's hooks. `users`: address -> password."""

    def __init__(
        self,
        users: Mapping[str, str],
        behaviour: Behaviour,
        certificates: Mapping[Credential, ssl.SSLContext],
        accept: Accept,
    ) -> None:
        self.users = users
        self.behaviour = behaviour
        self.certificates = certificates
        self.accept = accept

    async def serve(self, visitor: Visitor, *, login_required: bool) -> None:
        """Talk SMTP to a visitor until either side has enough; without `login_required` as an MX does."""
        conversation = Conversation(self, visitor, login_required=login_required)
        try:
            if await visitor.enter(conversation):
                await conversation.lost()
        finally:
            await conversation.end()

    def authenticate(
        self, server: SMTP, session: Session, envelope: Envelope, mechanism: str, data: object
    ) -> AuthResult:
        """Compare a password; aiosmtpd's authenticator."""
        if not isinstance(data, LoginPassword):
            return AuthResult(success=False, handled=False)
        expected = self.users.get(data.login.decode("utf-8", "replace"))
        good = expected is not None and hmac.compare_digest(expected.encode(), data.password)
        # not handled: aiosmtpd answers 535 5.7.8
        return AuthResult(success=good, handled=False, auth_data=data)

    async def handle_exception(self, error: Exception) -> str:
        # a client that breaks the handshake off is daily life, and its connection is closed by the caller
        if not isinstance(error, TLSSetupException):
            _log.error("lab: SMTP conversation failed", exc_info=error)
        return "451 4.3.0 Internal error"

    async def handle_EHLO(  # noqa: N802
        self, server: Conversation, session: Session, envelope: Envelope, hostname: str, responses: list[str]
    ) -> list[str]:
        session.host_name = hostname
        offered = [line for line in responses if not line.startswith("250-AUTH") or server.login_required]
        # one write, not one for each line
        return ["\r\n".join((*offered[:-1], "250-ENHANCEDSTATUSCODES", "250 HELP"))]

    async def handle_MAIL(  # noqa: N802
        self, server: Conversation, session: Session, envelope: Envelope, address: str, options: list[str]
    ) -> str:
        if server.login_required and not session.authenticated:
            return "530 5.7.0 Authentication required"
        envelope.mail_from = address
        envelope.mail_options.extend(options)
        return "250 2.1.0 Ok"

    async def handle_RCPT(  # noqa: N802
        self, server: Conversation, session: Session, envelope: Envelope, address: str, options: list[str]
    ) -> str:
        if user_of(address) not in self.users:
            return "550 5.1.1 No such user here"
        envelope.rcpt_tos.append(address)
        return "250 2.1.5 Ok"

    async def handle_DATA(self, server: Conversation, session: Session, envelope: Envelope) -> str:  # noqa: N802
        sender, recipients = envelope.mail_from or "", tuple(envelope.rcpt_tos)
        content = envelope.original_content or b""
        answer = await server.ask(Moment.END_OF_DATA)
        if isinstance(answer, Say):
            if answer.lines[0].startswith("421"):
                server.loop.call_soon(server.hang_up)
            return "\r\n".join(answer.lines)
        queue_id = secrets.token_hex(5).upper()
        context = server.context().about(sender=sender)
        self.accept(context, queue_id, recipients, content)
        if isinstance(answer, Drop):
            server.abort()
        if isinstance(answer, Stall):
            await _silence(answer.seconds)
        return f"250 2.0.0 Ok: queued as {queue_id}"


class Conversation(SMTP):
    """One connection."""

    def __init__(self, shared: Submissions, visitor: Visitor, *, login_required: bool) -> None:
        self._shared = shared
        self._visitor_context = visitor.context
        self.login_required = login_required
        self._lost = asyncio.Event()
        implicit = visitor.implicit_tls
        super().__init__(
            shared,
            hostname=HOST_NAME,
            ident="ESMTP mailprobe lab",
            enable_SMTPUTF8=True,
            tls_context=None if implicit else visitor.certificate,
            require_starttls=login_required and not implicit,
            auth_require_tls=not implicit,
            auth_exclude_mechanism=() if login_required else ("LOGIN", "PLAIN"),
            authenticator=shared.authenticate,
            loop=asyncio.get_running_loop(),
        )
        for command, moment in _ASKED.items():
            self._smtp_methods[command] = partial(self._asked, moment, self._smtp_methods[command])

    async def lost(self) -> None:
        """Until the connection is gone."""
        await self._lost.wait()

    async def end(self) -> None:
        """Ends the connection, if there is one, at once, and what is said on it."""
        self.abort()
        task = self._handler_coroutine
        if task is not None:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

    def connection_lost(self, error: Exception | None) -> None:
        super().connection_lost(error)
        self._lost.set()

    async def _handle_client(self) -> None:
        answer = await self.ask(Moment.GREETING)
        if not await self._interfered(answer):
            await super()._handle_client()
        elif isinstance(answer, Say):
            await self._turn_away()

    async def _turn_away(self) -> None:
        """Takes nothing but QUIT, as after a greeting that refuses. Source: RFC 5321 3.1."""
        with suppress(OSError, ValueError):
            while line := await self._reader.readline():
                if line.strip().upper() == b"QUIT":
                    await self.push("221 2.0.0 Bye")
                    self.hang_up()
                    return
                await self.push("503 5.5.1 Bad sequence of commands")

    async def _asked(self, moment: Moment, method: Callable[[str | None], Awaitable[None]], arg: str | None) -> None:
        path = _PATH.search(arg or "")
        address = path[1] if path else None
        context = self.context()
        if moment is Moment.MAIL:
            context = context.about(sender=address)
        elif moment is Moment.RCPT:
            context = context.about(recipient=address)
        answer = await self._shared.behaviour.at(moment, context)
        if isinstance(answer, Show):
            self.tls_context = self._shared.certificates[answer.credential]
        elif await self._interfered(answer):
            return
        await method(arg)

    async def _interfered(self, answer: Answer | None) -> bool:
        """Whether the answer took the place of the usual one."""
        if isinstance(answer, Drop):
            self.abort()
            return True
        if isinstance(answer, Say):
            await self.push("\r\n".join(answer.lines))
            if answer.lines[0].startswith("421"):
                self.hang_up()
            return True
        return False

    async def ask(self, moment: Moment) -> Answer | None:
        """What the behaviour wants to happen on this connection now."""
        return await self._shared.behaviour.at(moment, self.context())

    def context(self) -> Context:
        """What is known of this connection by now."""
        session, envelope = self.session, self.envelope
        login: Any = session.auth_data if session and session.authenticated else None
        return self._visitor_context.about(
            user=login.login.decode("utf-8", "replace") if login else None,
            sender=envelope.mail_from if envelope else None,
            recipient=envelope.rcpt_tos[-1] if envelope and envelope.rcpt_tos else None,
        )

    def hang_up(self) -> None:
        """Close once what was said has left."""
        if self.transport is not None:
            self.transport.close()

    def abort(self) -> None:
        """Close without another word."""
        transport = self._original_transport or self.transport
        if transport is not None:
            cast(asyncio.WriteTransport, transport).abort()


async def _silence(seconds: float | None) -> None:
    if seconds is None:
        await asyncio.Event().wait()
    else:
        await asyncio.sleep(seconds)


def user_of(address: str) -> str:
    """The mailbox of an address: the address without its detail (`probe+x@lab.test` is `probe@lab.test`)."""
    local, at, domain = address.partition("@")
    return local.partition("+")[0] + at + domain
