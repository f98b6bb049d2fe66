"""The SMTP dialogue of one attempt, from the TCP connection to QUIT. Source: RFC 5321, 3207, 4954, 3461."""

from __future__ import annotations

import asyncio
import re
import ssl
from collections.abc import Awaitable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from ipaddress import ip_address
from types import MappingProxyType
from typing import Final, cast

from aiosmtplib.esmtp import parse_esmtp_extensions

from mailprobe.auth import bearer
from mailprobe.auth.giveaways import Scrubber, scrubber_of
from mailprobe.auth.passwords import Secret
from mailprobe.auth.tokens import Token
from mailprobe.errors import ProbeFailure, Reason, Reply, Stage
from mailprobe.message.replies import meaning_of
from mailprobe.model import Peer, TlsMode
from mailprobe.net import failure as net
from mailprobe.net.certificate import chain_of
from mailprobe.net.connect import connect
from mailprobe.net.diagnose import speaks_tls
from mailprobe.net.patience import Patience
from mailprobe.net.tls import must_verify, shared_context, tls_facts
from mailprobe.plan import Sender
from mailprobe.smtp import sasl
from mailprobe.smtp.failure import failure_of
from mailprobe.smtp.protocol import HANDSHAKE_TIMEOUT, AttemptProtocol, PlaintextAfterStarttls
from mailprobe.smtp.queue_id import queue_id_of
from mailprobe.smtp.record import Record

QUIT_TIMEOUT: Final = 2.0
"""Seconds that a farewell may take; whatever comes of it changes nothing."""
_XCHARS: Final = re.compile(r"[!-*,-<>-~]*")
"""Characters that stand for themselves. Source: RFC 3461 4 `xchar`."""
_ENVID_LIMIT: Final = 100
"""Characters of an encoded ENVID. Source: RFC 3461 4.4."""


@dataclass(frozen=True, slots=True)
class Message:
    """A message and its envelope. `content` has CRLF everywhere; `envid` is empty for none (RFC 3461 4.4)."""

    sender_address: str
    recipient: str
    content: bytes
    envid: str = ""


