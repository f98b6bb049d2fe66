"""The samples say where they come from, and come from nobody who is real."""

from __future__ import annotations

import re

import pytest
from support.reply_samples import refusals
from support.samples import fact, names, origin, sample

SAMPLES = [f"{folder}/{name}" for folder in ("headers", "reports") for name in names(folder)]


def test_there_are_enough() -> None:
    assert len(refusals()) >= 60
    assert sum(fact(f"reports/{name}", "report") != "none" for name in names("reports")) >= 25
    assert len(names("headers")) >= 35


@pytest.mark.parametrize("name", SAMPLES)
def test_a_sample_names_its_origin_and_nobody_real(name: str) -> None:
    assert len(origin(name)) > 20
    octets = sample(name)
    assert octets.count(b"\r\n") == octets.count(b"\n") > 2
    for domain in re.findall(rb"(?<=[a-z]@)[a-z0-9.-]+[a-z]", octets):
        assert re.search(rb"(^|\.)(example|example\.(net|com|org)|localhost)$", domain), domain
