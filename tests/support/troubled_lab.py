"""mailprobe's own servers, on which every address meets another fate, and the routes of an agent that probes them all.

async with troubled_lab(tmp_path) as (servers, sections): agent.configure(**sections)
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, Final

from mailprobe.lab.behaviour import Answer, Bounce, Context, Drop, Junk, Lose, Moment, Say
from mailprobe.lab.servers import Lab, lab

PASSWORD: Final = "pw-troubled"
FATES: Final[dict[tuple[str, Moment], Answer]] = {
    ("deferred", Moment.RCPT): Say(("451 4.3.2 Temporary server issue",)),
    ("rejected", Moment.RCPT): Say(("550 5.1.1 No such user",)),
    ("limited", Moment.RCPT): Say(("432 4.3.2 Sender thread limit exceeded",)),
    ("junked", Moment.MAILBOX): Junk(),
    ("lost", Moment.QUEUE): Lose(),
    ("dropped", Moment.IMAP_FETCH): Drop(),
    ("bounced", Moment.QUEUE): Bounce("550 5.1.1 No such user"),
}
BOXES: Final = ("fine", "late", "twice", "blind", *(name for name, _ in FATES))
SECONDS_LATE: Final = 3.5
"""More than the deadline, less than `late_until`."""
DEFAULTS: Final = {"interval": "1s", "deadline": "2s", "late_until": "5s", "timeout": "2s"}


class Fates:
    """A `lab.behaviour.Behaviour` that goes by the local part of the recipient, or of who reads."""

    async def at(self, moment: Moment, context: Context) -> Answer | None:
        """What becomes of this recipient's mail; mail to `late` takes its time."""
        name = (context.recipient or context.user or "").partition("@")[0]
        if (name, moment) == ("late", Moment.QUEUE):
            await asyncio.sleep(SECONDS_LATE)
        return FATES.get((name, moment))


@contextlib.asynccontextmanager
async def troubled_lab(directory: Path) -> AsyncIterator[tuple[Lab, dict[str, Any]]]:
    """The servers, and the sections of a configuration with a route to each box."""
    users = {f"{name}@lab.test": PASSWORD for name in ("sender", *BOXES)}
    async with lab(users, behaviour=Fates(), directory=directory) as servers:
        yield servers, _sections(servers, directory)


def _sections(servers: Lab, directory: Path) -> dict[str, Any]:
    for name, text in (("right", PASSWORD), ("wrong", "pw-wrong")):
        (directory / f"{name}.password").write_text(text)
    senders = {name: _sender(servers) for name in ("out", "limited", "untrusted")}
    senders["untrusted"]["tls_server_name"] = "elsewhere.test"
    boxes = {name: _box(servers, name) for name in ("sender", *BOXES)}
    boxes["twice"]["cleanup"] = "keep"
    routes = {name: {"from": "limited" if name == "limited" else "out", "to": name} for name in BOXES}
    routes["untrusted"] = {"from": "untrusted", "to": "fine"}
    return {"defaults": DEFAULTS, "senders": senders, "mailboxes": boxes, "routes": routes}


def _sender(servers: Lab) -> dict[str, Any]:
    return {
        "submission": f"127.0.0.1:{servers.submission_port}",
        "tls": "starttls",
        "from": "sender@lab.test",
        "bounces_to": "sender",
        "ca_file": str(servers.ca_file),
        "auth": {"username": "sender@lab.test", "password_file": "right.password"},
        "limits": {"connections": 20},
    }


def _box(servers: Lab, name: str) -> dict[str, Any]:
    secret = "wrong" if name == "blind" else "right"
    return {
        "address": f"{name}@lab.test",
        "imap": f"127.0.0.1:{servers.imaps_port}",
        "tls": "implicit",
        "ca_file": str(servers.ca_file),
        "auth": {"username": f"{name}@lab.test", "password_file": f"{secret}.password"},
    }
