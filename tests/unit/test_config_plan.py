"""From a good file to the plan: every setting arrives where an actor reads it."""

from __future__ import annotations

import platform
from pathlib import Path

import pytest

from mailprobe.config.host import host_name
from mailprobe.config.load import Configuration, load
from mailprobe.config.routes import in_shard
from mailprobe.errors import ConfigurationError
from mailprobe.model import SenderKind, TlsMode
from mailprobe.plan import Cleanup, Endpoint, Family, Limits, Login, Mailbox, SecretReference, Sender

FILE = """\
agent:
  name: fra1
  listen: "[::1]:0"
  journal: data/journal.db
  journal_retention: 7d
  key_file: secret
  web_config_file: /dev/null
defaults: {interval: 2m, deadline: 10m, late_until: 12h, timeout: 20s}
secrets_dir: secrets
senders:
  office:
    submission: smtp.example.com:465
    tls: implicit
    from: canary@example.com
    auth: {username: canary, password_file: secret}
    ca_file: secret
    tls_server_name: mail.example.com
    source_address: 192.0.2.1
    ip_family: 6
    limits: {connections: 4, messages_per_minute: 30}
    ehlo: probe.example.com
    bounces_to: bounces
  outside:
    mx: true
    port: 2525
    from: canary@probe.example.net
    ehlo: "[192.0.2.1]"
    tls: require
    tls_verify: full
    resolver: [127.0.0.1:5353, 192.0.2.53, "[::1]:53"]
    try_all: true
  unused: {submission: "localhost:25", tls: plaintext, from: canary@example.com}
mailboxes:
  inbox:
    address: canary@example.com
    imap: imap.example.com:143
    tls: starttls
    tls_verify: none
    auth: {username: canary, password_env: CANARY_PASSWORD}
    inbox: Probe/In
    junk: none
    cleanup: keep
  bounces:
    address: bounces@example.com
    imap: imap.example.com:993
    auth: {username: bounces}
  unused:
    address: unused@example.com
    imap: imap.example.com:993
    auth: {username: unused, password_file: secret}
routes:
  one: {from: office, to: inbox}
  two: {from: outside, to: inbox, interval: 30s, deadline: 3m, late_until: 1h, timeout: 10s}
meshes:
  all: {senders: [office, outside], mailboxes: [inbox], deadline: 8m, retry: [1s, 2s]}
"""


@pytest.fixture
def file(tmp_path: Path) -> Path:
    (tmp_path / "data").mkdir()
    (tmp_path / "secret").write_text("hunter2\n")
    secret = tmp_path / "secrets" / "mailboxes" / "bounces" / "password"
    secret.parent.mkdir(parents=True)
    secret.write_text("hunter2\n")
    path = tmp_path / "mailprobe.yaml"
    path.write_text(FILE)
    return path


def loaded(file: Path, **environ: str) -> Configuration:
    return load(file, {"CANARY_PASSWORD": "hunter2", **environ})


def test_the_agent(file: Path) -> None:
    agent = loaded(file).agent
    assert agent.name == "fra1"
    assert agent.listen == ("::1", 0)
    assert agent.journal == file.parent / "data" / "journal.db"
    assert agent.journal_retention == 7 * 86400
    assert agent.key_file == file.parent / "secret"
    assert agent.web_config_file == Path("/dev/null")
    assert agent.shard is None


def test_a_submission_sender_whole(file: Path) -> None:
    assert loaded(file).plan.senders["office"] == Sender(
        name="office",
        kind=SenderKind.SUBMISSION,
        endpoint=Endpoint(
            host="smtp.example.com",
            port=465,
            tls=TlsMode.IMPLICIT,
            verify=True,
            ca_file=file.parent / "secret",
            server_name="mail.example.com",
            source_address="192.0.2.1",
            family=Family.IPV6,
        ),
        from_address="canary@example.com",
        ehlo="probe.example.com",
        login=Login("canary", SecretReference(file=file.parent / "secret")),
        limits=Limits(4, 30),
        bounces_to="bounces",
    )


def test_an_mx_sender_whole(file: Path) -> None:
    assert loaded(file).plan.senders["outside"] == Sender(
        name="outside",
        kind=SenderKind.MX,
        endpoint=Endpoint(host="", port=2525, tls=TlsMode.STARTTLS, verify=True),
        from_address="canary@probe.example.net",
        ehlo="[192.0.2.1]",
        resolver=(("127.0.0.1", 5353), ("192.0.2.53", 53), ("::1", 53)),
        try_all=True,
    )


