"""Outage files: those of the catalogue are good, and whatever is wrong with a file is said with its line."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from mailprobe.errors import ConfigurationError
from mailprobe.lab.outage import GOES_TOGETHER, At, Do, Label, Per, Through, catalogue, find

BAD = sorted((Path(__file__).parent / "outages" / "bad").glob("*.yaml"))
GOOD = """\
id: example
title: An example
acknowledged: null
sources: [{id: none, unknown: keys, are: fine here}]
replay:
  zero: 2026-01-22T19:00:00Z
  through: submission
  phases:
    - label: full
      from: 0
      to: 1.5
      assumed: true
      effects:
        - at: rcpt
          do: reply
          reply: |
            550-5.1.1 no
            550 5.1.1 such user
        - {at: queue, fraction: 0.25, do: delay, seconds: 2.5}
        - {at: connect, per: source, only: listed, do: refuse}
    - {label: recovered, from: 1.5, to: 31.5, effects: []}
  skip:
    - {from: 20, to: 30}
    - {from: 2, to: 10}
"""


def write(directory: Path, text: str) -> Path:
    path = directory / "example.yaml"
    path.write_text(text)
    return path


def problems_of(path: Path) -> tuple[str, ...]:
    with pytest.raises(ConfigurationError) as raised:
        find(path)
    return raised.value.problems


def test_the_catalogue_has_the_six() -> None:
    assert catalogue() == (
        "exo-2021-02-03",
        "exo-2023-10-11",
        "exo-imap-2026-01-02",
        "gmail-2020-12-15",
        "m365-2026-01-22",
        "postmark-2024-09-16",
    )


@pytest.mark.parametrize("id", catalogue())
def test_an_outage_of_the_catalogue_can_be_played(id: str) -> None:
    outage = find(id)
    assert outage.id == id
    assert outage.title
    assert outage.phases[-1].label is Label.RECOVERED
    assert any(phase.effects for phase in outage.phases)
    assert 0 < outage.played <= 5.5 * 3600


def test_what_a_file_says() -> None:
    outage = find("m365-2026-01-22")
    assert outage.acknowledged.seconds == 37 * 60
    assert outage.through is Through.MX
    assert outage.zero_wall == 1769108400.0
    assert outage.end == 719 * 60
    first = outage.phases[0]
    assert (first.label, first.begin, first.end, first.assumed) == (Label.ONSET, 0.0, 1800.0, True)
    assert [(effect.at, effect.do, effect.fraction) for effect in first.effects] == [
        (At.DNS, Do.SERVFAIL, 0.1),
        (At.RCPT, Do.REPLY, 0.4),
    ]
    assert outage.phase_at(-1) is None
    assert outage.phase_at(1800.0) is outage.phases[1]
    assert outage.phase_at(outage.end) is None


def test_defaults_and_lines(tmp_path: Path) -> None:
    outage = find(write(tmp_path, GOOD))
    reply, delay, refuse = outage.phases[0].effects
    assert reply.lines == ("550-5.1.1 no", "550 5.1.1 such user")
    assert (reply.fraction, reply.per) == (1.0, Per.ATTEMPT)
    assert (delay.fraction, delay.per, delay.seconds) == (0.25, Per.MESSAGE, 2.5)
    assert (refuse.per, refuse.only) == (Per.SOURCE, "listed")
    assert outage.acknowledged.seconds is None
    assert [(skip.begin, skip.end) for skip in outage.skips] == [(120.0, 600.0), (1200.0, 1800.0)]
    assert outage.played == 31.5 * 60 - 480 - 600


@pytest.mark.parametrize("path", BAD, ids=lambda path: path.stem)
def test_a_bad_file_is_refused_with_its_line(path: Path) -> None:
    expected = re.match(r"# expected: (\d+): (.+)\n", path.read_text())
    assert expected
    problems = problems_of(path)
    assert any(line.startswith(f"{path}:{expected[1]}:") and expected[2] in line for line in problems), problems


def test_there_are_bad_files() -> None:
    assert len(BAD) > 40


@pytest.mark.parametrize("at", At)
def test_what_cannot_happen_together_is_refused(tmp_path: Path, at: At) -> None:
    for do in set(Do) - GOES_TOGETHER[at]:
        text = GOOD.replace("{at: connect, per: source, only: listed, do: refuse}", f"{{at: {at}, do: {do}}}")
        problems = problems_of(write(tmp_path, text))
        assert any(f"{do} cannot happen at {at}" in line for line in problems)


def test_everything_is_said_at_once(tmp_path: Path) -> None:
    text = GOOD.replace("from: 0\n", "from: 1\n").replace("0.25", "1.25").replace("through: submission", "through: air")
    problems = problems_of(write(tmp_path, text))
    assert [int(line.split(":")[1]) for line in problems] == [7, 10, 19]


def test_a_name_that_is_neither(tmp_path: Path) -> None:
    assert "m365-2026-01-22" in problems_of(tmp_path / "nothing.yaml")[0]


@pytest.mark.parametrize("content", [b"", b"\xff\xfe", b"a: [" * 5000, b"&a [*a]", b"replay: &a {replay: *a}"])
def test_a_file_of_anything_is_no_crash(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "example.yaml"
    path.write_bytes(content)
    assert problems_of(path)
