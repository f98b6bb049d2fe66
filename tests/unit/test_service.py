"""What a service manager hears, on a real datagram socket."""

from __future__ import annotations

import logging
import os
import socket
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from mailprobe.service import ServiceManager


@pytest.fixture
def manager(tmp_path: Path) -> Iterator[socket.socket]:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listening:
        listening.bind(str(tmp_path / "notify"))
        listening.settimeout(10)
        yield listening


def test_what_is_told(manager: socket.socket) -> None:
    service = ServiceManager.of({"NOTIFY_SOCKET": manager.getsockname()})
    service.ready("probing 3 routes\nWATCHDOG=trigger")
    assert manager.recv(4096).decode() == "READY=1\nSTATUS=probing 3 routes�WATCHDOG=trigger"
    before = time.monotonic_ns() // 1000
    service.reloading()
    first, second = manager.recv(4096).decode().splitlines()
    assert first == "RELOADING=1"
    assert before <= int(second.removeprefix("MONOTONIC_USEC=")) <= time.monotonic_ns() // 1000
    service.alive()
    assert manager.recv(4096) == b"WATCHDOG=1"
    service.stopping()
    assert manager.recv(4096).startswith(b"STOPPING=1\nSTATUS=")


def test_an_abstract_address() -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listening:
        listening.bind("")  # the kernel chooses one
        listening.settimeout(10)
        name: bytes = listening.getsockname()
        ServiceManager.of({"NOTIFY_SOCKET": "@" + name[1:].decode()}).alive()
        assert listening.recv(4096) == b"WATCHDOG=1"


@pytest.mark.parametrize("address", ["", "vsock:2:1234", "relative"])
def test_nobody_to_tell(address: str, caplog: pytest.LogCaptureFixture) -> None:
    service = ServiceManager.of({"NOTIFY_SOCKET": address, "WATCHDOG_USEC": "30000000"})
    service.ready("")
    assert service.watchdog_interval is None
    assert caplog.messages == []


def test_a_manager_that_is_gone_is_said_and_survived(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        ServiceManager.of({"NOTIFY_SOCKET": str(tmp_path / "gone")}).alive()
    assert caplog.messages == ["cannot tell the service manager WATCHDOG=1: No such file or directory"]


@pytest.mark.parametrize(
    ("environ", "seconds"),
    [
        ({"WATCHDOG_USEC": "30000000"}, 30.0),
        ({"WATCHDOG_USEC": "1500000", "WATCHDOG_PID": str(os.getpid())}, 1.5),
        ({"WATCHDOG_USEC": "30000000", "WATCHDOG_PID": "1"}, None),
        ({"WATCHDOG_USEC": "0"}, None),
        ({"WATCHDOG_USEC": "soon"}, None),
        ({}, None),
    ],
)
def test_the_watchdog(environ: dict[str, str], seconds: float | None) -> None:
    assert ServiceManager.of({"NOTIFY_SOCKET": "/run/notify"} | environ).watchdog_interval == seconds
