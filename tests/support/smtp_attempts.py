"""Attempts against a scripted server, with what a test does not care about filled in."""

from __future__ import annotations

import atexit
import shutil
import ssl
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from functools import cache
from pathlib import Path
from tempfile import mkdtemp

from mailprobe.clock import SystemClock
from mailprobe.lab.certificates import Authority
from mailprobe.model import Attempt, SenderKind, TlsMode
from mailprobe.net.resolve import Resolver
from mailprobe.plan import Endpoint, Login, SecretReference, Sender
from mailprobe.smtp import Message, submit
from support.smtp_script import SmtpScript

PASSWORD = "correct horse/battery+staple"
USERNAME = "canary@lab.test"
LOGIN = Login(USERNAME, SecretReference(env="MAILPROBE_TEST_PASSWORD"))
MESSAGE = Message("from@lab.test", "to@lab.test", b"Subject: canary\r\n\r\n.hello\r\n", envid="v1.a+b=c")


def sender_to(server: SmtpScript, tls: TlsMode = TlsMode.PLAINTEXT, login: Login | None = None) -> Sender:
    """A submission sender whose only server is the scripted one."""
    ca_file = None if tls is TlsMode.PLAINTEXT else certificates().ca_file
    endpoint = Endpoint("127.0.0.1", server.port, tls, ca_file=ca_file)
    return Sender("script", SenderKind.SUBMISSION, endpoint, "from@lab.test", "probe.test", login=login)


def with_endpoint(sender: Sender, **changes: object) -> Sender:
    """The same sender with another endpoint."""
    return replace(sender, endpoint=replace(sender.endpoint, **changes))  # type: ignore[arg-type]


async def attempt(
    sender: Sender,
    message: Message = MESSAGE,
    *,
    number: int = 1,
    timeout: float = 5.0,
    resolver: Resolver | None = None,
    dot_sent: Callable[[float], None] = lambda at: None,
    target_number: int | None = None,
) -> Attempt:
    """One attempt on the machine's clock."""
    return await submit(
        sender,
        message,
        number=number,
        timeout=timeout,
        clock=SystemClock(),
        resolver=resolver or Resolver(),
        dot_sent=dot_sent,
        target_number=target_number,
    )


class Certificates:
    """A CA, and servers' contexts with a good certificate and each kind of bad one."""

    def __init__(self) -> None:
        directory = Path(mkdtemp(prefix="mailprobe-certificates-"))
        atexit.register(shutil.rmtree, directory)
        self._authority = Authority(directory)
        self.ca_file = self._authority.ca_file
        unknown = directory / "unknown"
        unknown.mkdir()
        self.good = self._context(self._authority, "good")
        self.expired = self._context(self._authority, "expired", begins=timedelta(days=-30), ends=timedelta(days=-2))
        self.wrong_name = self._context(self._authority, "wrong", names=("other.lab.test", "third.lab.test"))
        self.untrusted = self._context(Authority(unknown, "nobody's CA"), "untrusted")

    def _context(self, authority: Authority, label: str, **how: object) -> ssl.SSLContext:
        files = authority.issue(label, **how)  # type: ignore[arg-type]
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(files.certificate, files.key)
        return context


@cache
def certificates() -> Certificates:
    """Made once in a run of the tests."""
    return Certificates()


def stages_of(attempt: Attempt) -> list[str]:
    """The names of the stages that were timed."""
    return [str(time.stage) for time in attempt.stages]


def said(attempt: Attempt, direction: str) -> list[str]:
    """The transcript's lines of one direction."""
    return [line.text for line in attempt.transcript if line.direction == direction]
