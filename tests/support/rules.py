"""The shipped rules: where they are, what is in them, and promtool to judge them."""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Iterator, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import yaml

from support.servers import ENVIRONMENT, require_programs

DEPLOY = Path(__file__).parents[2] / "deploy"
RECORDING = DEPLOY / "prometheus" / "recording.rules.yml"
ALERTS = DEPLOY / "prometheus" / "alerts.rules.yml"
RULES = (RECORDING, ALERTS)
CASES = Path(__file__).parents[1] / "data" / "rules" / "alerts.test.yml"

_METRIC = re.compile(r"(?<![\w:])mailprobe_\w+")
_DURATION = re.compile(r"(?<![\w.\"])(\d+)(ms|s|m|h|d)(?![\w])")
_SECONDS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}


@cache
def groups(file: Path) -> list[dict[str, Any]]:
    """The groups of a rule file."""
    found: list[dict[str, Any]] = yaml.safe_load(file.read_text(encoding="utf-8"))["groups"]
    return found


def rules() -> Iterator[dict[str, Any]]:
    """All rules."""
    for file in RULES:
        for group in groups(file):
            yield from group["rules"]


def alerts() -> list[dict[str, Any]]:
    """All alerting rules; one alert may have several."""
    return [rule for rule in rules() if "alert" in rule]


def expressions() -> Iterator[str]:
    """Every query of every rule, those in the annotations too."""
    for rule in rules():
        yield rule["expr"]
        for text in rule.get("annotations", {}).values():
            yield from re.findall(r'printf\s+"([^"]*mailprobe_[^"]*)"', text)


def metrics_used() -> frozenset[str]:
    """Names of the agent's own metrics in the rules."""
    return frozenset(name for expression in expressions() for name in _METRIC.findall(expression))


def seconds(duration: str) -> float:
    """A duration as Prometheus writes it, with one unit."""
    match = _DURATION.fullmatch(duration)
    assert match, duration
    return int(match[1]) * _SECONDS[match[2]]


def faster(text: str, times: int) -> str:
    """A file of Prometheus or Alertmanager in which every duration is so many times shorter, to milliseconds.

    Counts that follow from a rule's interval are not: the error budget's `* 60`.
    """
    return _DURATION.sub(lambda found: f"{max(1, round(seconds(found[0]) * 1000 / times))}ms", text)


def promtool(*arguments: str) -> str:
    """What promtool says. Raises AssertionError with it if it is not content."""
    require_programs("prometheus", ["promtool"], "prometheus")
    memory = {"TMPDIR": "/dev/shm"} if Path("/dev/shm").is_dir() else {}  # it makes a database for each case
    memory["GOGC"] = "400"  # it does not live long
    done = subprocess.run(["promtool", *arguments], capture_output=True, text=True, env=ENVIRONMENT | memory)
    assert done.returncode == 0, f"promtool {arguments}: {done.stdout}{done.stderr}"[:20_000]
    return done.stdout


def write_tests(file: Path, series: Sequence[dict[str, str]], expected: Sequence[dict[str, Any]], step: str) -> None:
    """A file for `promtool test rules` on the shipped rules, with one test that is evaluated at every sample."""
    document = {
        "rule_files": [str(rule_file) for rule_file in RULES],
        "evaluation_interval": step,
        "group_eval_order": [group["name"] for rule_file in RULES for group in groups(rule_file)],
        "tests": [{"interval": step, "input_series": list(series), "promql_expr_test": list(expected)}],
    }
    file.write_text(json.dumps(document))
