"""Who is struck: shares, seeds, of whom a share is, tags, stacking, phases; and the truth that is kept of it."""

from __future__ import annotations

from collections import Counter

import pytest
from support.outages import outage_of

from mailprobe.lab.behaviour import Answer, Context, Drop, Junk, Lose, Moment, Say
from mailprobe.lab.outage import At, Do, Effect, Outage, Per, Through, find
from mailprobe.lab.pace import PacedClock
from mailprobe.lab.player import SERVERS, OutageBehaviour


class Stopped(PacedClock):
    """A clock that stands where the test puts it; nothing here waits."""

    instant = 1.0

    def now(self) -> float:
        return self.instant


def player(outage: Outage, seed: int = 1, **more: object) -> tuple[OutageBehaviour, Stopped]:
    clock = Stopped(1)
    return OutageBehaviour(outage, clock, seed, **more), clock  # type: ignore[arg-type]


def someone(number: int, **known: str) -> Context:
    return Context(number, known.pop("server", "mx"), known.pop("peer", "127.0.0.1"), **known)


async def answers(behaviour: OutageBehaviour, moment: Moment, count: int = 400, **known: str) -> list[Answer | None]:
    return [await behaviour.at(moment, someone(number, **known)) for number in range(count)]


def struck(found: list[Answer | None]) -> float:
    return sum(answer is not None for answer in found) / len(found)


def drop(at: At, fraction: float, **more: object) -> Effect:
    return Effect(at, Do.DROP, fraction, **more)  # type: ignore[arg-type]


@pytest.mark.parametrize("fraction", [0.05, 0.4, 0.95])
@pytest.mark.parametrize("seed", [1, 2, 3])
async def test_the_share_of_attempts_is_right(fraction: float, seed: int) -> None:
    behaviour, _ = player(outage_of(drop(At.RCPT, fraction)), seed)
    # three and a half standard deviations of 400 draws
    margin = 3.5 * (fraction * (1 - fraction) / 400) ** 0.5
    assert struck(await answers(behaviour, Moment.RCPT)) == pytest.approx(fraction, abs=margin)


async def test_the_same_seed_is_the_same_run() -> None:
    outage = find("m365-2026-01-22")
    runs = [await answers(player(outage, seed)[0], Moment.RCPT) for seed in (1, 1, 2)]
    assert runs[0] == runs[1]
    assert runs[0] != runs[2]


async def test_an_attempt_has_one_fate() -> None:
    behaviour, _ = player(outage_of(drop(At.RCPT, 0.5)))
    fates = [[await behaviour.at(Moment.RCPT, someone(number)) for _ in range(3)] for number in range(50)]
    assert all(len(set(fate)) == 1 for fate in fates)
    assert len({fate[0] for fate in fates}) == 2
    # asked thrice, counted once
    assert behaviour.truth.counts.total() == sum(fate[0] is not None for fate in fates)


async def test_other_connections_change_nothing() -> None:
    outage = outage_of(drop(At.RCPT, 0.5), drop(At.IMAP_LOGIN, 0.5))
    alone, mixed = player(outage)[0], player(outage)[0]
    one = [await alone.at(Moment.RCPT, someone(number)) for number in range(50)]
    other = []
    for number in range(50):
        await mixed.at(Moment.IMAP_LOGIN, someone(2 * number))
        other.append(await mixed.at(Moment.RCPT, someone(2 * number + 1)))
    assert one == other


async def test_effects_of_one_stage_share_a_draw() -> None:
    first, second = Effect(At.RCPT, Do.REPLY, 0.6, reply="451 one"), Effect(At.RCPT, Do.REPLY, 0.4, reply="450 two")
    behaviour, _ = player(outage_of(first, second))
    found = Counter(await answers(behaviour, Moment.RCPT))
    assert set(found) == {Say(("451 one",)), Say(("450 two",))}  # together they are everything
    assert found[Say(("451 one",))] == pytest.approx(240, abs=35)


async def test_effects_of_different_stages_are_drawn_apart() -> None:
    behaviour, _ = player(outage_of(drop(At.MAIL, 0.5), drop(At.RCPT, 0.5)))
    both = 0
    for number in range(400):
        at_mail = await behaviour.at(Moment.MAIL, someone(number))
        at_rcpt = await behaviour.at(Moment.RCPT, someone(number))
        both += at_mail is not None and at_rcpt is not None
    assert both == pytest.approx(100, abs=31)


