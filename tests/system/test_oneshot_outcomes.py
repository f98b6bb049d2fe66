"""`mailprobe probe` against Postfix and Dovecot: each outcome, its exit status, and the three ways to print it."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest
from support.one_shot import Ran, by_url, configuration, gives_away, passwords_of, probe, written
from support.result_shape import check_results
from support.servers_client import mailbox
from support.servers_dovecot import Account
from support.servers_fixtures import MailLab

OK, WARNING, CRITICAL, UNKNOWN = range(4)


@pytest.fixture
def account(mail_lab: MailLab) -> Account:
    return mail_lab.new_account()


def mails(lab: MailLab, account: Account) -> list[bytes]:
    """The UIDs in the inbox."""
    with mailbox(lab.dovecot, account) as client:
        client.select("INBOX", readonly=True)
        return client.uid("SEARCH", "ALL")[1][0].split()


@dataclass(frozen=True)
class Case:
    """`detail` of the recipient chooses the fault; `more` are further options."""

    outcome: str
    status: int
    detail: str = ""
    stage: str | None = None
    reason: str | None = None
    more: tuple[str, ...] = ()


CASES = {
    "delivered": Case("delivered", OK),
    "in time": Case("delivered", OK, more=("--warning=30s",)),
    "slow": Case("delivered", WARNING, more=("--warning=1ms",)),
    "deferred": Case("deferred", CRITICAL, "tempfail", "rcpt", "deferred"),
    "deferred at data": Case("deferred", CRITICAL, "datafail", "data", "deferred"),
    "full by SMTP": Case("deferred", CRITICAL, "full", "rcpt", "deferred"),
    "rejected": Case("rejected", CRITICAL, "nouser", "rcpt", "rejected"),
    "bounced": Case("bounced", CRITICAL, "bounce", "transit", None),
    "overdue": Case("overdue", CRITICAL, "swallow", "transit", "not_there", ("--timeout=1s",)),
}


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_an_outcome_by_url(mail_lab: MailLab, account: Account, case: Case) -> None:
    to = account.with_detail(case.detail) if case.detail else None
    ran = probe(*by_url(mail_lab, account, to=to), "--timeout=20s", *case.more, env=passwords_of(account))
    check_results(ran.document)
    result = ran.result
    assert (result["outcome"], result["stage"], result["reason"]) == (case.outcome, case.stage, case.reason)
    assert ran.status == case.status
    assert mails(mail_lab, account) == [], "the canary and what was sent back are removed"
    if case.status == OK:
        assert ran.stderr == ""
    else:
        assert ran.stderr.startswith(f"probe: {case.outcome}")


def test_a_delivery_whole(mail_lab: MailLab, account: Account) -> None:
    result = probe(*by_url(mail_lab, account), env=passwords_of(account)).result
    (attempt,) = result["attempts"]
    assert [stage["stage"] for stage in attempt["stages"]] == [
        *("resolve", "connect", "greeting", "ehlo", "starttls", "tls", "auth", "mail", "rcpt", "data"),
        *("end_of_data", "quit"),
    ]
    assert attempt["peer"]["port"] == mail_lab.postfix.submission_port
    assert attempt["tls"]["verified"] is True
    assert mail_lab.postfix.accepted_at(attempt["queue_id"]), "Postfix knows it by that queue id"
    assert 0 < result["transit_seconds"] < result["delivery_seconds"]
    assert result["sighting"]["folder"] == "INBOX"
    assert result["sighting"]["hops"][0]["by"] == "mail.lab.test"


def test_a_bounce_whole(mail_lab: MailLab, account: Account) -> None:
    ran = probe(*by_url(mail_lab, account, to=account.with_detail("bounce")), env=passwords_of(account))
    assert ran.result["bounce"] == {
        "action": "failed",
        "status": "5.1.1",
        "diagnostic": "bounced by lab",
        "reporting_mta": "mail.lab.test",
    }


def test_kept_where_asked_for(mail_lab: MailLab, account: Account) -> None:
    ran = probe(*by_url(mail_lab, account), "--keep", env=passwords_of(account))
    assert ran.status == OK
    assert len(mails(mail_lab, account)) == 1


@pytest.mark.parametrize("format_", ["text", "json", "nagios"])
@pytest.mark.parametrize("detail", ["", "nouser"])
def test_no_credential_in_any_output(mail_lab: MailLab, account: Account, format_: str, detail: str) -> None:
    to = account.with_detail(detail) if detail else None
    options = by_url(mail_lab, account, to=to)
    ran = probe(*options, f"--format={format_}", "--transcript", env=passwords_of(account))
    assert not gives_away(account, ran.stdout + ran.stderr)
    assert not gives_away(account, " ".join(options)), "what others see in the list of processes"
    if format_ != "nagios":
        assert "AUTH PLAIN ***" in ran.stdout


def test_the_transcript_in_the_document(mail_lab: MailLab, account: Account) -> None:
    ran = probe(*by_url(mail_lab, account), "--transcript", env=passwords_of(account))
    check_results(ran.document, transcript=True)
    said = [(line["direction"], line["text"]) for line in ran.result["transcript"]]
    assert ("<", "220 mail.lab.test ESMTP Postfix") in said
    assert (">", "DATA") in said


# ---- from a file

Change = Callable[[dict, MailLab], None]  # type: ignore[type-arg]


def probe_file(
    directory: Path, lab: MailLab, account: Account, change: Change | None, *arguments: str, **routes: object
) -> Ran:
    document = configuration(lab, account, routes=routes or None)
    if change:
        change(document, lab)
    file = written(directory, document, account)
    return probe(*arguments, "-c", str(file), env={"PATH": "/usr/bin:/bin"})


def test_a_route_of_a_file(mail_lab: MailLab, account: Account, tmp_path: Path) -> None:
    ran = probe_file(tmp_path, mail_lab, account, None, "home")
    check_results(ran.document)
    assert (ran.status, ran.result["route"], ran.result["outcome"]) == (OK, "home", "delivered")
    assert mails(mail_lab, account) == []


def test_found_in_the_junk_folder(mail_lab: MailLab, account: Account, tmp_path: Path) -> None:
    """The inbox stands in for a junk folder: nothing makes a filter junk this canary."""

    def change(document: dict, lab: MailLab) -> None:  # type: ignore[type-arg]
        document["mailboxes"]["dovecot"] |= {"inbox": "Sent", "junk": "INBOX"}

    ran = probe_file(tmp_path, mail_lab, account, change)
    assert (ran.status, ran.result["outcome"], ran.result["sighting"]["folder"]) == (WARNING, "junked", "INBOX")
    assert mails(mail_lab, account) == []


def test_delivered_only_after_a_deferral(mail_lab: MailLab, account: Account, tmp_path: Path) -> None:
    """Real greylisting, which takes the second attempt 3 s after the first."""

    def change(document: dict, lab: MailLab) -> None:  # type: ignore[type-arg]
        document["senders"]["postfix"]["submission"] = f"127.0.0.1:{lab.postfix.greylist_port}"
        document["routes"]["home"]["retry"] = ["3100ms"]

    ran = probe_file(tmp_path, mail_lab, account, change, "--format=json")
    check_results(ran.document)
    assert (ran.status, ran.result["outcome"]) == (WARNING, "delivered")
    assert [attempt["outcome"] for attempt in ran.result["attempts"]] == ["deferred", "accepted"]
    assert ran.result["delivery_seconds"] > 3.1, "what a person waits"
    assert ran.result["transit_seconds"] < 3
    assert "after 2 attempts" in ran.stderr


def test_bounces_arrive_in_another_mailbox(mail_lab: MailLab, account: Account, tmp_path: Path) -> None:
    """The sender's `bounces_to` is watched although no route ends there."""
    other = mail_lab.new_account()
    (tmp_path / "other").write_text(other.password)

    def change(document: dict, lab: MailLab) -> None:  # type: ignore[type-arg]
        auth = {"username": other.address, "password_file": "other"}
        document["mailboxes"]["returns"] = document["mailboxes"]["dovecot"] | {"address": other.address, "auth": auth}
        document["mailboxes"]["dovecot"]["address"] = account.with_detail("bounce")
        document["senders"]["postfix"] |= {"from": other.address, "bounces_to": "returns"}

    ran = probe_file(tmp_path, mail_lab, account, change)
    assert (ran.status, ran.result["outcome"]) == (CRITICAL, "bounced")
    assert mails(mail_lab, other) == []


