"""Blocking clients of the standard library, for tests that need a second opinion about what a server holds or says.

From a coroutine: `await asyncio.to_thread(...)`.
"""

from __future__ import annotations

import base64
import contextlib
import hashlib
import hmac
import imaplib
import json
import re
import secrets
import smtplib
import socket
import ssl
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from support.servers import DOMAIN, HOST, TLS_NAME
from support.servers_dovecot import Account, Dovecot
from support.servers_others import Cyrus
from support.servers_postfix import Postfix

_QUEUE_ID = re.compile(r"queued as (\S+)|\bid=(\S+)")


@dataclass(frozen=True, slots=True)
class Sent:
    """What became of one submission. `code` 250 and `reply` to the final dot, or the first refusal's."""

    code: int
    reply: str
    message_id: str

    @property
    def queue_id(self) -> str | None:
        """As the server named it in its reply."""
        found = _QUEUE_ID.search(self.reply)
        return found and (found[1] or found[2])


def trust(ca_file: Path) -> ssl.SSLContext:
    """A client's context that believes this CA only."""
    return ssl.create_default_context(cafile=str(ca_file))


@contextlib.contextmanager
def submission(
    port: int, ca_file: Path, account: Account | None = None, *, implicit: bool = False
) -> Iterator[smtplib.SMTP]:
    """A submission session in TLS, the certificate checked for TLS_NAME; logged in if an account is given."""
    client = smtplib.SMTP(timeout=20, local_hostname="tests.lab.test")
    try:
        if implicit:
            plain = socket.create_connection((HOST, port), 20)
            client.sock = trust(ca_file).wrap_socket(plain, server_hostname=TLS_NAME)
            client.getreply()
        else:
            client.connect(HOST, port)
            client._host = TLS_NAME  # type: ignore[attr-defined]  # the name that smtplib checks
            client.starttls(context=trust(ca_file))
        client.ehlo()
        if account:
            client.login(account.address, account.password)
        yield client
    finally:
        client.close()


def submit(
    postfix: Postfix,
    sender: Account,
    recipient: str,
    *,
    subject: str = "hello",
    port: int | None = None,
    size: int = 0,
) -> Sent:
    """Send one mail as `sender` through the submission port (or another that speaks STARTTLS)."""
    with submission(port or postfix.submission_port, postfix.ca_file, sender) as client:
        return send(client, sender.address, recipient, subject=subject, size=size)


def send(client: smtplib.SMTP, sender: str, recipient: str, *, subject: str = "hello", size: int = 0) -> Sent:
    """One transaction, up to the first refusal."""
    message_id = f"<{secrets.token_hex(8)}@tests.{DOMAIN}>"
    head = f"From: <{sender}>\r\nTo: <{recipient}>\r\nSubject: {subject}\r\nMessage-ID: {message_id}\r\n\r\nhello\r\n"
    text = head + ("y" * 70 + "\r\n") * (size // 72)
    code, reply = client.mail(sender)
    if code == 250:
        code, reply = client.rcpt(recipient)
    if code == 250:
        try:
            code, reply = client.data(text)
        except smtplib.SMTPDataError as refused:
            code, reply = refused.smtp_code, refused.smtp_error if isinstance(refused.smtp_error, bytes) else b""
    return Sent(code, reply.decode(), message_id)


class _NamedTls(imaplib.IMAP4_SSL):
    def _create_socket(self, timeout: float | None) -> ssl.SSLSocket:
        plain = socket.create_connection((self.host, self.port), timeout)
        return self.ssl_context.wrap_socket(plain, server_hostname=TLS_NAME)


@contextlib.contextmanager
def mailbox(server: Dovecot | Cyrus, account: Account, *, implicit: bool = True) -> Iterator[imaplib.IMAP4]:
    """An IMAP session, logged in; nothing selected."""
    if implicit:
        client: imaplib.IMAP4 = _NamedTls(HOST, server.imaps_port, ssl_context=trust(server.ca_file), timeout=20)
    else:
        client = imaplib.IMAP4(HOST, server.imap_port, timeout=20)
        client.host = TLS_NAME
        client.starttls(trust(server.ca_file))
    try:
        client.login(account.address, account.password)
        yield client
    finally:
        client.shutdown()


def holds(client: imaplib.IMAP4, message_id: str, folder: str = "INBOX") -> bool:
    """Whether a message that names the Message-ID anywhere is in the folder now."""
    client.select(folder, readonly=True)
    return bool(client.search(None, "TEXT", f'"{message_id}"')[1][0])


def wait_for(client: imaplib.IMAP4, message_id: str, folder: str = "INBOX", within: float = 10.0) -> None:
    """Until `holds`. Raises TimeoutError."""
    end = time.monotonic() + within
    while not holds(client, message_id, folder):
        if time.monotonic() > end:
            raise TimeoutError(f"{message_id} not in {folder} within {within} s")
        time.sleep(0.01)


def fetch(client: imaplib.IMAP4, message_id: str, folder: str = "INBOX") -> bytes:
    """The newest message that names the Message-ID anywhere."""
    client.select(folder, readonly=True)
    number = client.search(None, "TEXT", f'"{message_id}"')[1][0].split()[-1]
    return client.fetch(number, "(BODY.PEEK[])")[1][0][1]


def oauth_token(secret: bytes, address: str, lifetime: int = 3600, claims: Mapping[str, object] | None = None) -> str:
    """The access token (JWT, HS256) that an identity provider would give for `Dovecot.oauth_secret`."""
    now = int(time.time())
    payload = {"iss": "https://idp.lab.test/", "sub": address, "email": address, "iat": now, "nbf": now - 5}
    body = payload | {"exp": now + lifetime} | dict(claims or {})
    signed = _base64url(b'{"alg":"HS256","typ":"JWT"}') + b"." + _base64url(json.dumps(body).encode())
    return (signed + b"." + _base64url(hmac.new(secret, signed, hashlib.sha256).digest())).decode()


def _base64url(value: bytes) -> bytes:
    return base64.urlsafe_b64encode(value).rstrip(b"=")
