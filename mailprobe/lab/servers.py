"""A whole mail system in this process: SMTP and IMAP servers on loopback, with a CA of their own.

    async with lab({"probe@lab.test": "secret"}) as servers:
        ...  # servers.submission_port, servers.imaps_port, servers.ca_file

Mail for anybody else is refused. Nothing is written but the certificates, into a temporary directory.
"""

from __future__ import annotations

import contextlib
import logging
import ssl
import tempfile
import time
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from functools import partial
from pathlib import Path

from mailprobe.lab.behaviour import (
    Behaviour,
    Bounce,
    Context,
    Credential,
    Flawless,
    Junk,
    Lose,
    Moment,
)
from mailprobe.lab.certificates import LAB_NAMES, Authority, CertificateFiles
from mailprobe.lab.dns import DnsServer, Zones, usual_records
from mailprobe.lab.doors import Doors
from mailprobe.lab.imap import INBOX, JUNK, Mailboxes
from mailprobe.lab.notices import failure_notice
from mailprobe.lab.smtp import HOST_NAME, Submissions, user_of


@dataclass(frozen=True, slots=True)
class Lab:
    """Running servers. Every user may submit and read; names and passwords are those given to `lab`.

    mx_port           as an MX: no AUTH, optional STARTTLS
    submission_port   STARTTLS and AUTH required; submissions_port: the same over implicit TLS
    imap_port         STARTTLS offered; imaps_port: implicit TLS
    dns_port          UDP and TCP; `zones` has the MX of every user's domain, and may be changed
    """

    ca_file: Path
    mx_port: int
    submission_port: int
    submissions_port: int
    imap_port: int
    imaps_port: int
    mailboxes: Mailboxes
    dns_port: int
    zones: Zones

    async def deliver(self, user: str, message: bytes, folder: str = INBOX) -> None:
        """Put a message (CRLF) into a user's folder past SMTP; sessions see it at once."""
        await self.mailboxes.deliver(user, message, folder)


class Post:
    """From acceptance to the mailbox: what an MTA's queue and delivery agent do."""

    def __init__(
        self,
        doors: Doors,
        mailboxes: Mailboxes,
        users: Mapping[str, str],
        behaviour: Behaviour,
        wall: Callable[[], float],
    ) -> None:
        self._doors = doors
        self._mailboxes = mailboxes
        self._users = users
        self._behaviour = behaviour
        self._wall = wall

    def accept(self, context: Context, queue_id: str, recipients: tuple[str, ...], content: bytes) -> None:
        """Answer for a mail from now on."""
        for recipient in recipients:
            self._doors.spawn(self._carry(context.about(recipient=recipient), queue_id, content))

    async def _carry(self, context: Context, queue_id: str, content: bytes) -> None:
        answer = await self._behaviour.at(Moment.QUEUE, context)
        if isinstance(answer, Bounce):
            await self._bounce(context, answer.reply, content)
        if isinstance(answer, Bounce | Lose):
            return
        answer = await self._behaviour.at(Moment.MAILBOX, context)
        if isinstance(answer, Lose):
            return
        folder = JUNK if isinstance(answer, Junk) else INBOX
        header = trace(context, queue_id, self._wall())
        await self._mailboxes.deliver(user_of(context.recipient or ""), header + content, folder)

    async def _bounce(self, context: Context, reply: str, content: bytes) -> None:
        sender = user_of(context.sender or "")
        if sender in self._users:
            notice = failure_notice(HOST_NAME, context.sender or "", context.recipient or "", reply, content)
            await self._mailboxes.deliver(sender, notice)


def trace(context: Context, queue_id: str, wall: float) -> bytes:
    """The trace header that the receiving server puts on top (RFC 5321 4.4)."""
    lines = (
        f"Return-Path: <{context.sender or ''}>",
        f"Received: from [{context.peer}] by {HOST_NAME} (mailprobe lab) with ESMTP id {queue_id}",
        f"\tfor <{context.recipient}>; {format_datetime(datetime.fromtimestamp(wall, UTC))}",
    )
    return "".join(f"{line}\r\n" for line in lines).encode("utf-8", "surrogateescape")


@contextlib.asynccontextmanager
async def lab(
    users: Mapping[str, str],
    *,
    behaviour: Behaviour | None = None,
    directory: Path | None = None,
    wall: Callable[[], float] = time.time,
) -> AsyncIterator[Lab]:
    """Run the servers on free ports of loopback until the block ends. `users`: address -> password.

    Certificates go to `directory`, or to a temporary one that goes with the servers. `wall`: Unix seconds for the
    times that the servers write down.
    """
    behaviour = behaviour or Flawless()
    # each says a lot about every line that it reads
    for name in ("mail.log", "pymap"):
        logging.getLogger(name).setLevel(logging.ERROR)
    with contextlib.ExitStack() as stack:
        place = directory or Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="mailprobe-")))
        authority, certificates = _certificates(place)
        doors = Doors(behaviour, certificates)
        mailboxes = Mailboxes(users, behaviour, certificates[Credential.GOOD], wall)
        await mailboxes.create(JUNK)
        post = Post(doors, mailboxes, users, behaviour, wall)
        smtp = Submissions(users, behaviour, certificates, post.accept)
        zones = Zones(usual_records({user.rpartition("@")[2] for user in users}, HOST_NAME))
        as_mx = partial(smtp.serve, login_required=False)
        as_submission = partial(smtp.serve, login_required=True)
        try:
            yield Lab(
                ca_file=authority.ca_file,
                mx_port=doors.open("mx", as_mx, moment=Moment.CONNECT, implicit_tls=False),
                submission_port=doors.open("submission", as_submission, moment=Moment.CONNECT, implicit_tls=False),
                submissions_port=doors.open("submissions", as_submission, moment=Moment.CONNECT, implicit_tls=True),
                imap_port=doors.open("imap", mailboxes.serve, moment=Moment.IMAP_CONNECT, implicit_tls=False),
                imaps_port=doors.open("imaps", mailboxes.serve, moment=Moment.IMAP_CONNECT, implicit_tls=True),
                mailboxes=mailboxes,
                dns_port=DnsServer(zones, behaviour).open(doors),
                zones=zones,
            )
        finally:
            await doors.close()


def _certificates(directory: Path) -> tuple[Authority, dict[Credential, ssl.SSLContext]]:
    authority = Authority(directory)
    (directory / "untrusted").mkdir(exist_ok=True)
    stranger = Authority(directory / "untrusted", "a CA that nobody was told of")
    past = timedelta(days=-30), timedelta(days=-1)
    issued = {
        Credential.GOOD: authority.issue("server"),
        Credential.EXPIRED: authority.issue("expired", begins=past[0], ends=past[1]),
        Credential.UNTRUSTED: stranger.issue("server", LAB_NAMES),
        Credential.NAME: authority.issue("name", ("other.lab.test",)),
    }
    return authority, {credential: _server_context(files) for credential, files in issued.items()}


def _server_context(files: CertificateFiles) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(files.certificate, files.key)
    return context