def with_faults(document: dict, account: Account, **details: str) -> None:  # type: ignore[type-arg]
    """One mailbox, seen under several addresses, and a route to each."""
    plain = document["mailboxes"].pop("dovecot")
    for name, detail in details.items():
        address = account.with_detail(detail) if detail else account.address
        document["mailboxes"][name] = plain | {"address": address}
    document["routes"] = {f"to-{name}": {"from": "postfix", "to": name} for name in details}


@pytest.mark.parametrize(
    ("details", "status"),
    [
        ({"good": "", "other": "r2"}, OK),
        ({"good": "", "bad": "nouser"}, CRITICAL),
        ({"good": "", "blind": ""}, UNKNOWN),
        ({"bad": "nouser", "blind": ""}, CRITICAL),
    ],
    ids=["all good", "one rejected", "one unobserved", "rejected is worse than unobserved"],
)
def test_of_several_routes_the_worst_counts(
    mail_lab: MailLab, account: Account, tmp_path: Path, details: dict[str, str], status: int
) -> None:
    def change(document: dict, lab: MailLab) -> None:  # type: ignore[type-arg]
        with_faults(document, account, **details)
        if "blind" in details:
            document["mailboxes"]["blind"]["imap"] = "127.0.0.1:9"

    ran = probe_file(tmp_path, mail_lab, account, change, "--timeout=10s")
    check_results(ran.document)
    assert ran.status == status
    assert [result["route"] for result in ran.document["results"]] == [f"to-{name}" for name in details]


