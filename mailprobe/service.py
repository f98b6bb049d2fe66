"""What a service manager is told: systemd's notification protocol, one datagram a message.

Whoever starts a service of `Type=notify` names a socket in NOTIFY_SOCKET. Source: sd_notify(3), sd_watchdog_enabled(3).
"""

from __future__ import annotations

import logging
import os
import socket
import time
from collections.abc import Mapping

from mailprobe.errors import plain_text

LOG = logging.getLogger(__name__)


class ServiceManager:
    """Tells the service manager how the agent is; without one, every call does nothing."""

    def __init__(self, address: str = "", watchdog_interval: float | None = None) -> None:
        self._address = "\0" + address[1:] if address.startswith("@") else address
        self.watchdog_interval = watchdog_interval if address else None
        """Seconds within which `alive` must be called again; None where nobody waits for it."""

    @classmethod
    def of(cls, environ: Mapping[str, str]) -> ServiceManager:
        """The one that started this process; one that nobody hears where none did."""
        address = environ.get("NOTIFY_SOCKET", "")
        return cls(address if address[:1] in ("/", "@") else "", _watchdog(environ))

    def ready(self, status: str) -> None:
        """The agent probes, or goes on after `reloading`; the status is a line for people."""
        self._tell("READY=1", _status(status))

    def reloading(self) -> None:
        """The agent reads its configuration again; `ready` ends it."""
        self._tell("RELOADING=1", f"MONOTONIC_USEC={time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000}")

    def stopping(self) -> None:
        """The agent has begun to end."""
        self._tell("STOPPING=1", _status("ending: canaries in flight are journalled"))

    def alive(self) -> None:
        """The loop that probes turns."""
        self._tell("WATCHDOG=1")

    def _tell(self, *lines: str) -> None:
        if not self._address:
            return
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sending:
                sending.setblocking(False)
                sending.sendto("\n".join(lines).encode(), self._address)
        except OSError as error:
            LOG.warning("cannot tell the service manager %s: %s", lines[0], error.strerror)


def _status(text: str) -> str:
    return f"STATUS={plain_text(text, 200)}"


def _watchdog(environ: Mapping[str, str]) -> float | None:
    """Seconds, if it is for this process."""
    microseconds, process = environ.get("WATCHDOG_USEC", ""), environ.get("WATCHDOG_PID", "")
    if process not in ("", str(os.getpid())) or not (microseconds.isascii() and microseconds.isdigit()):
        return None
    return int(microseconds) / 1e6 or None
