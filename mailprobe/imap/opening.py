"""From a mailbox's endpoint to a connection that is logged in: resolve, connect, TLS, greeting, capabilities, login.

One wrong password is exactly one failed login: servers hold back whoever fails (Dovecot up to 15 s), and every
other probe from this address with him.
"""

from __future__ import annotations

import asyncio
import base64
import socket
from typing import Final

from mailprobe.auth import bearer
from mailprobe.auth.giveaways import scrubber_of
from mailprobe.auth.passwords import Secret, read_secret
from mailprobe.auth.tokens import Token, TokenOf, no_tokens
from mailprobe.clock import Clock
from mailprobe.errors import ProbeFailure, Reason, Stage
from mailprobe.imap import names, parse
from mailprobe.imap.connection import Connection
from mailprobe.imap.failure import failure_of, refusal
from mailprobe.imap.protocol import Protocol
from mailprobe.model import TlsMode
from mailprobe.net.connect import connect
from mailprobe.net.diagnose import speaks_tls
from mailprobe.net.resolve import Resolver
from mailprobe.net.tls import must_verify, shared_context, tls_facts
from mailprobe.plan import Endpoint, Login, Mailbox

_SHUTDOWN_SECONDS: Final = 1.0
"""What a TLS closing that nobody answers may take; nobody waits for it."""
_LATER: Final = 1.0
"""How much later than ours the loop's own handshake time-out comes, so that it is known as a time-out."""


async def open_connection(
    mailbox: Mailbox, clock: Clock, resolver: Resolver, token_of: TokenOf = no_tokens
) -> Connection:
    """A connection on which somebody is logged in. Raises ProbeFailure with the stage that failed."""
    endpoint = mailbox.endpoint
    # a server need not wait for an identity provider
    token = await token_of(mailbox.login.oauth2) if mailbox.login.oauth2 else None
    protocol = Protocol(asyncio.get_running_loop(), clock.now)
    connection = Connection(protocol, mailbox.timeout)
    try:
        await _connect(connection, endpoint, resolver)
        await _greet(connection, endpoint)
        await connection.ask_capabilities(Stage.GREETING)
        if endpoint.tls in (TlsMode.STARTTLS, TlsMode.OPPORTUNISTIC):
            await _starttls(connection, endpoint)
        if not connection.protocol.logged_in:
            await _login(connection, mailbox, token)
        await connection.ask_capabilities(Stage.AUTH)
    except BaseException:
        connection.abort()
        raise
    return connection


async def _connect(connection: Connection, endpoint: Endpoint, resolver: Resolver) -> None:
    resolved = await resolver.addresses(endpoint.host, endpoint.family, connection.timeout)
    sock = await connect(
        resolved.addresses[0], endpoint.port, source_address=endpoint.source_address, timeout=connection.timeout
    )
    try:
        await _attach(connection, endpoint, sock)
    except BaseException:
        sock.close()  # nobody else does where it ends before the loop has it
        raise


async def _attach(connection: Connection, endpoint: Endpoint, sock: socket.socket) -> None:
    loop, protocol = asyncio.get_running_loop(), connection.protocol
    if endpoint.tls is not TlsMode.IMPLICIT:
        await connection.bounded(Stage.CONNECT, loop.create_connection(lambda: protocol, sock=sock))
        return
    securing = loop.create_connection(
        lambda: protocol,
        sock=sock,
        ssl=await shared_context(endpoint),
        server_hostname=endpoint.tls_name,
        ssl_handshake_timeout=connection.timeout + _LATER,
        ssl_shutdown_timeout=_SHUTDOWN_SECONDS,
    )
    await connection.bounded(Stage.TLS, securing)
    _record_tls(connection, endpoint)


async def _greet(connection: Connection, endpoint: Endpoint) -> None:
    """Waits to be greeted. A server that says nothing may be waiting for TLS: that is found out and said."""
    protocol = connection.protocol
    try:
        async with asyncio.timeout(connection.timeout):
            await protocol.greeting
    except TimeoutError:
        if endpoint.tls is not TlsMode.IMPLICIT and await speaks_tls(protocol.transport):
            detail = "the server waits for TLS: it wants implicit TLS, not starttls or plaintext"
            raise ProbeFailure(Stage.GREETING, Reason.WRONG_TLS_MODE, detail) from None
        detail = f"no greeting within {connection.timeout:g} s"
        raise ProbeFailure(Stage.GREETING, Reason.TIMEOUT, detail) from None
    except Exception as error:
        failure = failure_of(error, Stage.GREETING)
        if failure is None:
            raise
        raise failure from error