def test_warning_is_better_than_unknown(mail_lab: MailLab, account: Account, tmp_path: Path) -> None:
    def change(document: dict, lab: MailLab) -> None:  # type: ignore[type-arg]
        with_faults(document, account, good="", blind="")
        document["mailboxes"]["blind"]["imap"] = "127.0.0.1:9"

    ran = probe_file(tmp_path, mail_lab, account, change, "--warning=1ms")
    assert ran.status == UNKNOWN
    assert [result["outcome"] for result in ran.document["results"]] == ["delivered", "unobserved"]


def test_routes_that_share_a_sender_wait_for_each_other(mail_lab: MailLab, account: Account, tmp_path: Path) -> None:
    def change(document: dict, lab: MailLab) -> None:  # type: ignore[type-arg]
        with_faults(document, account, one="a", two="b", three="c")
        document["senders"]["postfix"]["limits"] = {"connections": 1}

    ran = probe_file(tmp_path, mail_lab, account, change)
    assert [result["outcome"] for result in ran.document["results"]] == ["delivered"] * 3
    assert ran.status == OK


def test_a_sender_whose_limits_leave_no_room(mail_lab: MailLab, account: Account, tmp_path: Path) -> None:
    def change(document: dict, lab: MailLab) -> None:  # type: ignore[type-arg]
        with_faults(document, account, one="a", two="b")
        document["senders"]["postfix"]["limits"] = {"messages_per_minute": 1}

    ran = probe_file(tmp_path, mail_lab, account, change, "--timeout=5s")
    check_results(ran.document)
    assert sorted(result["outcome"] for result in ran.document["results"]) == ["delivered", "skipped"]
    assert ran.status == UNKNOWN
    assert "sender_busy" in ran.stderr


# ---- for Nagios

_PERFORMANCE = re.compile(r"'([^'=]+)'=(U|[0-9.]+s);([0-9.]*);([0-9.]*);([0-9.]*);([0-9.]*)")
"""`'label'=value[UOM];[warn];[crit];[min];[max]`. Source: Monitoring Plugins Development Guidelines 2.6."""


def performance(line: str) -> dict[str, tuple[str, ...]]:
    """The performance data of a plugin's line; fails where anything of it is not to the grammar."""
    text, bar, data = line.partition(" | ")
    assert bar
    assert "|" not in text
    found = _PERFORMANCE.findall(data)
    assert " ".join(match[0] for match in _PERFORMANCE.finditer(data)) == data
    return {label: tuple(rest) for label, *rest in found}


def test_a_plugins_line(mail_lab: MailLab, account: Account) -> None:
    ran = probe(*by_url(mail_lab, account), "--format=nagios", "--warning=20s", env=passwords_of(account))
    (line,) = ran.stdout.splitlines()
    assert line.startswith("MAILPROBE OK - probe: delivered in ")
    figures = performance(line)
    assert figures.keys() == {"probe_delivery", "probe_transit"}
    assert figures["probe_delivery"][1:] == ("20", "60", "0", "60")
    assert float(figures["probe_delivery"][0].rstrip("s")) > 0
    assert (ran.status, ran.stderr) == (OK, "")


def test_a_plugins_line_of_a_failure(mail_lab: MailLab, account: Account) -> None:
    options = by_url(mail_lab, account, to=account.with_detail("nouser"))
    ran = probe(*options, "--format=nagios", env=passwords_of(account))
    (line,) = ran.stdout.splitlines()
    assert line.startswith("MAILPROBE CRITICAL - probe: rejected at rcpt: SMTP server 127.0.0.1:")
    assert "550 5.1.1" in line
    assert performance(line)["probe_delivery"][0] == "U"
    assert ran.status == CRITICAL


def test_a_plugins_lines_of_several_routes(mail_lab: MailLab, account: Account, tmp_path: Path) -> None:
    def change(document: dict, lab: MailLab) -> None:  # type: ignore[type-arg]
        with_faults(document, account, good="", bad="nouser")

    ran = probe_file(tmp_path, mail_lab, account, change, "--format=nagios")
    first, *others = ran.stdout.splitlines()
    assert first.startswith("MAILPROBE CRITICAL - 1 of 2 routes ok; to-bad: rejected at rcpt")
    assert performance(first).keys() == {"to-good_delivery", "to-good_transit", "to-bad_delivery", "to-bad_transit"}
    assert [line.split(":")[0] for line in others] == ["to-bad", "to-good"]
    assert ran.status == CRITICAL
