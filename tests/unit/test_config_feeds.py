"""Status feeds in the configuration: what arrives where they are read, and everything that may be wrong with them."""

from __future__ import annotations

from pathlib import Path

import pytest

from mailprobe.cli.check import summary
from mailprobe.config.load import Configuration, load
from mailprobe.errors import ConfigurationError
from mailprobe.plan import FeedKind, OAuth2, SecretReference, StatusFeed

BASE = """\
senders:
  out: {submission: "localhost:25", tls: plaintext, from: canary@example.com}
mailboxes:
  box: {address: canary@example.com, imap: "localhost:993", auth: {username: canary, password_file: secret}}
routes:
  in: {from: out, to: box}
"""
CLIENT = "oauth2: {tenant: contoso.example, client_id: id, client_secret_file: secret}"
GRAPH = f"kind: microsoft_graph, mailboxes: [box], {CLIENT}"


def loaded(directory: Path, feed: str, environ: dict[str, str] | None = None, top: str = "") -> Configuration:
    (directory / "secret").write_text("hunter2\n")
    file = directory / "mailprobe.yaml"
    file.write_text(f"{top}{BASE}status_feeds:\n  vendor: {{{feed}}}\n" if feed else f"{top}{BASE}")
    return load(file, environ or {})


def wrong(directory: Path, feed: str, **environ: str) -> list[str]:
    with pytest.raises(ConfigurationError) as caught:
        loaded(directory, feed, environ)
    return [problem.removeprefix(f"{directory}/mailprobe.yaml:") for problem in caught.value.problems]


def test_every_setting_arrives(tmp_path: Path) -> None:
    feed = (
        "kind: statuspage, url: https://status.example.com/, interval: 90s, services: [IMAP, ' Smtp '], "
        "mailboxes: [box], senders: [out], ca_file: secret"
    )
    assert loaded(tmp_path, feed).plan.feeds == {
        "vendor": StatusFeed(
            name="vendor",
            kind=FeedKind.STATUSPAGE,
            url="https://status.example.com/",
            interval=90.0,
            timeout=30.0,
            services=frozenset({"imap", "smtp"}),
            mailboxes=("box",),
            senders=("out",),
            ca_file=tmp_path / "secret",
        )
    }


def test_what_holds_where_nothing_is_said(tmp_path: Path) -> None:
    plan = loaded(tmp_path, GRAPH).plan
    (feed,) = plan.feeds.values()
    assert feed.url.startswith("https://graph.microsoft.com/v1.0/admin/serviceAnnouncement/issues?")
    assert feed.services == {"exchange online", "microsoft 365 suite"}
    assert feed.interval == 300.0
    assert feed.oauth2 == OAuth2(
        token_url="https://login.microsoftonline.com/contoso.example/oauth2/v2.0/token",
        client_id="id",
        client_secret=SecretReference(file=tmp_path / "secret"),
        scope="https://graph.microsoft.com/.default",
    )
    assert list(plan.token_users()) == [(feed.oauth2, "feed/vendor")]
    (feed,) = loaded(tmp_path, "kind: google_workspace, senders: [out]").plan.feeds.values()
    assert feed.url == "https://www.google.com/appsstatus/dashboard/incidents.json"
    assert feed.services == {"gmail"}
    (feed,) = loaded(tmp_path, "kind: google_workspace, senders: [out], services: []").plan.feeds.values()
    assert feed.services == frozenset()
    assert loaded(tmp_path, "").plan.feeds == {}


def test_the_environment_sets_them_too(tmp_path: Path) -> None:
    environ = {
        "MAILPROBE_STATUS_FEEDS__MY_VENDOR__KIND": "rss",
        "MAILPROBE_STATUS_FEEDS__MY_VENDOR__URL": "https://status.example.com/history.rss",
        "MAILPROBE_STATUS_FEEDS__MY_VENDOR__MAILBOXES": "[box]",
    }
    (feed,) = loaded(tmp_path, "", environ).plan.feeds.values()
    assert (feed.name, feed.kind, feed.mailboxes) == ("my-vendor", FeedKind.RSS, ("box",))


def test_the_secret_may_be_in_the_directory_of_secrets(tmp_path: Path) -> None:
    feed = "kind: microsoft_graph, mailboxes: [box], oauth2: {tenant: contoso.example, client_id: id}"
    secret = tmp_path / "secrets" / "status_feeds" / "vendor" / "client_secret"
    (tmp_path / "secrets").mkdir()
    with pytest.raises(
        ConfigurationError,
        match=r":11:\d+: status_feeds.vendor.oauth2: <secrets_dir>/status_feeds/vendor/client_secret: the file does",
    ):
        loaded(tmp_path, feed, top="secrets_dir: secrets\n\n\n")
    secret.parent.mkdir(parents=True)
    secret.write_text("hunter2")
    (found,) = loaded(tmp_path, feed, top="secrets_dir: secrets\n").plan.feeds.values()
    assert found.oauth2
    assert found.oauth2.client_secret == SecretReference(file=secret)