async def _starttls(connection: Connection, endpoint: Endpoint) -> None:
    """Source: RFC 3501 6.2.1; a PREAUTH that would skip it is refused (RFC 9051 7.1.4)."""
    protocol = connection.protocol
    if protocol.logged_in or "STARTTLS" not in connection.capabilities:
        if endpoint.tls is TlsMode.OPPORTUNISTIC:
            return
        why = "logged in before TLS" if protocol.logged_in else "STARTTLS is not offered"
        raise ProbeFailure(Stage.STARTTLS, Reason.STARTTLS_UNAVAILABLE, why)
    context = await shared_context(endpoint)
    await connection.command(Stage.STARTTLS, "STARTTLS")
    if protocol.lost.done():  # octets in the clear came with the OK
        await connection.bounded(Stage.STARTTLS, protocol.lost)
    protocol.unseal()
    securing = asyncio.get_running_loop().start_tls(
        protocol.transport,
        protocol,
        context,
        server_hostname=endpoint.tls_name,
        ssl_handshake_timeout=connection.timeout + _LATER,
        ssl_shutdown_timeout=_SHUTDOWN_SECONDS,
    )
    try:
        protocol.transport = await connection.bounded(Stage.TLS, securing)
    except ProbeFailure as failure:
        if failure.reason is Reason.WRONG_TLS_MODE:  # no TLS record came where the handshake was agreed
            detail = "octets in the clear after STARTTLS"
            raise ProbeFailure(Stage.STARTTLS, Reason.PLAINTEXT_AFTER_STARTTLS, detail) from failure
        raise
    _record_tls(connection, endpoint)
    await connection.ask_capabilities(Stage.STARTTLS)


def _record_tls(connection: Connection, endpoint: Endpoint) -> None:
    ssl_object = connection.protocol.transport.get_extra_info("ssl_object")
    connection.tls = tls_facts(ssl_object, must_verify(endpoint))


async def _login(connection: Connection, mailbox: Mailbox, token: Token | None) -> None:
    if token is None:
        secret = await asyncio.to_thread(read_secret, mailbox.login.password)
        await _log_in_with_password(connection, mailbox.login, secret)
    else:
        connection.protocol.scrub = token.scrub
        await _log_in_with_token(connection, mailbox, token)


async def _log_in_with_token(connection: Connection, mailbox: Mailbox, token: Token) -> None:
    """Source: RFC 7628 3.2.3: an error comes as a challenge, to be answered before the server says no."""
    offered = connection.capabilities
    mechanism = bearer.choose([name.removeprefix("AUTH=") for name in offered if name.startswith("AUTH=")])
    if mechanism is None:
        detail = "the server offers neither AUTH=OAUTHBEARER nor AUTH=XOAUTH2" + (
            "" if connection.tls else " without TLS"
        )
        raise ProbeFailure(Stage.AUTH, Reason.AUTH_UNAVAILABLE, detail)
    endpoint = mailbox.endpoint
    first = bearer.initial_response(mechanism, mailbox.login.username, token.reveal(), endpoint.host, endpoint.port)
    initial, farewell = "SASL-IR" in offered, bearer.farewell(mechanism).encode()
    exchange = await connection.ask(
        Stage.AUTH,
        "AUTHENTICATE",
        f"{mechanism} {first}" if initial else mechanism,
        answers=(farewell,) if initial else (first.encode(), farewell),
    )
    if exchange.result != "OK":
        failure = refusal(exchange, Stage.AUTH)
        reason = token.refused() if failure.reason is Reason.AUTH_REJECTED else failure.reason
        code, _ = parse.response_code(exchange.text) or ("", "")
        reason = Reason.TOKEN_EXPIRED if code == "EXPIRED" else reason
        said = bearer.challenge_text(exchange.challenge.decode("ascii", "replace"), token.scrub)
        raise ProbeFailure(Stage.AUTH, reason, f"{failure.detail}; {said}" if said else failure.detail)


async def _log_in_with_password(connection: Connection, login: Login, secret: Secret) -> None:
    """AUTHENTICATE PLAIN where it is offered, else LOGIN unless that is disabled; never one after the other."""
    password = secret.reveal()
    if "\0" in login.username + password:
        raise ProbeFailure(Stage.AUTH, Reason.AUTH_UNAVAILABLE, "a NUL in user name or password cannot be sent")
    response = base64.b64encode(f"\0{login.username}\0{password}".encode())
    # for as long as the connection lives: a server may come back to it in any later answer
    connection.protocol.scrub = scrubber_of(login.username, secret)
    await _authenticate(connection, login.username, password, response)


async def _authenticate(connection: Connection, username: str, password: str, response: bytes) -> None:
    offered = connection.capabilities
    if "AUTH=PLAIN" in offered:
        initial = "SASL-IR" in offered
        arguments = f"PLAIN {response.decode()}" if initial else "PLAIN"
        await connection.command(Stage.AUTH, "AUTHENTICATE", arguments, answers=() if initial else (response,))
    elif "LOGINDISABLED" not in offered:
        first, answers = login_arguments(username, password)
        await connection.command(Stage.AUTH, "LOGIN", first, answers=answers)
    else:
        detail = "the server offers neither AUTH=PLAIN nor LOGIN" + ("" if connection.tls else " without TLS")
        raise ProbeFailure(Stage.AUTH, Reason.AUTH_UNAVAILABLE, detail)


def login_arguments(*texts: str) -> tuple[str, tuple[bytes, ...]]:
    """Strings as a command's arguments: the first line of them, and what follows after each `+` of the server.

    Quoted where that can hold them, else as literals (RFC 3501 4.3).
    """
    lines = [b""]
    for text in texts:
        space = b" " if lines[-1] else b""
        if names.needs_literal(text):
            octets = text.encode()
            lines[-1] += space + b"{%d}" % len(octets)
            lines.append(octets)
        else:
            lines[-1] += space + names.quoted(text).encode()
    return lines[0].decode(), tuple(lines[1:])
