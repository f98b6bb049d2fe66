"""Every fault that an outage file can name is the fault that a client meets, at the stage that the file names."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from support.outages import RECIPIENT, SENDER, Scene, outage_of, playing

from mailprobe.errors import ProbeFailure, Reason, Stage
from mailprobe.imap import Session
from mailprobe.lab.outage import GOES_TOGETHER, At, Do, Effect
from mailprobe.model import Attempt, AttemptOutcome

LATER = "451 4.3.2 temporary server issue"
DELAY = 60.0
"""Seconds of the outage; 60 ms at the speed of these tests."""
FAST, SLOW = 1000.0, 30.0
PATIENT, IMPATIENT = 10.0, 0.3
AT_COMMANDS = (At.EHLO, At.AUTH, At.MAIL, At.RCPT, At.DATA)
IMAP = (At.IMAP_CONNECT, At.IMAP_LOGIN, At.IMAP_FETCH)
AFTER = (At.QUEUE, At.MAILBOX)

SEEN_AT = {
    At.DNS: Stage.RESOLVE,
    At.CONNECT: Stage.GREETING,
    At.GREETING: Stage.GREETING,
    At.STARTTLS: Stage.STARTTLS,
    At.END_OF_DATA: Stage.END_OF_DATA,
    **{at: Stage(at.value) for at in AT_COMMANDS},
}
"""Where a client of SMTP notices; what a server does to a TCP connection it has, its client meets at the greeting."""


def pairs(*ats: At, do: Do | None = None) -> list[tuple[At, Do]]:
    """What goes together at these moments."""
    return [(at, each) for at in ats for each in sorted(GOES_TOGETHER[at]) if do in (None, each)]


SMTP = tuple(SEEN_AT)
REPLYING = [At.GREETING, *AT_COMMANDS, At.STARTTLS, At.END_OF_DATA]
DROPPING = [at for at, _ in pairs(*SMTP, do=Do.DROP)]
STALLING = [at for at, _ in pairs(*SMTP, do=Do.STALL)]
DNS = [
    (Do.SERVFAIL, None, Reason.DNS_SERVFAIL),
    (Do.REPLY, "NXDOMAIN", Reason.DNS_NXDOMAIN),
    (Do.REPLY, "SERVFAIL", Reason.DNS_SERVFAIL),
]
IMAP_FAILING = [
    (At.IMAP_CONNECT, Do.REFUSE, None, Stage.TLS, Reason.CONNECTION_LOST),
    (At.IMAP_CONNECT, Do.DROP, None, Stage.TLS, Reason.CONNECTION_LOST),
    (At.IMAP_CONNECT, Do.CERT, "expired", Stage.TLS, Reason.CERTIFICATE_EXPIRED),
    (At.IMAP_CONNECT, Do.CERT, "untrusted", Stage.TLS, Reason.CERTIFICATE_UNTRUSTED),
    (At.IMAP_LOGIN, Do.REPLY, "NO AUTHENTICATE failed.", Stage.AUTH, Reason.AUTH_REJECTED),
    (At.IMAP_LOGIN, Do.DROP, None, Stage.AUTH, Reason.CONNECTION_LOST),
    (At.IMAP_FETCH, Do.REPLY, "NO not now", Stage.SELECT, None),
    (At.IMAP_FETCH, Do.DROP, None, Stage.SELECT, Reason.CONNECTION_LOST),
]
IMAP_SLOW = [*pairs(*IMAP[:2], do=Do.DELAY), *pairs(*IMAP, do=Do.STALL)]
TRIED = {
    *((at, Do.REPLY) for at in REPLYING),
    *((at, Do.DROP) for at in DROPPING),
    *((at, do) for at in SMTP for do in (Do.DELAY, Do.STALL)),
    *((At.DNS, do) for do, _, _ in DNS),
    *((at, do) for at in AFTER for do in (Do.DELAY, Do.LOSE)),
    *((at, do) for at, do, *_ in IMAP_FAILING),
    *IMAP_SLOW,
    # each a test of its own
    (At.STARTTLS, Do.CERT),
    (At.CONNECT, Do.REFUSE),
    (At.QUEUE, Do.BOUNCE),
    (At.MAILBOX, Do.JUNK),
    (At.IMAP_FETCH, Do.DELAY),
}


def effect(at: At, do: Do, reply: str | None = None, seconds: float | None = None) -> Effect:
    return Effect(at, do, reply=reply, seconds=seconds)


def seconds_of(attempt: Attempt, stage: Stage) -> float:
    return sum(time.seconds for time in attempt.stages if time.stage is stage)


async def arrived(scene: Scene, user: str = RECIPIENT, folder: str = "INBOX", count: int = 1) -> float:
    """When so many mails had arrived."""
    async with asyncio.timeout(10):
        while await scene.servers.mailboxes.count(user, folder) < count:
            await asyncio.sleep(0.001)
    return scene.clock.now()


@pytest.mark.parametrize("at", REPLYING)
@pytest.mark.parametrize("reply", [LATER, "421-4.3.0 First line\n421 4.3.0 Try again later\n"], ids=["451", "421"])
async def test_a_reply(tmp_path: Path, at: At, reply: str) -> None:
    async with playing(outage_of(effect(at, Do.REPLY, reply)), tmp_path, speed=FAST) as scene:
        attempt = await scene.attempt(PATIENT)
        said = attempt.last_reply
        assert said is not None
        assert (said.stage, said.reply.code) == (SEEN_AT[at], int(reply[:3]))
        assert said.reply.lines == tuple(line[4:] for line in reply.strip().split("\n"))
        assert attempt.stage is SEEN_AT[at]
        assert attempt.outcome is not AttemptOutcome.ACCEPTED
        assert await scene.servers.mailboxes.count(RECIPIENT) == 0


async def test_a_421_closes(tmp_path: Path) -> None:
    async with playing(outage_of(effect(At.EHLO, Do.REPLY, "421 4.3.2 going")), tmp_path, speed=FAST) as scene:
        reader, writer = await asyncio.open_connection("127.0.0.1", scene.servers.mx_port)
        await reader.readline()
        writer.write(b"EHLO tests\r\n")
        async with asyncio.timeout(5):
            assert await reader.read() == b"421 4.3.2 going\r\n"
        writer.close()


@pytest.mark.parametrize("at", DROPPING)
async def test_a_drop(tmp_path: Path, at: At) -> None:
    async with playing(outage_of(effect(at, Do.DROP)), tmp_path, speed=FAST) as scene:
        attempt = await scene.attempt(PATIENT)
        assert (attempt.stage, attempt.reason) == (SEEN_AT[at], Reason.CONNECTION_LOST)
        taken = at is At.END_OF_DATA
        assert (attempt.outcome is AttemptOutcome.IN_DOUBT) == taken
        if taken:
            await arrived(scene)


@pytest.mark.parametrize("at", STALLING)
async def test_a_stall_until_the_phase_ends(tmp_path: Path, at: At) -> None:
    async with playing(outage_of(effect(at, Do.STALL)), tmp_path, speed=SLOW) as scene:
        # what comes before the stage is quick; the stall lasts ten seconds
        attempt = await scene.attempt(IMPATIENT, mx=at is At.DNS)
        stalled = Reason.DNS_TIMEOUT if at is At.DNS else Reason.TIMEOUT
        assert (attempt.stage, attempt.reason) == (SEEN_AT[at], stalled)
        if at is At.END_OF_DATA:
            assert attempt.outcome is AttemptOutcome.IN_DOUBT
            await arrived(scene)


@pytest.mark.parametrize("do", [Do.DELAY, Do.STALL])
@pytest.mark.parametrize("at", SMTP)
async def test_a_delay_and_a_stall_that_ends(tmp_path: Path, at: At, do: Do) -> None:
    async with playing(outage_of(effect(at, do, seconds=DELAY), seconds=3000), tmp_path, speed=FAST) as scene:
        attempt = await scene.attempt(PATIENT, mx=at is At.DNS)
        assert attempt.outcome is AttemptOutcome.ACCEPTED
        assert seconds_of(attempt, SEEN_AT[at]) >= DELAY - 3  # timers of a millisecond
        await arrived(scene)


async def test_a_delay_until_the_phase_ends(tmp_path: Path) -> None:
    outage = outage_of(effect(At.RCPT, Do.DELAY), effect(At.QUEUE, Do.DELAY), seconds=120)
    async with playing(outage, tmp_path, speed=FAST) as scene:
        attempt = await scene.attempt(PATIENT)
        assert attempt.outcome is AttemptOutcome.ACCEPTED
        assert attempt.ended >= 120


@pytest.mark.parametrize("implicit", [False, True], ids=["starttls", "implicit"])
@pytest.mark.parametrize(
    ("which", "reason"),
    [
        ("expired", Reason.CERTIFICATE_EXPIRED),
        ("untrusted", Reason.CERTIFICATE_UNTRUSTED),
        ("name", Reason.CERTIFICATE_NAME),
    ],
)
async def test_a_certificate(tmp_path: Path, which: str, reason: Reason, implicit: bool) -> None:
    async with playing(outage_of(effect(At.STARTTLS, Do.CERT, which)), tmp_path, speed=FAST) as scene:
        attempt = await scene.attempt(PATIENT, implicit=implicit)
        assert (attempt.stage, attempt.reason) == (Stage.TLS, reason)


@pytest.mark.parametrize("do", [Do.DROP, Do.REPLY])
async def test_where_tls_begins_at_once_nothing_is_said_before(tmp_path: Path, do: Do) -> None:
    async with playing(outage_of(effect(At.STARTTLS, do, LATER)), tmp_path, speed=FAST) as scene:
        attempt = await scene.attempt(PATIENT, implicit=True)
        assert attempt.stage is Stage.TLS
        assert attempt.replies == ()


async def test_a_refusal(tmp_path: Path) -> None:
    async with playing(outage_of(effect(At.CONNECT, Do.REFUSE)), tmp_path, speed=FAST) as scene:
        attempt = await scene.attempt(PATIENT)
        assert attempt.reason in (Reason.CONNECTION_LOST, Reason.CONNECTION_REFUSED)
        assert attempt.replies == ()


@pytest.mark.parametrize(("do", "reply", "reason"), DNS)
async def test_dns(tmp_path: Path, do: Do, reply: str | None, reason: Reason) -> None:
    async with playing(outage_of(effect(At.DNS, do, reply)), tmp_path, speed=FAST) as scene:
        attempt = await scene.attempt(PATIENT, mx=True)
        assert (attempt.stage, attempt.reason) == (Stage.RESOLVE, reason)


@pytest.mark.parametrize("at", AFTER)
async def test_late_mail(tmp_path: Path, at: At) -> None:
    # it arrives although the phase is over by then
    async with playing(outage_of(effect(at, Do.DELAY, seconds=400)), tmp_path, speed=FAST) as scene:
        attempt = await scene.attempt(PATIENT)
        assert attempt.outcome is AttemptOutcome.ACCEPTED
        assert await arrived(scene) >= 400


@pytest.mark.parametrize("at", AFTER)
async def test_lost_mail(tmp_path: Path, at: At) -> None:
    async with playing(outage_of(effect(at, Do.LOSE)), tmp_path, speed=FAST) as scene:
        assert (await scene.attempt(PATIENT)).outcome is AttemptOutcome.ACCEPTED
        await scene.clock.sleep_until(301)
        assert (await scene.attempt(PATIENT)).outcome is AttemptOutcome.ACCEPTED
        await arrived(scene)
        await scene.clock.sleep_until(400)
        assert await scene.servers.mailboxes.count(RECIPIENT) == 1


async def test_a_bounce(tmp_path: Path) -> None:
    bounce = effect(At.QUEUE, Do.BOUNCE, "550 5.1.1 no such user", DELAY)
    async with playing(outage_of(bounce), tmp_path, speed=FAST) as scene:
        assert (await scene.attempt(PATIENT)).outcome is AttemptOutcome.ACCEPTED
        assert await arrived(scene, SENDER) >= DELAY
        assert await scene.servers.mailboxes.count(RECIPIENT) == 0


async def test_junk(tmp_path: Path) -> None:
    async with playing(outage_of(effect(At.MAILBOX, Do.JUNK)), tmp_path, speed=FAST) as scene:
        await scene.attempt(PATIENT)
        await arrived(scene, folder="Junk")
        assert await scene.servers.mailboxes.count(RECIPIENT) == 0


# ---- IMAP


async def look(scene: Scene, timeout: float) -> None:
    """Logs in and looks into the inbox."""
    session = await Session.open(scene.mailbox(timeout), clock=scene.clock, resolver=scene.resolver)
    try:
        await session.select("INBOX")
        await session.fetch_headers(1)
    finally:
        session.abort()


@pytest.mark.parametrize(("at", "do", "reply", "stage", "reason"), IMAP_FAILING)
async def test_imap(tmp_path: Path, at: At, do: Do, reply: str | None, stage: Stage, reason: Reason | None) -> None:
    async with playing(outage_of(effect(at, do, reply)), tmp_path, speed=FAST) as scene:
        with pytest.raises(ProbeFailure) as raised:
            await look(scene, PATIENT)
        assert raised.value.stage is stage
        assert reason is None or raised.value.reason is reason


@pytest.mark.parametrize("at", IMAP)
async def test_imap_stalls(tmp_path: Path, at: At) -> None:
    async with playing(outage_of(effect(at, Do.STALL)), tmp_path, speed=SLOW) as scene:
        with pytest.raises(ProbeFailure) as raised:
            await look(scene, IMPATIENT)
        assert raised.value.reason is Reason.TIMEOUT


@pytest.mark.parametrize(("at", "do"), IMAP_SLOW)
async def test_imap_is_slow(tmp_path: Path, at: At, do: Do) -> None:
    async with playing(outage_of(effect(at, do, seconds=DELAY)), tmp_path, speed=FAST) as scene:
        await look(scene, PATIENT)
        assert scene.clock.now() >= DELAY


async def test_imap_shows_mail_late(tmp_path: Path) -> None:
    async with playing(outage_of(effect(At.IMAP_FETCH, Do.DELAY, seconds=DELAY)), tmp_path, speed=FAST) as scene:
        await scene.attempt(PATIENT)
        await look(scene, PATIENT)
        assert await arrived(scene) >= DELAY


def test_everything_that_goes_together_is_tried() -> None:
    assert set(pairs(*At)) == TRIED
