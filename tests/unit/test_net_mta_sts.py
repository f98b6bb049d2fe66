"""MTA-STS: the record, the policy's text, patterns of hosts. Samples of RFC 8461 and what the world makes of it."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mailprobe.errors import plain_text
from mailprobe.model import MtaStsFacts, MtaStsMode
from mailprobe.net.mta_sts import LONGEST_AGE, PolicyError, names, parse, record_id

POLICY = "version: STSv1\r\nmode: enforce\r\nmx: mail.example.com\r\nmx: *.example.net\r\nmax_age: 604800\r\n"


@pytest.mark.parametrize(
    ("texts", "expected"),
    [
        (["v=STSv1; id=20160831085700Z;"], "20160831085700Z"),
        (["v=STSv1;id=1"], "1"),
        (["v=STSv1 ;  id = abc ; ext=1"], "abc"),
        (["v=spf1 -all", "v=STSv1; id=1;"], "1"),
        ([], None),
        (["v=spf1 -all"], None),
        (["v=STSv1; id=1;", "v=STSv1; id=2;"], None),
        (["v=STSv1"], None),
        (["v=STSv1; id=;"], None),
        (["v=STSv1; id=not-alphanumeric;"], None),
        (["v=STSv1; id=" + "a" * 33], None),
        (["v=STSv10; id=1;"], None),
        (["id=1; v=STSv1"], None),
    ],
)
def test_the_record(texts: list[str], expected: str | None) -> None:
    assert record_id(texts) == expected


@pytest.mark.parametrize(
    "text",
    [
        POLICY,
        POLICY.replace("\r\n", "\n"),
        POLICY.removesuffix("\r\n"),
        POLICY + "\r\n\r\n",
        "mode: enforce\nmx: mail.example.com\nmx:*.example.net\nversion: STSv1\nmax_age:604800  \nfuture: yes\n",
        POLICY + "mode: none\r\nmax_age: 1\r\n",
    ],
)
def test_a_policy(text: str) -> None:
    expected = MtaStsFacts(MtaStsMode.ENFORCE, exchangers=("mail.example.com", "*.example.net"), max_age=604800)
    assert parse(text) == expected


def test_a_policy_of_none_needs_no_exchangers_and_ages_are_bounded() -> None:
    assert parse("version: STSv1\nmode: none\nmax_age: 86400\n").mode is MtaStsMode.NONE
    assert parse(POLICY.replace("604800", "9999999999")).max_age == LONGEST_AGE


@pytest.mark.parametrize(
    ("old", "new", "why"),
    [
        ("STSv1", "STSv2", "no version"),
        ("version: STSv1\r\n", "", "no version"),
        ("enforce", "force", "no mode that is known: force"),
        ("mode: enforce\r\n", "", "no mode"),
        ("604800", "a week", "no max_age"),
        ("604800", "-1", "no max_age"),
        ("604800", "1" * 11, "no max_age"),
        ("604800", "٣", "no max_age"),
        ("mx: mail.example.com\r\nmx: *.example.net\r\n", "", "no mx"),
        ("mail.example.com", "mail.*.com", "not a host"),
        ("mail.example.com", "", "not a host"),
        ("mail.example.com", "a" * 5000, "not a host"),
        ("mode: enforce", "<html>", "not a field: <html>"),
    ],
)
def test_what_is_no_policy(old: str, new: str, why: str) -> None:
    with pytest.raises(PolicyError) as raised:
        parse(POLICY.replace(old, new, 1))
    assert why in str(raised.value)
    assert len(str(raised.value)) < 200


@given(st.text(max_size=300) | st.text(st.sampled_from("version: STSv1\nmode:none*.")))
def test_whatever_is_served(text: str) -> None:
    said = ""
    try:
        parse(text)
    except PolicyError as error:
        said = str(error)
    assert said == plain_text(said)


@pytest.mark.parametrize(
    ("host", "named"),
    [
        ("mail.example.com", True),
        ("MAIL.Example.com.", True),
        ("a.example.net", True),
        ("example.net", False),
        ("a.b.example.net", False),
        ("mail2.example.com", False),
        ("xexample.net", False),
        ("", False),
    ],
)
def test_which_hosts_it_names(host: str, named: bool) -> None:
    assert names(parse(POLICY), host) is named
