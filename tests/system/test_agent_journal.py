"""Trouble with the journal of a running agent is said, in the log and in /metrics, and does not stop the probing."""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.agents import AgentProcess, Parts
from support.servers_fixtures import MailLab


def an_agent(directory: Path, lab: MailLab, journal: Path | None = None) -> AgentProcess:
    agent, parts = AgentProcess(directory), Parts(directory, lab.ca_file)
    agent.journal_file = journal or agent.journal_file
    agent.configure(
        defaults={"interval": "200ms", "deadline": "20s", "timeout": "5s"},
        senders={"out": parts.sender(lab.postfix, lab.dovecot.account("sender"))},
        mailboxes={"box": parts.mailbox(lab.dovecot, lab.new_account())},
        routes={"r": {"from": "out", "to": "box"}},
    )
    return agent


def delivered(agent: AgentProcess) -> float:
    return agent.metrics().value("mailprobe_canaries_total", route="r", outcome="delivered")


def goes_on(agent: AgentProcess) -> None:
    """Five canaries more are delivered."""
    before = delivered(agent)
    agent.until(lambda: delivered(agent) >= before + 5)
    assert agent.metrics().value("mailprobe_agent_errors_total") == 0


def on_disk(agent: AgentProcess) -> int:
    return int(agent.rows("SELECT count(*) FROM canary WHERE outcome = 'delivered'")[0][0])


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 600 kB; it is filled by writing to `ballast` in it."""
    if os.geteuid() != 0:
        pytest.skip("mounting a small disk needs root")
    place = tmp_path / "disk"
    place.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=600k", "tmpfs", place], capture_output=True)
    if mounted.returncode:
        pytest.skip(f"a small disk cannot be mounted here: {mounted.stderr.decode().strip()}")
    yield place
    subprocess.run(["umount", "--lazy", place], check=True)


def fill(place: Path) -> Path:
    """Leaves no room on the disk."""
    ballast = place / "ballast"
    with ballast.open("ab", buffering=0) as file:
        for size in (4096, 1):
            try:
                while True:
                    file.write(b"x" * size)
            except OSError:
                continue
    return ballast


def test_a_disk_that_fills_up_and_is_emptied(tmp_path: Path, mail_lab: MailLab, small_disk: Path) -> None:
    agent = an_agent(tmp_path, mail_lab, small_disk / "journal.db")
    with agent.running():
        goes_on(agent)
        ballast = fill(small_disk)
        agent.until(lambda: "journal: unwritable:" in agent.log())
        goes_on(agent)
        assert agent.metrics().value("mailprobe_journal_write_errors_total") >= 1
        ballast.unlink()
        agent.until(lambda: "journal: recovered:" in agent.log())
        goes_on(agent)
        judged = delivered(agent)
        agent.until(lambda: on_disk(agent) >= judged, what="what was kept in memory to be on disk")
        agent.stop()
    assert "Traceback" not in agent.log()


def test_a_disk_that_is_full_at_the_start(tmp_path: Path, mail_lab: MailLab, small_disk: Path) -> None:
    agent = an_agent(tmp_path, mail_lab, small_disk / "journal.db")
    (small_disk / "journal.db.key").write_text("0123456789abcdef" * 4)
    fill(small_disk)
    with agent.running():
        assert "journal: unwritable:" in agent.log()
        goes_on(agent)
        assert agent.stop() < 5


def test_a_disk_that_may_not_be_written(tmp_path: Path, mail_lab: MailLab, small_disk: Path) -> None:
    agent = an_agent(tmp_path, mail_lab, small_disk / "journal.db")
    with agent.running():
        goes_on(agent)
        agent.stop()
    before = on_disk(agent)
    subprocess.run(["mount", "-o", "remount,ro", small_disk], check=True)
    with agent.running():
        goes_on(agent)
        assert "journal: unwritable:" in agent.log()
        subprocess.run(["mount", "-o", "remount,rw", small_disk], check=True)
        agent.until(lambda: on_disk(agent) > before)
        agent.stop()


def test_a_directory_in_which_no_key_can_be_kept(tmp_path: Path, mail_lab: MailLab, small_disk: Path) -> None:
    agent = an_agent(tmp_path, mail_lab, small_disk / "journal.db")
    subprocess.run(["mount", "-o", "remount,ro", small_disk], check=True)
    agent.start()
    assert agent.ended() == 2
    assert "cannot write the canary key here: Read-only file system; give agent.key_file" in agent.log()
    assert "Traceback" not in agent.log()


def test_the_file_removed_while_it_is_in_use(tmp_path: Path, mail_lab: MailLab) -> None:
    agent = an_agent(tmp_path, mail_lab)
    with agent.running():
        goes_on(agent)
        for part in tmp_path.glob("journal.db*"):
            if not part.name.endswith((".key", ".lock")):
                part.unlink()
        goes_on(agent)
        agent.until(lambda: on_disk(agent) >= 3, what="a new journal")
        agent.stop()


def test_a_damaged_file_is_set_aside(tmp_path: Path, mail_lab: MailLab) -> None:
    agent = an_agent(tmp_path, mail_lab)
    with agent.running():
        goes_on(agent)
        agent.stop()
    damage = bytearray(agent.journal_file.read_bytes())
    damage[4096:] = bytes(byte ^ 0xFF for byte in damage[4096:])
    agent.journal_file.write_bytes(damage)
    with agent.running():
        assert "journal: damaged:" in agent.log()
        goes_on(agent)
        assert agent.metrics().value("mailprobe_journal_write_errors_total") >= 1
        agent.stop()
    (aside,) = (path for path in tmp_path.glob("journal.db.damaged-*") if not path.name.endswith(("-wal", "-shm")))
    assert aside.read_bytes()[: len(damage)] == damage
    assert on_disk(agent) >= 5


def test_a_second_agent_on_the_same_journal(tmp_path: Path, mail_lab: MailLab) -> None:
    first = an_agent(tmp_path, mail_lab)
    elsewhere = tmp_path / "second"
    elsewhere.mkdir()
    second = an_agent(elsewhere, mail_lab, first.journal_file)
    with first.running():
        goes_on(first)
        second.start()
        assert second.ended() == 2
        assert str(first.journal_file) in second.log()
        assert "another" in second.log()
        assert "Traceback" not in second.log()
        goes_on(first)
        first.stop()
    with second.running():  # once it is free
        goes_on(second)


def test_without_a_journal(tmp_path: Path, mail_lab: MailLab) -> None:
    agent = an_agent(tmp_path, mail_lab)
    del agent.settings["agent"]["journal"]
    agent.configure(agent=agent.settings["agent"])
    with agent.running():
        goes_on(agent)
        assert "canaries in flight do not survive a restart" in agent.log()
        assert not agent.journal_file.exists()
        assert agent.stop() < 5


def drawn(agent: AgentProcess) -> int:
    """How many canaries the page's picture of the last hours is of."""
    found = re.search(r'class="spark"[^>]*aria-label="\d+ of (\d+) affected', agent.get("/")[1])
    return int(found[1]) if found else 0


def test_the_last_hours_are_drawn_after_a_restart_too(tmp_path: Path, mail_lab: MailLab) -> None:
    agent = an_agent(tmp_path, mail_lab)
    with agent.running():
        agent.until(lambda: delivered(agent) >= 5)
        assert drawn(agent) >= 5
        agent.configure(routes={"r": {"from": "out", "to": "box", "interval": "1h"}})
        assert agent.reload()[0] == 200
        agent.until(lambda: not agent.unjudged())
        before = drawn(agent)
        agent.stop()
    with agent.running():
        assert before <= drawn(agent) <= before + 1  # of its own it begins one at most
