"""A token from a program: what it may print, how long it may take, and what is said when it does not."""

from __future__ import annotations

import asyncio
import base64
import json
import os
import signal
import sys
from pathlib import Path

import pytest
from support.clocks import VirtualClock
from support.loops import both_loops

from mailprobe.auth import token_command
from mailprobe.auth.token_command import CommandFetch
from mailprobe.auth.tokens import Fetched
from mailprobe.errors import NoCredential, Reason

pytestmark = [both_loops, pytest.mark.usefixtures("nothing_blocks")]


async def printed(program: str) -> Fetched:
    return await CommandFetch((sys.executable, "-S", "-c", program), VirtualClock())()


async def test_a_bare_token() -> None:
    got = await printed("print('a.b~c')")
    assert (got.text.reveal(), got.life) == ("a.b~c", None)


async def test_json() -> None:
    said = json.dumps({"access_token": "abc", "expires_in": 1200, "more": {}})
    got = await printed(f"print({said!r})")
    assert (got.text.reveal(), got.life) == ("abc", 1200.0)


async def test_arguments_are_no_shells() -> None:
    fetch = CommandFetch(("/bin/echo", "$HOME;`id`"), VirtualClock())
    with pytest.raises(NoCredential, match="is not a bearer token"):
        await fetch()


@pytest.mark.parametrize(
    ("program", "says"),
    [
        ("import sys; sys.exit('hunter2 on stderr')", "ended with status 1"),
        ("import os; os.kill(os.getpid(), 15)", "ended with status -15"),
        ("", "is not a bearer token"),
        ("print('hunter2 hunter2')", "is not a bearer token"),
        ("print('{\"access_token\": 5')", "is not a bearer token"),
        ("print('{' * 5000)", "is not a bearer token"),
        ("print('x' * 10000)", "more than 8192 characters"),
        ("import itertools\nfor _ in itertools.count(): print('hunter2' * 100)", "printed more than 65536 octets"),
    ],
)
async def test_what_is_no_token(program: str, says: str) -> None:
    with pytest.raises(NoCredential) as caught:
        await printed(program)
    assert caught.value.reason is Reason.AUTH_UNAVAILABLE
    assert says in caught.value.detail
    assert sys.executable in caught.value.detail
    assert "hunter2" not in str(caught.value)


async def test_no_such_program() -> None:
    with pytest.raises(NoCredential, match="cannot be run: No such file"):
        await CommandFetch(("/nonsuch/program",), VirtualClock())()


async def test_a_program_that_does_not_end_is_ended_with_all_that_it_started(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(token_command, "TIMEOUT", 3.0)
    file = tmp_path / "started"
    child = f"import os, time; open({str(file)!r}, 'w').write(str(os.getpid())); time.sleep(600)"
    program = f"import subprocess, sys; subprocess.run([sys.executable, '-S', '-c', {child!r}])"
    with pytest.raises(NoCredential, match="took longer than 3 s"):
        await printed(program)
    if file.exists() and (pid := file.read_text()):
        for _ in range(500):
            state = Path(f"/proc/{pid}/stat")
            if not state.exists() or state.read_text().split()[2] == "Z":
                return
            await asyncio.sleep(0.02)
        raise AssertionError("what it started is still there")


async def test_a_token_that_has_expired_is_none() -> None:
    def jwt(expires: float) -> str:
        claims = base64.urlsafe_b64encode(json.dumps({"exp": expires}).encode()).decode().rstrip("=")
        return f"e30.{claims}.c2lnbg"

    now = VirtualClock().wall()
    assert (await printed(f"print({jwt(now + 60)!r})")).life == 60.0
    with pytest.raises(NoCredential, match="has expired") as caught:
        await printed(f"print({jwt(now - 1)!r})")
    assert caught.value.reason is Reason.TOKEN_EXPIRED


async def test_what_keeps_the_output_open_keeps_no_descriptor_of_ours(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(token_command, "TIMEOUT", 1.0)
    file = tmp_path / "started"
    child = "import time; time.sleep(60)"
    program = (
        f"import subprocess, sys\nchild = subprocess.Popen([sys.executable, '-S', '-c', {child!r}],"
        f" start_new_session=True)\nopen({str(file)!r}, 'a').write(f'{{child.pid}} ')"
    )
    await printed("print('warm')")
    before = len(os.listdir("/proc/self/fd"))
    try:
        for _ in range(2):
            with pytest.raises(NoCredential, match="took longer than 1 s"):
                await printed(program)
        assert len(os.listdir("/proc/self/fd")) <= before
    finally:
        for pid in file.read_text().split() if file.exists() else ():
            os.kill(int(pid), signal.SIGKILL)


async def test_a_program_does_not_speak_for_the_agent(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("NOTIFY_SOCKET", "WATCHDOG_PID", "WATCHDOG_USEC", "MAILPROBE_TEST"):
        monkeypatch.setenv(name, "1")
    got = await printed("import os; print(*(n for n in os.environ if n[:5] in ('NOTIF', 'WATCH', 'MAILP')))")
    assert got.text.reveal() == "MAILPROBE_TEST"
