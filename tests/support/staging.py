"""A whole agent on the embedded servers, in a thread of its own, whose mail a test may break and mend.

with staged(tmp_path) as stage:
    stage.break_mail("sales")  ...  stage.mend()
"""

from __future__ import annotations

import asyncio
import contextlib
import secrets
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

from mailprobe.app import Agent
from mailprobe.cli.demo import DOMAIN, MAILBOXES, SENDERS, settings
from mailprobe.clock import Clock
from mailprobe.config.load import load
from mailprobe.config.types import HostPort
from mailprobe.lab.behaviour import Answer, Context, Moment, Say
from mailprobe.lab.lively import Lively
from mailprobe.lab.servers import lab

BUSY = "451 4.3.2 Temporary server error. Please try again later"


class Breakable(Lively):
    """Mail to these mailboxes is refused with `BUSY`; what comes from `untouched` is not."""

    def __init__(self) -> None:
        super().__init__()
        self.broken: frozenset[str] = frozenset()
        self.untouched = ""
        self.delay = 0.0

    async def at(self, moment: Moment, context: Context) -> Answer | None:
        name = (context.recipient or "").partition("@")[0]
        ours = not self.untouched or not (context.sender or "").startswith(self.untouched)
        if moment is Moment.RCPT and name in self.broken and ours:
            return Say((BUSY,))
        if moment is Moment.QUEUE and self.delay:
            await asyncio.sleep(self.delay)
        return await super().at(moment, context)


class Stage:
    """A running agent: `url` is its page, `file` its configuration."""

    def __init__(self, directory: Path, clock: Clock | None, defaults: dict[str, str]) -> None:
        self.behaviour = Breakable()
        self.file = directory / "mailprobe.yaml"
        self.url = ""
        self.agent: Agent | None = None
        self._directory = directory
        self._clock = clock
        self._defaults = defaults
        self._ready = threading.Event()
        self._failed: BaseException | None = None
        self._thread = threading.Thread(target=self._run)

    def break_mail(self, *mailboxes: str, untouched: str = "") -> None:
        """From now on mail to these mailboxes is refused, but for that of the sender `untouched`."""
        self.behaviour.untouched = untouched
        self.behaviour.broken = frozenset(mailboxes)

    def mend(self) -> None:
        """From now on all mail goes through."""
        self.behaviour.broken = frozenset()

    def start(self) -> None:
        self._thread.start()
        assert self._ready.wait(30), "the agent did not start"
        if self._failed:
            raise self._failed

    def end(self) -> None:
        if self.agent:
            self._loop.call_soon_threadsafe(self.agent.stop)
        self._thread.join(30)
        assert not self._thread.is_alive()

    def _run(self) -> None:
        try:
            asyncio.run(self._play())
        except BaseException as error:  # told to the test
            self._failed = error
        finally:
            self._ready.set()

    async def _play(self) -> None:
        self._loop = asyncio.get_running_loop()
        users = {f"{name}@{DOMAIN}": secrets.token_urlsafe(12) for name in (*SENDERS, *MAILBOXES)}
        wall = {"wall": self._clock.wall} if self._clock else {}
        async with lab(users, behaviour=self.behaviour, directory=self._directory, **wall) as servers:
            configuration: dict[str, Any] = settings(servers, HostPort("127.0.0.1", 0))
            configuration["defaults"] |= self._defaults
            for address, password in users.items():
                (self._directory / f"{address.partition('@')[0]}.password").write_text(password)
            self.file.write_text(yaml.safe_dump(configuration))
            await Agent(
                load(self.file, {}), lambda: load(self.file, {}), clock=self._clock, started=self._started
            ).run()

    def _started(self, agent: Agent) -> None:
        self.agent, self.url = agent, agent.web.url
        self._ready.set()


@contextlib.contextmanager
def staged(directory: Path, clock: Clock | None = None, **defaults: str) -> Iterator[Stage]:
    """An agent with the demo's nine routes within the block; `defaults` of routes: `interval`, `deadline`."""
    stage = Stage(directory, clock, defaults)
    stage.start()
    try:
        yield stage
    finally:
        stage.end()