def test_a_mailbox_whole(file: Path) -> None:
    assert loaded(file).plan.mailboxes["inbox"] == Mailbox(
        name="inbox",
        address="canary@example.com",
        endpoint=Endpoint(host="imap.example.com", port=143, tls=TlsMode.STARTTLS, verify=False),
        login=Login("canary", SecretReference(env="CANARY_PASSWORD")),
        inbox="Probe/In",
        junk=None,
        cleanup=Cleanup.KEEP,
        timeout=20.0,
    )


def test_a_secret_from_the_directory_of_secrets(file: Path) -> None:
    secret = file.parent / "secrets" / "mailboxes" / "bounces" / "password"
    assert loaded(file).plan.mailboxes["bounces"].login.password == SecretReference(file=secret)


def test_a_secret_from_a_directory_without_directories(file: Path) -> None:
    flat = file.parent / "secrets" / "mailboxes.bounces.password"
    flat.write_text("as Kubernetes and systemd call it")
    assert loaded(file).plan.mailboxes["bounces"].login.password == SecretReference(file=flat)


def test_only_what_routes_and_bounces_use_is_planned(file: Path) -> None:
    configuration = loaded(file)
    assert set(configuration.plan.senders) == {"office", "outside"}
    assert set(configuration.plan.mailboxes) == {"inbox", "bounces"}
    assert configuration.warnings == (
        f"{file}:32:3: senders.unused: is used by no route",
        f"{file}:47:3: mailboxes.unused: is used by no route",
    )


def test_routes_take_the_defaults(file: Path) -> None:
    route = loaded(file).plan.routes["one"]
    assert (route.interval, route.deadline, route.late_until, route.timeout) == (120, 600, 43200, 20)


def test_a_route_overrides_the_defaults(file: Path) -> None:
    route = loaded(file).plan.routes["two"]
    assert (route.interval, route.deadline, route.late_until, route.timeout) == (30, 180, 3600, 10)


def test_a_mesh_makes_a_route_of_each_pair(file: Path) -> None:
    plan = loaded(file).plan
    assert list(plan.routes) == ["one", "two", "all-office-inbox", "all-outside-inbox"]
    route = plan.routes["all-outside-inbox"]
    assert route.sender is plan.senders["outside"]
    assert route.mailbox is plan.mailboxes["inbox"]
    assert (route.interval, route.deadline, route.retry) == (120, 480, (1.0, 2.0))


@pytest.mark.parametrize(
    ("deadline", "retry"),
    [
        ("30s", ()),
        ("60s", ()),
        ("61s", (60.0,)),
        ("3m", (60.0,)),
        ("5m", (60.0, 120.0)),
        ("10h", (60, 120, 300, 600, 900, 1800)),
    ],
)
def test_an_mx_sender_retries_as_far_as_the_deadline_allows(
    file: Path, deadline: str, retry: tuple[float, ...]
) -> None:
    plan = loaded(file, MAILPROBE_ROUTES__TWO__DEADLINE=deadline, MAILPROBE_ROUTES__TWO__LATE_UNTIL="24h").plan
    assert plan.routes["two"].retry == retry


def test_a_submission_sender_does_not_retry_unless_told(file: Path) -> None:
    assert loaded(file).plan.routes["one"].retry == ()
    assert loaded(file, MAILPROBE_ROUTES__ONE__RETRY="[5s]").plan.routes["one"].retry == (5.0,)


def test_an_unchanged_file_gives_equal_slices(file: Path) -> None:
    """What a reload compares."""
    first, second = loaded(file), loaded(file)
    assert first == second
    changed = loaded(file, MAILPROBE_SENDERS__OUTSIDE__PORT="26")
    assert changed.plan.routes["one"] == first.plan.routes["one"]
    assert changed.plan.routes["two"] != first.plan.routes["two"]


def test_shards_part_the_routes(file: Path) -> None:
    whole = set(loaded(file).plan.routes)
    parts = [set(loaded(file, MAILPROBE_AGENT__SHARD=f"{part}/3").plan.routes) for part in (1, 2, 3)]
    assert set.union(*parts) == whole
    assert sum(map(len, parts)) == len(whole)
    assert set(loaded(file, MAILPROBE_AGENT__SHARD="0/3").plan.routes) == parts[2]


