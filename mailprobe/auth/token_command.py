"""A token from a program of the user's: argv without a shell, bounded in time and in what it may print."""

from __future__ import annotations

import asyncio
import json
import os
import signal
from asyncio.subprocess import DEVNULL, PIPE, Process
from contextlib import suppress
from typing import Any, Final

from mailprobe.auth.bearer import checked_token, expiry_of, seconds_of
from mailprobe.auth.passwords import Secret
from mailprobe.auth.tokens import Fetched
from mailprobe.clock import Clock
from mailprobe.errors import NoCredential, Reason

TIMEOUT: Final = 20.0
"""Seconds. Command line tools of the large providers take two or three."""
LARGEST: Final = 65536
"""Octets of output."""


class CommandFetch:
    """Runs the program for each token. It prints the token, or JSON with `access_token` and `expires_in`.

    What it writes to stderr is thrown away: nobody knows what is in it.
    """

    def __init__(self, command: tuple[str, ...], clock: Clock) -> None:
        self._command = command
        self._clock = clock

    async def __call__(self) -> Fetched:
        """One run. Raises NoCredential, whose text has the program's name and nothing else of it."""
        output = await self._output()
        text, life = _token_in(output)
        token = checked_token(text, f"printed by {self._name}")
        if life is None and (expiry := expiry_of(token)):
            life = max(expiry - self._clock.wall(), 1.0)
        return Fetched(Secret(token), life)

    @property
    def _name(self) -> str:
        return f"token_command {self._command[0]}"

    async def _output(self) -> str:
        try:
            process = await asyncio.create_subprocess_exec(
                *self._command, stdin=DEVNULL, stdout=PIPE, stderr=DEVNULL, start_new_session=True
            )
        except OSError as error:
            raise self._failed(f"cannot be run: {error.strerror}") from None
        try:
            async with asyncio.timeout(TIMEOUT):
                output = await _read(process)
                status = await process.wait() if len(output) <= LARGEST else None
        except TimeoutError:
            raise self._failed(f"took longer than {TIMEOUT:g} s") from None
        finally:
            await _end(process)
        if status is None:
            raise self._failed(f"printed more than {LARGEST} octets")
        if status:
            raise self._failed(f"ended with status {status}")
        return output.decode("utf-8", "replace").strip()

    def _failed(self, why: str) -> NoCredential:
        return NoCredential(Reason.AUTH_UNAVAILABLE, f"{self._name} {why}")


async def _read(process: Process) -> bytes:
    assert process.stdout is not None
    output = bytearray()
    while len(output) <= LARGEST and (chunk := await process.stdout.read(4096)):
        output += chunk
    return bytes(output)


async def _end(process: Process) -> None:
    """Ends the program and all that it started."""
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    await process.wait()


def _token_in(output: str) -> tuple[str, float | None]:
    if not output.startswith("{"):
        return output, None
    said: Any = None
    with suppress(ValueError, RecursionError):
        said = json.loads(output)
    if not isinstance(said, dict):
        return "", None
    return str(said.get("access_token", "")), seconds_of(said.get("expires_in"))