class Dialogue:
    """A conversation with one server; every method raises ProbeFailure or what `smtp.failure` maps to one."""

    def __init__(self, sender: Sender, peer: Peer, secret: Secret | None, record: Record, timeout: float) -> None:
        self._sender = sender
        self._endpoint = sender.endpoint
        self._peer = peer
        self._secret = secret
        self._record = record
        self._timeout = timeout
        self._patience = Patience(timeout)
        self._extensions: Mapping[str, str] = {}
        self._mechanisms: Sequence[str] = ()
        self._scrub = _scrubber(sender, secret)
        self._protocol = AttemptProtocol(record.transcript, self._scrub)

    async def open(self) -> None:
        """Connects and says everything that comes before the mail: EHLO, STARTTLS, AUTH."""
        await self._connect()
        await self._greeting()
        async with self._patience:
            await self._ehlo()
            if self._endpoint.tls in (TlsMode.STARTTLS, TlsMode.OPPORTUNISTIC):
                await self._starttls()
            if self._sender.login:
                await self._authenticate(self._sender.login.username)

    async def hand_in(self, message: Message) -> None:
        """MAIL, RCPT, DATA and the message; returns once the server has taken it."""
        mail, rcpt = self._parameters(message)
        async with self._patience:
            await self._say(Stage.MAIL, f"MAIL FROM:<{message.sender_address}>", *mail)
            await self._say(Stage.RCPT, f"RCPT TO:<{message.recipient}>", *rcpt)
            await self._say(Stage.DATA, "DATA", due=3)
            answer = self._protocol.content(message.content, self._record.dot_is_out)
            reply = await self._hear(Stage.END_OF_DATA, answer)
        _require(Stage.END_OF_DATA, reply, 2)
        queue_id = queue_id_of(Reply.of(reply.code, self._protocol.text).text)
        self._record.queue_id = None if queue_id and self._scrub.finds_in(queue_id) else queue_id

    async def quit(self) -> None:
        """Says goodbye where that is still possible; how it is taken changes nothing."""
        if self._protocol.spent or not self._protocol.is_connected:
            return
        self._timeout = min(QUIT_TIMEOUT, self._timeout)
        try:
            async with asyncio.timeout(self._timeout):
                await self._say(Stage.QUIT, "QUIT")
        except Exception as error:
            failure = failure_of(error, Stage.QUIT, self._timeout)
            if failure is None:
                raise
            self._record.transcript.note(str(failure))

    def abort(self) -> None:
        """Ends the connection, if there is one, at once."""
        self._protocol.abort()

    # before the mail

    async def _connect(self) -> None:
        peer, endpoint, record = self._peer, self._endpoint, self._record
        record.transcript.note(f"connect to {peer.address} port {peer.port}")
        loop = asyncio.get_running_loop()
        # first, so that building one is not taken for the network's time
        context = await shared_context(endpoint) if endpoint.tls is TlsMode.IMPLICIT else None
        name = self._tls_name if context else ""
        with record.at(Stage.CONNECT):
            sock = self._protocol.sock = await connect(
                peer.address, peer.port, source_address=endpoint.source_address, timeout=self._timeout
            )
            if context is None:
                await loop.create_connection(lambda: self._protocol, sock=sock)
                return
        with record.at(Stage.TLS):
            async with asyncio.timeout(self._timeout):
                await loop.create_connection(
                    lambda: self._protocol,
                    sock=sock,
                    ssl=context,
                    server_hostname=name,
                    ssl_handshake_timeout=HANDSHAKE_TIMEOUT,
                )
        self._record_tls()

    async def _greeting(self) -> None:
        try:
            async with asyncio.timeout(self._timeout):
                reply = await self._hear(Stage.GREETING, self._protocol.greeting())
        except TimeoutError:
            await self._explain_silence()
            raise
        _require(Stage.GREETING, reply, 2)

    async def _explain_silence(self) -> None:
        """Raises WRONG_TLS_MODE if the server said nothing because it waits for a ClientHello."""
        if self._record.tls or not self._protocol.heard_nothing or not self._protocol.is_connected:
            return
        # not isinstance: uvloop's transports are none of asyncio's
        if await speaks_tls(cast(asyncio.Transport, self._protocol.transport)):
            detail = f"no greeting, but TLS: port {self._peer.port} wants implicit TLS, not {self._endpoint.tls}"
            raise ProbeFailure(Stage.GREETING, Reason.WRONG_TLS_MODE, detail)

    async def _ehlo(self) -> None:
        await self._say(Stage.EHLO, f"EHLO {self._sender.ehlo}")
        self._extensions, self._mechanisms = _offered(self._protocol.text)

    async def _starttls(self) -> None:
        if "starttls" not in self._extensions:
            if self._endpoint.tls is TlsMode.OPPORTUNISTIC:
                self._record.transcript.note("no STARTTLS offered: going on in plain text")
                return
            detail = f"{self._peer.host} does not offer STARTTLS on port {self._peer.port}"
            raise ProbeFailure(Stage.STARTTLS, Reason.STARTTLS_UNAVAILABLE, detail)
        name = self._tls_name
        await self._say(Stage.STARTTLS, "STARTTLS")
        context = await shared_context(self._endpoint)
        self._patience.renew()
        with self._record.at(Stage.TLS):
            await self._upgrade(context, name)
        self._record_tls()
        await self._ehlo()

    async def _upgrade(self, context: ssl.SSLContext, name: str) -> None:
        try:
            await self._protocol.upgrade(context, name)
        except (ssl.SSLError, PlaintextAfterStarttls) as error:
            self._record.chain = getattr(error, "peer_chain", ()) if self._keeps_chain else ()
            failure = net.failure_of(error, Stage.TLS)
            if failure and failure.reason is not Reason.WRONG_TLS_MODE:
                raise
            # in the reply's segment or after it: no TLS record, where only one may be
            detail = "the server went on in plain text after its reply to STARTTLS"
            raise ProbeFailure(Stage.STARTTLS, Reason.PLAINTEXT_AFTER_STARTTLS, detail) from error

    async def _authenticate(self, username: str) -> None:
        assert self._secret is not None
        self._record.stage = Stage.AUTH
        encrypted = self._record.tls or self._endpoint.tls is TlsMode.PLAINTEXT  # then the user asked for it
        if not encrypted and not ip_address(self._peer.address).is_loopback:
            detail = "no password is sent over a connection that is not encrypted"
            raise ProbeFailure(Stage.AUTH, Reason.AUTH_UNAVAILABLE, detail)
        if isinstance(self._secret, Token):
            await self._show_token(username, self._secret)
            return
        mechanism = sasl.choose(self._mechanisms)
        if mechanism is None:
            raise self._not_offered("PLAIN or LOGIN")
        reply = await self._log_in(mechanism, sasl.answers(mechanism, username, self._secret))
        _require(Stage.AUTH, reply, 2)

    def _not_offered(self, needed: str) -> ProbeFailure:
        offered = self._scrub(" ".join(self._mechanisms)).upper() or "no AUTH at all"
        detail = f"needed is AUTH {needed}; {self._peer.host} offers {offered}"
        return ProbeFailure(Stage.AUTH, Reason.AUTH_UNAVAILABLE, detail)

    async def _show_token(self, username: str, token: Token) -> None:
        """Source: RFC 7628 3.2.3: an error comes as a challenge, to be answered before the server says no."""
        mechanism = bearer.choose([offered.upper() for offered in self._mechanisms])
        if mechanism is None:
            raise self._not_offered("OAUTHBEARER or XOAUTH2")
        first = bearer.initial_response(mechanism, username, token.reveal(), self._peer.host, self._peer.port)
        reply = await self._hear(Stage.AUTH, self._protocol.command("AUTH", mechanism, first, hidden=True))
        said = ""
        if reply.code == 334:
            said = bearer.challenge_text(self._protocol.challenge, token.scrub)
            reply = await self._hear(Stage.AUTH, self._protocol.command(bearer.farewell(mechanism)))
        if reply.code // 100 != 2:
            reason = meaning_of(Stage.AUTH, reply).reason
            reason = token.refused() if reason is Reason.AUTH_REJECTED else reason
            raise ProbeFailure(Stage.AUTH, reason, f"{reply}; {said}" if said else str(reply), reply)

    async def _log_in(self, mechanism: sasl.Mechanism, answers: tuple[str, ...]) -> Reply:
        if mechanism is sasl.Mechanism.PLAIN:
            return await self._hear(Stage.AUTH, self._protocol.command("AUTH", mechanism, *answers, hidden=True))
        reply = await self._hear(Stage.AUTH, self._protocol.command("AUTH", mechanism))
        for answer in answers:
            if reply.code != 334:
                break
            reply = await self._hear(Stage.AUTH, self._protocol.command(answer, hidden=True))
        return reply

    # its parts

    @property
    def _tls_name(self) -> str:
        """Whom the certificate has to name; raises ProbeFailure for what TLS cannot say, such as a label too long.

        Said here, since the event loops find it once they have the socket, and do not all close it.
        """
        name = self._endpoint.server_name or self._peer.host
        try:
            name.encode("idna")  # as the ssl module does
        except UnicodeError as error:
            raise net.failure_of(error, Stage.TLS) or error from None
        return name

    def _record_tls(self) -> None:
        ssl_object = self._protocol.ssl_object
        if ssl_object:
            self._record.tls = tls_facts(ssl_object, must_verify(self._endpoint))
            self._record.chain = chain_of(ssl_object) if self._keeps_chain else ()

    @property
    def _keeps_chain(self) -> bool:
        return self._sender.mta_sts or self._sender.dane

    def _parameters(self, message: Message) -> tuple[list[str], list[str]]:
        """What to add to MAIL and to RCPT, of that which the server offers."""
        mail: list[str] = []
        rcpt: list[str] = []
        if "dsn" in self._extensions:
            envid = xtext(message.envid)
            mail += ["RET=HDRS", f"ENVID={envid}"] if 0 < len(envid) <= _ENVID_LIMIT else ["RET=HDRS"]
            rcpt.append("NOTIFY=FAILURE,DELAY")
        if not message.content.isascii() and "8bitmime" in self._extensions:
            mail.append("BODY=8BITMIME")
        if not (message.sender_address + message.recipient).isascii():
            if "smtputf8" not in self._extensions:
                detail = "an address is not ASCII and the server does not offer SMTPUTF8"
                raise ProbeFailure(Stage.MAIL, Reason.SERVER_REFUSED, detail)
            mail.append("SMTPUTF8")
        return mail, rcpt

    async def _say(self, stage: Stage, *words: str, due: int = 2) -> None:
        """One command; raises ProbeFailure unless its reply begins with the digit that is due."""
        _require(stage, await self._hear(stage, self._protocol.command(*words)), due)

    async def _hear(self, stage: Stage, answer: Awaitable[Reply]) -> Reply:
        """An answer, within the bound that whoever calls has set."""
        self._patience.renew()
        with self._record.at(stage):
            reply = await answer
        self._record.reply(reply)
        return reply


def _scrubber(sender: Sender, secret: Secret | None) -> Scrubber:
    if isinstance(secret, Token):
        return secret.scrub
    return scrubber_of(sender.login.username, secret) if sender.login and secret else Scrubber()


def _require(stage: Stage, reply: Reply, due: int) -> None:
    """Raises ProbeFailure unless the reply's first digit is the one that is due. Source: RFC 5321 4.2.1."""
    if reply.code // 100 != due:
        raise ProbeFailure(stage, meaning_of(stage, reply).reason, str(reply), reply)


def xtext(text: str) -> str:
    """Printable ASCII as it may stand in a parameter; what is not is written as `+` and two digits. RFC 3461 4."""
    if _XCHARS.fullmatch(text):
        return text
    return "".join(chr(byte) if 33 <= byte <= 126 and byte not in b"+=" else f"+{byte:02X}" for byte in text.encode())


@lru_cache(maxsize=64)
def _offered(ehlo: str) -> tuple[Mapping[str, str], tuple[str, ...]]:
    """The extensions and the AUTH mechanisms in a reply to EHLO."""
    extensions, mechanisms = parse_esmtp_extensions(ehlo)
    return MappingProxyType(extensions), tuple(mechanisms)
