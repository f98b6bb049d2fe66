"""The samples say where they come from, and come from nobody who is real."""

from __future__ import annotations

import re

import pytest
from support.samples import DATA, names, origin, sample

SAMPLES = [f"{folder}/{name}" for folder in ("headers", "reports") for name in names(folder)]


def test_there_are_samples() -> None:
    assert len(names("headers")) >= 15
    assert DATA.is_dir()


@pytest.mark.parametrize("name", SAMPLES)
def test_a_sample_names_its_origin_and_nobody_real(name: str) -> None:
    assert len(origin(name)) > 20
    octets = sample(name)
    assert not octets.startswith(b"Origin:")
    assert octets.count(b"\r\n") == octets.count(b"\n") > 2
    for domain in re.findall(rb"(?<=[a-z]@)[a-z0-9.-]+[a-z]", octets):
        assert re.search(rb"(^|\.)(example|example\.(net|com|org)|localhost)$", domain), domain