@pytest.mark.parametrize(
    ("node", "shard"), [("mailprobe-0", (0, 3)), ("mailprobe-2.mailprobe.mail.svc.cluster.local", (2, 3))]
)
def test_a_pod_takes_its_ordinal_for_its_shard(
    file: Path, node: str, shard: tuple[int, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(platform, "node", lambda: node)
    assert loaded(file, MAILPROBE_AGENT__SHARD="ordinal/3").agent.shard == shard


@pytest.mark.parametrize(
    ("node", "text"), [("mailprobe-3", "more pods than parts"), ("laptop", "this host has none"), ("", "has none")]
)
def test_a_host_that_is_no_part(file: Path, node: str, text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """It would probe another's routes a second time, or all of them."""
    monkeypatch.setattr(platform, "node", lambda: node)
    with pytest.raises(ConfigurationError, match=rf"MAILPROBE_AGENT__SHARD: agent.shard: .*{text}"):
        loaded(file, MAILPROBE_AGENT__SHARD="ordinal/3")


def test_a_shard_is_the_same_on_every_machine_and_version() -> None:
    """Changing the hash would move routes between agents that run already."""
    assert [name for name in map("route-{}".format, range(12)) if in_shard(name, (2, 5))] == ["route-6", "route-8"]


@pytest.mark.parametrize(
    ("node", "name"),
    [
        ("fra1", "fra1"),
        ("FRA1.example.com", "fra1"),
        ("mail_probe-0", "mail-probe-0"),
        ("-x-", "x"),
        ("", "mailprobe"),
        ("ü", "mailprobe"),
        ("a" * 70, "a" * 63),
    ],
)
def test_the_agent_is_called_as_its_machine(node: str, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(platform, "node", lambda: node)
    assert host_name() == name


@pytest.mark.parametrize(
    ("node", "ehlo"), [("probe.example.org", "probe.example.org"), ("probe", "example.com"), ("", "example.com")]
)
def test_a_sender_greets_with_a_name_that_is_fully_qualified(
    file: Path, node: str, ehlo: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(platform, "node", lambda: node)
    file.write_text(FILE.replace("    ehlo: probe.example.com\n", ""))
    assert loaded(file).plan.senders["office"].ehlo == ehlo


WARNED = [
    (
        "    submission: smtp.example.com:465",
        "    submission: smtp.example.com:587",
        "senders.office.submission: port 587 usually goes with tls: starttls, not implicit",
    ),
    (
        "imap.example.com:143",
        "imap.example.com:993",
        "mailboxes.inbox.imap: port 993 usually goes with tls: implicit, not starttls",
    ),
    (
        "messages_per_minute: 30",
        "messages_per_minute: 1",
        "senders.office.limits.messages_per_minute: the sender's routes make 1.333 messages",
    ),
    ("deadline: 3m", "deadline: 5s", "routes.two.timeout: timeout 10s is longer than deadline 5s"),
    ("    tls_verify: full", "    ca_file: secret", "senders.outside.ca_file: has no effect"),
    ("    tls_verify: none\n", "    tls_verify: none\n    ca_file: secret\n", "mailboxes.inbox.ca_file: has no effect"),
]


def test_policies_that_are_reported(file: Path) -> None:
    file.write_text(FILE.replace("    tls_verify: full", "    mta_sts: report\n    dane: report\n    ca_file: secret"))
    configuration = loaded(file)
    outside = configuration.plan.senders["outside"]
    assert (outside.mta_sts, outside.dane) == (True, True)
    assert not [line for line in configuration.warnings if "outside" in line], "an MTA-STS policy needs the CAs"


@pytest.mark.parametrize(("old", "new", "warning"), WARNED)
def test_what_is_usable_and_hardly_meant_so_is_a_warning(file: Path, old: str, new: str, warning: str) -> None:
    assert old in FILE
    file.write_text(FILE.replace(old, new).replace("interval: 2m", "interval: 90s"))
    said = [line for line in loaded(file).warnings if "used by no route" not in line]
    assert len(said) == 1
    assert warning in said[0]
    assert said[0].startswith(f"{file}:")