@pytest.mark.parametrize(
    ("feed", "problem"),
    [
        ("kind: rss, mailboxes: [box]", "url: is missing: a feed of kind rss needs the address of its page or feed"),
        ("kind: telex, mailboxes: [box]", "kind: must be one of microsoft_graph, google_workspace, statuspage, rss"),
        ("mailboxes: [box]", "kind: is missing: how the vendor tells it, such as google_workspace"),
        (
            "kind: rss, url: http://status.example.com/, mailboxes: [box]",
            "url: must begin with https://, or say allow_http: true if you must",
        ),
        ("kind: rss, url: status.example.com, mailboxes: [box]", "url: must be a web address, such as"),
        ("kind: rss, url: 'https://me:hunter2@example.com/', mailboxes: [box]", "url: must be without user name"),
        ("kind: rss, url: 'https://example.com:99999/', mailboxes: [box]", "url: must be a web address, such as"),
        ("kind: rss, url: 'https://exämple.com/', mailboxes: [box]", "url: must be a web address, such as"),
        ("kind: rss, url: 'https://example.com/ä', mailboxes: [box]", "url: must be in ASCII and without #"),
        ("kind: rss, url: 'file:///etc/passwd', mailboxes: [box]", "url: must be a web address, such as"),
        (
            "kind: google_workspace, mailboxes: [box], interval: 5s",
            "interval: must be at least 30s: it is somebody else's server",
        ),
        ("kind: google_workspace, mailboxes: [bax]", "mailboxes.0: there is no mailbox bax; there is box"),
        ("kind: google_workspace, mailboxes: [box, box]", "mailboxes.1: is listed twice; remove one of them"),
        ("kind: google_workspace, senders: [box]", "senders.0: there is no sender box"),
        ("kind: google_workspace, mailboxes: [box], ca_file: nothing", "ca_file: the file does not exist"),
        ("kind: microsoft_graph, mailboxes: [box]", "oauth2: is missing: Microsoft Graph wants to know who asks"),
        (
            GRAPH.replace("microsoft_graph", "google_workspace"),
            "oauth2: is for microsoft_graph only; remove it",
        ),
        (GRAPH.replace("secret_file: secret", "secret_file: hunter2"), "oauth2.client_secret_file: the file does not"),
        (
            GRAPH.replace("secret_file: secret", "secret_env: GRAPH"),
            "oauth2.client_secret_env: the environment variable",
        ),
        (
            GRAPH.replace("secret_file: secret", "secret: hunter2"),
            "oauth2.client_secret: a secret is never written here",
        ),
        (
            GRAPH.replace(", client_secret_file: secret", ""),
            "oauth2: needs client_secret_file, client_secret_env or certificate_file",
        ),
        (
            f"{GRAPH}, url: 'http://example.com/', allow_http: true",
            "url: must begin with https://: a token is sent there",
        ),
        (GRAPH.replace("contoso.example", "../evil"), "oauth2.tenant: must be the directory's id, or a domain of it"),
        (
            GRAPH.replace("client_id: id", "client_id: id, token_url: 'http://example.com/'"),
            "oauth2.token_url: must be a URL that begins with https://",
        ),
        ("kind: google_workspace, mailbox: [box]", "mailbox: is not a setting; did you mean mailboxes?"),
    ],
)
def test_what_is_wrong_is_said_once_with_its_line(tmp_path: Path, feed: str, problem: str) -> None:
    (line,) = wrong(tmp_path, feed)
    assert line.startswith("8:")
    assert f": status_feeds.vendor.{problem}" in line.replace("mailboxes[", "mailboxes.")
    assert "hunter2" not in line


@pytest.mark.parametrize(
    "feed",
    [
        "kind: rss, url: 'http://127.0.0.1:8080/', interval: 250ms, mailboxes: [box]",
        "kind: rss, url: 'http://status.example.com/', allow_http: true, mailboxes: [box]",
        "kind: rss, url: 'https://[2001:db8::1]:8443/feed?x=1', mailboxes: [box]",
    ],
)
def test_what_is_right(tmp_path: Path, feed: str) -> None:
    assert loaded(tmp_path, feed).warnings == ()


def test_a_feed_of_nothing_is_odd(tmp_path: Path) -> None:
    (warning,) = loaded(tmp_path, "kind: google_workspace").warnings
    assert "status_feeds.vendor: names no mailboxes and no senders" in warning


def test_names_are_names(tmp_path: Path) -> None:
    file = tmp_path / "mailprobe.yaml"
    (tmp_path / "secret").write_text("x")
    file.write_text(f"{BASE}status_feeds:\n  Our Vendor: {{kind: google_workspace, mailboxes: [box]}}\n")
    with pytest.raises(ConfigurationError, match="such as our-vendor"):
        load(file, {})


def test_check_shows_them(tmp_path: Path) -> None:
    assert summary(loaded(tmp_path, "kind: google_workspace, mailboxes: [box]"))[-2:] == [
        "1 status feed",
        "  vendor  google_workspace  every 5m",
    ]


def test_a_shard_asks_only_the_vendors_of_its_own(tmp_path: Path) -> None:
    more = (
        '  other: {submission: "localhost:26", tls: plaintext, from: canary@example.com}\n'
        "mailboxes:\n"
        '  inn: {address: canary@example.com, imap: "localhost:994", auth: {username: canary, password_file: secret}}\n'
    )
    file = tmp_path / "mailprobe.yaml"
    (tmp_path / "secret").write_text("hunter2\n")
    file.write_text(
        BASE.replace("mailboxes:\n", more)
        + "  back: {from: other, to: inn}\n"
        + "status_feeds:\n"
        + "".join(
            f"  {name}: {{kind: rss, url: https://status.example.com/{name}, {of}}}\n"
            for name, of in (
                ("of-box", "mailboxes: [box]"),
                ("of-other", "senders: [other]"),
                ("of-all", "senders: [out, other]"),
            )
        )
    )
    plans = [load(file, {"MAILPROBE_AGENT__SHARD": f"{part}/2"}).plan for part in (1, 2)]
    mine = {("in",): {"of-box", "of-all"}, ("back",): {"of-other", "of-all"}}
    assert [set(plan.feeds) for plan in plans] == [mine[tuple(plan.routes)] for plan in plans]
    assert set(load(file, {}).plan.feeds) == {"of-box", "of-other", "of-all"}
