"""What our adapter leans on in aiosmtplib and dnspython is still there, and still as it was."""

from __future__ import annotations

import asyncio
import importlib

import aiosmtplib
import pytest
from aiosmtplib.protocol import SMTPProtocol

from mailprobe.net import failure
from mailprobe.smtp.protocol import PRIVATE_NAMES


async def test_private_names() -> None:
    protocol = SMTPProtocol(asyncio.get_running_loop())
    missing = [name for name in PRIVATE_NAMES if not hasattr(protocol, name)]
    assert not missing, f"aiosmtplib {aiosmtplib.__version__} has no {missing}"


async def test_a_reply_is_due_from_the_connection_on_and_then_after_each_command() -> None:
    protocol = SMTPProtocol(asyncio.get_running_loop())
    protocol.connection_made(asyncio.Transport())
    assert protocol._response_pending
    assert protocol._response_waiter is not None
    assert not protocol._response_waiter.done()


@pytest.mark.parametrize("name", failure._DNS)
def test_dns_exceptions_are_still_called_so(name: str) -> None:
    module, _, class_ = name.rpartition(".")
    found = getattr(importlib.import_module(module), class_)
    assert failure._dns_reason(found.__new__(found)) is failure._DNS[name]
