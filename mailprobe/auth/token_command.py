"""A token from a program of the user's: argv without a shell, bounded in time and in what it may print."""

from __future__ import annotations

import asyncio
import json
import os
import signal
from asyncio.subprocess import DEVNULL, Process
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
_SYSTEMD: Final = frozenset({"NOTIFY_SOCKET", "WATCHDOG_PID", "WATCHDOG_USEC"})


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
            life = expiry - self._clock.wall()
            if life <= 0:
                raise self._failed("printed a token that has expired, by this machine's clock", Reason.TOKEN_EXPIRED)
        return Fetched(Secret(token), life)

    @property
    def _name(self) -> str:
        return f"token_command {self._command[0]}"

    async def _output(self) -> str:
        # not asyncio's own pipe: that stays open for as long as anything that the program has started holds its end
        source, sink = os.pipe()
        try:
            try:
                process = await self._started(sink)
            finally:
                os.close(sink)
            return await self._printed(process, source)
        finally:
            os.close(source)

    async def _started(self, sink: int) -> Process:
        try:
            return await asyncio.create_subprocess_exec(
                *self._command, stdin=DEVNULL, stdout=sink, stderr=DEVNULL, start_new_session=True, env=_environment()
            )
        except OSError as error:
            raise self._failed(f"cannot be run: {error.strerror}") from None

    async def _printed(self, process: Process, source: int) -> str:
        try:
            async with asyncio.timeout(TIMEOUT):
                output = await _read(source)
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

    def _failed(self, why: str, reason: Reason = Reason.AUTH_UNAVAILABLE) -> NoCredential:
        return NoCredential(reason, f"{self._name} {why}")


def _environment() -> dict[str, str]:
    """Ours, but for what lets a process speak for the agent to systemd. Source: sd_notify(3)."""
    return {name: value for name, value in os.environ.items() if name not in _SYSTEMD}


async def _read(source: int) -> bytes:
    os.set_blocking(source, False)
    loop, readable, output = asyncio.get_running_loop(), asyncio.Event(), bytearray()
    loop.add_reader(source, readable.set)
    try:
        while len(output) <= LARGEST:
            await readable.wait()
            readable.clear()
            with suppress(BlockingIOError):
                if not (chunk := os.read(source, 4096)):
                    break
                output += chunk
    finally:
        loop.remove_reader(source)
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
