"""The shipped Alertmanager example: what amtool says of it, and the founding outage, in one group for each provider.

Everything runs 30 times as fast, by one rule: every duration in the rules, in Prometheus and in Alertmanager is
divided by 30. When it would have notified in real time is judged in promtool (test_rules_promtool), not here.
"""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from support.replay import Replay, serving
from support.rules import DEPLOY, RULES, faster
from support.scrapes import Played, record
from support.servers import ENVIRONMENT, HOST, require_programs
from support.servers_prometheus import HttpServer, Prometheus

from mailprobe.lab.outage import find

CONFIG = DEPLOY / "alertmanager" / "alertmanager.yml"
SPEED = 30
MINUTE = 60.0


def amtool(*arguments: str) -> str:
    require_programs("alertmanager", ["amtool"], "prometheus-alertmanager")
    done = subprocess.run(["amtool", *arguments], capture_output=True, text=True, env=ENVIRONMENT)
    assert done.returncode == 0, f"amtool {arguments}: {done.stdout}{done.stderr}"
    return done.stdout


@pytest.mark.server("alertmanager")
def test_alertmanager_takes_the_configuration() -> None:
    amtool("check-config", str(CONFIG))


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
    amtool("config", "routes", "test", f"--config.file={CONFIG}", f"--verify.receivers={receiver}", *labels)


def test_nothing_goes_by_mail() -> None:
    """What says that mail is broken must not depend on it."""
    assert "email_configs" not in CONFIG.read_text()


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
        config = tmp_path / "alertmanager.yml"
        text = faster(CONFIG.read_text(), SPEED)
        for hook in ("pager.example.net/hooks", "chat.example.net/hooks", "dead-man.example.net"):
            assert f"https://{hook}" in text
            text = text.replace(f"https://{hook}", f"http://{address}/{hook}")
        config.write_text(text)
        rules = [tmp_path / file.name for file in RULES]
        for file, copy in zip(RULES, rules, strict=True):
            copy.write_text(faster(file.read_text(), SPEED))
        alertmanager = run_alertmanager(config)
        prometheus = run_prometheus(
            rules=rules,
            targets={"mailprobe": [address]},
            alertmanagers=[f"{HOST}:{alertmanager.port}"],
            interval=faster("15s", SPEED),
        )
        prometheus.until(lambda: prometheus.query("route:mailprobe_route:info"), what="the rules to have run")
        replay.start()
        prometheus.until(lambda: replay.now > 6 * MINUTE, within=120, what="six minutes of the outage")
        posts = {name: received.about(name) for name in ("contoso", "northwind", "fabrikam")}
    assert posts["fabrikam"] == []
    for name in ill:
        assert len({post["groupKey"] for _, post, _ in posts[name]}) == 1, posts[name]
        path, first, at = posts[name][0]
        assert path.startswith("/pager.example.net/")
        assert at > 0.0
        texts = [alert["annotations"]["description"] for _, post, _ in posts[name] for alert in post["alerts"]]
        assert any("451 4.3.2 at rcpt" in text for text in texts), texts
        assert all("error" not in text for text in texts)
        assert {alert["labels"]["alertname"] for alert in first["alerts"]} <= {
            "MailProviderTrouble",
            "MailRouteDegraded",
        }
        print(f"{name}: first page {at:.0f} s after the impact; notifications: {len(posts[name])}")
    assert any(path.startswith("/dead-man.example.net/") for path, _, _ in received.posts)
