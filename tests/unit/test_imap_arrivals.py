"""When each message was announced, while sequence numbers move."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from mailprobe.imap.arrivals import Arrivals

NEVER = -1.0


def test_what_was_there_before_was_never_announced() -> None:
    arrivals = Arrivals(3)
    arrivals.heard_exists(5, 10.0)
    arrivals.heard_exists(6, 20.0)
    assert [arrivals.noticed(number, NEVER) for number in range(1, 8)] == [-1, -1, -1, 10, 10, 20, -1]


def test_numbers_move_when_one_before_them_goes() -> None:
    arrivals = Arrivals(3)
    arrivals.heard_exists(4, 10.0)
    arrivals.heard_exists(5, 20.0)
    arrivals.heard_expunge(1)
    assert [arrivals.noticed(number, NEVER) for number in range(1, 5)] == [-1, -1, 10, 20]
    arrivals.heard_expunge(3)
    assert [arrivals.noticed(number, NEVER) for number in range(1, 4)] == [-1, -1, 20]
    assert arrivals.exists == 3


def test_news_are_what_was_announced_since_it_was_last_asked_for() -> None:
    arrivals = Arrivals(3)
    assert arrivals.news == 0
    arrivals.heard_exists(5, 10.0)
    assert arrivals.news == 2
    arrivals.cover()
    assert arrivals.news == 0
    arrivals.heard_exists(6, 11.0)
    arrivals.heard_expunge(2)
    assert arrivals.news == 1
    arrivals.heard_expunge(5)
    assert arrivals.news == 0


def test_a_server_that_takes_messages_back_without_expunge_does_not_hide_the_next() -> None:
    arrivals = Arrivals(3)
    arrivals.heard_exists(5, 10.0)
    arrivals.cover()
    arrivals.heard_exists(3, 11.0)
    arrivals.heard_exists(4, 12.0)
    assert arrivals.news == 1


@given(st.integers(0, 5), st.lists(st.one_of(st.just(0), st.integers(1, 8))))
def test_against_a_mailbox_that_remembers_everything(there: int, happenings: list[int]) -> None:
    """0: a message comes; n: the n-th goes."""
    arrivals, mailbox = Arrivals(there), [NEVER] * there
    for at, happening in enumerate(happenings):
        if happening == 0:
            mailbox.append(float(at))
            arrivals.heard_exists(len(mailbox), float(at))
        elif happening <= len(mailbox):
            del mailbox[happening - 1]
            arrivals.heard_expunge(happening)
    assert arrivals.exists == len(mailbox)
    assert [arrivals.noticed(number, NEVER) for number in range(1, len(mailbox) + 1)] == mailbox


def test_a_busy_mailbox_does_not_fill_the_memory() -> None:
    arrivals = Arrivals()
    for count in range(1, 10_000):
        arrivals.heard_exists(count, float(count))
    assert len(arrivals._told) <= 256
    assert arrivals.noticed(9_999, NEVER) == 9_999
    assert arrivals.noticed(1, NEVER) == NEVER


def test_nonsense_is_survived() -> None:
    arrivals = Arrivals(1)
    for number in (7, 1, 1, 1, 0):
        arrivals.heard_expunge(number)
    arrivals.heard_exists(0, 1.0)
    assert arrivals.exists == 0
    assert arrivals.news == 0
