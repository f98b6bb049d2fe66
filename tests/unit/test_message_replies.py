"""Refusals classified as a postmaster would, from stage and codes alone."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.reply_samples import Refused, refusals

from mailprobe.errors import EnhancedStatus, Reason, Reply, Stage
from mailprobe.message.replies import _OURS, Category, category_of, meaning_of

REFUSALS = refusals()


def test_there_are_enough_and_each_names_its_origin() -> None:
    assert len({(refused.stage, refused.wire) for refused in REFUSALS}) == len(REFUSALS) >= 100
    assert all(len(refused.origin) > 20 for refused in REFUSALS)
    assert {refused.category for refused in REFUSALS} == set(Category)


def test_no_limit_without_somebody_who_sets_it() -> None:
    said = {(refused.code, str(refused.enhanced) if refused.enhanced else None) for refused in REFUSALS}

    assert {(code, enhanced) for code, enhanced, _ in _OURS} <= said


@pytest.mark.parametrize("refused", REFUSALS, ids=str)
def test_what_real_servers_say_is_understood(refused: Refused) -> None:
    reply = refused.reply
    meaning = meaning_of(refused.stage, reply)

    assert (reply.code, reply.enhanced) == (refused.code, refused.enhanced)
    assert (meaning.category, meaning.reason) == (refused.category, refused.reason)
    assert meaning.may_be_greylisting == refused.greylisting


@pytest.mark.parametrize("refused", REFUSALS, ids=str)
def test_the_words_do_not_count(refused: Refused) -> None:
    status = f"{refused.enhanced} " if refused.enhanced else ""
    other = Reply.of(refused.code, f"{status}Zu viele Verbindungen, greylisted, quota, 5.1.1, throttled")

    assert meaning_of(refused.stage, other) == meaning_of(refused.stage, refused.reply)


AMBIGUOUS = [
    (Stage.GREETING, "421 4.3.2"),
    (Stage.GREETING, "421"),
    (Stage.GREETING, "421 4.7.1"),
    (Stage.EHLO, "421 4.7.0"),
    (Stage.MAIL, "421 4.7.0"),
    (Stage.MAIL, "451 4.7.500"),
    (Stage.MAIL, "450 4.7.1"),
    (Stage.RCPT, "450 4.2.1"),
    (Stage.END_OF_DATA, "451 4.3.2"),
    (Stage.RCPT, "452 4.5.3"),
]


@pytest.mark.parametrize(("stage", "codes"), AMBIGUOUS)
def test_what_may_be_an_outage_is_never_taken_for_our_own_limit(stage: Stage, codes: str) -> None:
    reply = Reply.of(int(codes[:3]), codes[4:] + " too many connections")

    assert meaning_of(stage, reply).reason is Reason.DEFERRED


def test_a_limit_belongs_to_its_stage() -> None:
    too_many = Reply.of(421, "4.7.0 x")
    rate = Reply.of(454, "x")

    assert [stage for stage in Stage if meaning_of(stage, too_many).reason is Reason.THROTTLED] == [Stage.GREETING]
    assert [stage for stage in Stage if meaning_of(stage, rate).reason is Reason.THROTTLED] == [
        Stage.MAIL, Stage.RCPT, Stage.DATA, Stage.END_OF_DATA,
    ]  # fmt: skip


@pytest.mark.parametrize("code", [199, 220, 250, 334, 354, 600, 0])
def test_what_is_no_refusal_is_unexpected(code: int) -> None:
    assert meaning_of(Stage.RCPT, Reply.of(code, "2.1.5 fine")).reason is Reason.UNEXPECTED_REPLY


@pytest.mark.parametrize(
    ("code", "enhanced", "category"),
    [
        (None, "5.1.1", Category.ADDRESS),
        (550, "5.4.1", Category.ADDRESS),
        (None, "5.4.1", Category.NETWORK),
        (None, "4.4.7", Category.NETWORK),
        (554, None, Category.OTHER),
        (None, None, Category.OTHER),
        (None, "5.9.9", Category.OTHER),
        (552, "5.0.0", Category.MAILBOX_FULL),
        (432, "4.3.2", Category.THROTTLED),
    ],
)
def test_a_report_may_know_only_one_of_the_codes(code: int | None, enhanced: str | None, category: Category) -> None:
    status = EnhancedStatus.parse(enhanced) if enhanced else None

    assert category_of(Stage.TRANSIT, code, status) is category


@given(st.sampled_from(Stage), st.integers(-1, 1000), st.text(max_size=30))
def test_any_reply_means_something(stage: Stage, code: int, text: str) -> None:
    reply = Reply.of(code, text)
    meaning = meaning_of(stage, reply)

    assert meaning.category in Category
    assert (meaning.reason is Reason.UNEXPECTED_REPLY) == (not reply.is_refusal)
    assert not meaning.may_be_greylisting or reply.is_deferral
