"""The shipped Alertmanager example: what amtool says of it, and the founding outage, in one group for each provider.

Everything runs 30 times as fast, by one rule: every duration in the rules, in Prometheus and in Alertmanager is
divided by 30. When it would have notified in real time is judged in promtool (test_rules_promtool), not here.
"""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from support.replay import ALERTMANAGER, Received, Replay, serving, write_copies
from support.rules import faster
from support.scrapes import Played, record
from support.servers import ENVIRONMENT, HOST, require_programs
from support.servers_prometheus import HttpServer, Prometheus

from mailprobe.lab.outage import find

SPEED = 30
MINUTE = 60.0


def amtool(*arguments: str) -> str:
    require_programs("alertmanager", ["amtool"], "prometheus-alertmanager")
    done = subprocess.run(["amtool", *arguments], capture_output=True, text=True, env=ENVIRONMENT)
    assert done.returncode == 0, f"amtool {arguments}: {done.stdout}{done.stderr}"
    return done.stdout


@pytest.mark.server("alertmanager")
def test_alertmanager_takes_the_configuration() -> None:
    amtool("check-config", str(ALERTMANAGER))


@pytest.mark.server("alertmanager")
@pytest.mark.parametrize(
    ("receiver", "labels"),
    [
        ("pager", ["alertname=MailProviderTrouble", "severity=page", "provider=contoso"]),
        ("pager", ["alertname=MailprobeAgentGone", "severity=page"]),
        ("chat", ["alertname=MailJunked", "severity=ticket", "provider=contoso"]),
        ("chat", ["alertname=MailprobeSiteTrouble", "severity=ticket", "site=fra1"]),
        ("dead-man", ["alertname=MailprobeWatchdog", "severity=none"]),
    ],
)
def test_who_is_told(receiver: str, labels: list[str]) -> None:
    amtool("config", "routes", "test", f"--config.file={ALERTMANAGER}", f"--verify.receivers={receiver}", *labels)


def test_nothing_goes_by_mail() -> None:
    """What says that mail is broken must not depend on it."""
    assert "email_configs" not in ALERTMANAGER.read_text()


def descriptions(posts: list[tuple[str, dict[str, Any], float]]) -> list[str]:
    return [alert["annotations"]["description"] for _, post, _ in posts for alert in post["alerts"]]


def all_told(received: Received, providers: list[str]) -> bool:
    """Whether each of them has been paged about with the code that its servers say."""
    return all(
        any("451 4.3.2 at rcpt" in text for text in descriptions(received.about(provider))) for provider in providers
    )


@pytest.mark.timeout(300)
def test_the_founding_outage_is_one_group_a_provider(
    run_prometheus: Callable[..., Prometheus], run_alertmanager: Callable[[Path], HttpServer], tmp_path: Path
) -> None:
    """Two providers in it and one beside it: each of the two is told of once, in one group, with the code."""
    outage = find("m365-2026-01-22")
    ill = {"contoso": 5, "northwind": 4}
    routes = [Played(f"{name}{number}", name, outage) for name, count in ill.items() for number in range(count)]
    recording = record([*routes, Played("other", "fabrikam", None)], 7 * MINUTE)
    replay = Replay(recording, SPEED, -MINUTE)
    with serving(replay) as (address, received):
        config, rules = write_copies(tmp_path, address, SPEED)
        alertmanager = run_alertmanager(config)
        prometheus = run_prometheus(
            rules=rules,
            targets={"mailprobe": [address]},
            alertmanagers=[f"{HOST}:{alertmanager.port}"],
            interval=faster("15s", SPEED),
        )
        prometheus.until(lambda: prometheus.query("route:mailprobe_route:info"), what="the rules to have run")
        replay.start()
        told = partial(all_told, received, list(ill))
        prometheus.until(lambda: replay.now > 6 * MINUTE and told(), 240, "six minutes of the outage, and pages of it")
        posts = {name: received.about(name) for name in ("contoso", "northwind", "fabrikam")}
    assert posts["fabrikam"] == []
    for name in ill:
        assert len({post["groupKey"] for _, post, _ in posts[name]}) == 1, posts[name]
        path, first, at = posts[name][0]
        assert path.startswith("/pager.example.net/")
        assert at > 0.0
        texts = descriptions(posts[name])
        assert all("error" not in text for text in texts)
        assert {alert["labels"]["severity"] for alert in first["alerts"]} == {"page"}
        print(f"{name}: first page {at:.0f} s after the impact; notifications: {len(posts[name])}")
    assert any(path.startswith("/dead-man.example.net/") for path, _, _ in received.posts)