@pytest.mark.parametrize(
    ("per", "known"),
    [
        (Per.SOURCE, "peer"),
        (Per.RECIPIENT, "recipient"),
        (Per.MAILBOX, "recipient"),
        (Per.SENDER, "sender"),
    ],
)
async def test_of_whom_a_share_is(per: Per, known: str) -> None:
    behaviour, _ = player(outage_of(drop(At.RCPT, 0.5, per=per)))
    fates = [await answers(behaviour, Moment.RCPT, 5, **{known: f"who-{number}"}) for number in range(200)]
    assert all(len(set(fate)) == 1 for fate in fates)
    assert sum(fate[0] is not None for fate in fates) == pytest.approx(100, abs=25)


async def test_a_share_of_servers() -> None:
    behaviour, _ = player(outage_of(drop(At.CONNECT, 0.5, per=Per.SERVER)))
    share = struck(await answers(behaviour, Moment.CONNECT)) * SERVERS
    # some of the hosts are ill, and each of them for everybody
    assert share == pytest.approx(round(share), abs=0.6)
    assert 0 < round(share) < SERVERS


@pytest.mark.parametrize(("moment", "at"), [(Moment.QUEUE, At.QUEUE), (Moment.MAILBOX, At.MAILBOX)])
async def test_a_share_of_messages(moment: Moment, at: At) -> None:
    behaviour, _ = player(outage_of(Effect(at, Do.LOSE, 0.3, Per.MESSAGE)))
    # of the messages of one connection too
    found = [await behaviour.at(moment, someone(1)) for _ in range(400)]
    assert found.count(Lose()) == pytest.approx(120, abs=32)
    assert behaviour.truth.counts.total() == found.count(Lose())


async def test_fates_are_drawn_anew_in_each_phase() -> None:
    outage = find("m365-2026-01-22")
    behaviour, clock = player(outage)
    first = await answers(behaviour, Moment.RCPT)
    clock.instant = outage.phases[4].begin  # the same share, hours later
    second = await answers(behaviour, Moment.RCPT)
    assert first != second
    assert struck(first) == pytest.approx(struck(second), abs=0.12)


async def test_before_and_after_the_impact_all_is_well() -> None:
    outage = outage_of(drop(At.RCPT, 1.0))
    behaviour, clock = player(outage)
    for instant, expected in ((-0.1, None), (0.0, Drop()), (299.9, Drop()), (300.0, None), (1e9, None)):
        clock.instant = instant
        assert await behaviour.at(Moment.RCPT, someone(1)) == expected


async def test_only_tagged_traffic() -> None:
    outage = find("exo-2023-10-11")
    behaviour, clock = player(outage, tagged=lambda context, tag: context.sender == tag)
    clock.instant = outage.phases[1].begin
    assert struck(await answers(behaviour, Moment.RCPT, sender="listed-source")) > 0.9
    assert struck(await answers(behaviour, Moment.RCPT, sender="somebody")) == 0
    everybody, clock = player(outage)
    clock.instant = outage.phases[1].begin
    assert struck(await answers(everybody, Moment.RCPT, sender="somebody")) > 0.9


async def test_the_side_that_is_ill() -> None:
    behaviour, _ = player(outage_of(drop(At.RCPT, 1.0), drop(At.IMAP_LOGIN, 1.0)), through=Through.SUBMISSION)
    assert await behaviour.at(Moment.RCPT, someone(1, server="submission")) == Drop()
    assert await behaviour.at(Moment.RCPT, someone(2, server="mx")) is None
    assert await behaviour.at(Moment.IMAP_LOGIN, someone(3, server="imaps")) == Drop()


async def test_a_connection_that_lives_long_counts_as_an_attempt_each_minute() -> None:
    behaviour, clock = player(outage_of(drop(At.IMAP_FETCH, 0.2), seconds=60 * 400))
    found = []
    for minute in range(400):
        clock.instant = minute * 60.0
        fate = {await behaviour.at(Moment.IMAP_FETCH, someone(1)) for _ in range(3)}
        assert len(fate) == 1
        found += fate
    assert struck(found) == pytest.approx(0.2, abs=0.07)


async def test_the_truth() -> None:
    outage = outage_of(Effect(At.MAILBOX, Do.JUNK, 0.5, Per.MESSAGE))
    behaviour, clock = player(outage)
    assert behaviour.truth.first_strike is None
    for number in range(100):
        clock.instant = float(number)
        answer = await behaviour.at(Moment.MAILBOX, someone(number, recipient="canary@lab.test"))
        assert answer in (None, Junk())
    strikes = behaviour.truth.strikes
    assert behaviour.truth.counts == {outage.phases[0].effects[0]: len(strikes)}
    assert behaviour.truth.first_strike == strikes[0].at
    assert strikes[0].phase is outage.phases[0]
    assert strikes[0].context.recipient == "canary@lab.test"
