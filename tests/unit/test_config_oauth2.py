"""`oauth2` and `provider`: what they come to, and what goes beyond what a provider allows."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from mailprobe.config.load import load
from mailprobe.config.providers import PROVIDERS, MailProvider
from mailprobe.config.schema import json_schema
from mailprobe.model import TlsMode
from mailprobe.plan import Grant, Limits, OAuth2, Plan, SecretReference

Settings = dict[str, Any]

OFFICE = {"tenant": "contoso.example", "client_id": "x", "client_secret_file": "secret"}


@pytest.fixture
def file(tmp_path: Path) -> Path:
    (tmp_path / "secret").write_text("hunter2\n")
    return tmp_path / "mailprobe.yaml"


def loaded(
    file: Path, sender: Settings, mailbox: Settings | None = None, environ: dict[str, str] | None = None, **more: Any
) -> tuple[Plan, tuple[str, ...]]:
    auth = {"username": "canary@contoso.example", "password_file": "secret"}
    sender = {"from": "canary@contoso.example", "auth": auth, **sender}
    mailbox = {"address": "canary@contoso.example", "auth": auth, **(mailbox or {"imap": "imap.example.com:993"})}
    routes = {"r": {"from": "s", "to": "m", **more.pop("route", {})}}
    file.write_text(json.dumps({"senders": {"s": sender}, "mailboxes": {"m": mailbox}, "routes": routes, **more}))
    configuration = load(file, environ or {})
    return configuration.plan, configuration.warnings


def with_oauth2(**settings: Any) -> Settings:
    return {"auth": {"username": "canary@contoso.example", "oauth2": settings}}


def oauth2_of(file: Path, *, environ: dict[str, str] | None = None, top: Settings | None = None, **own: Any) -> OAuth2:
    plan, _ = loaded(file, {"submission": "s.example.com:587"} | with_oauth2(**own), environ=environ, **(top or {}))
    login = plan.senders["s"].login
    assert login
    assert login.password is None
    assert login.oauth2
    return login.oauth2


# ---- where tokens come from


def test_microsoft_with_a_secret(file: Path) -> None:
    got = oauth2_of(file, provider="microsoft365", **OFFICE)
    assert got == OAuth2(
        token_url="https://login.microsoftonline.com/contoso.example/oauth2/v2.0/token",
        grant=Grant.CLIENT_CREDENTIALS,
        client_id="x",
        client_secret=SecretReference(file=file.parent / "secret"),
        scope="https://outlook.office365.com/.default",
    )


def test_microsoft_with_a_certificate_in_another_cloud(file: Path) -> None:
    url = "https://login.microsoftonline.us/contoso.example/oauth2/v2.0/token"
    got = oauth2_of(file, provider="microsoft365", client_id="x", certificate_file="secret", token_url=url, scope="y")
    assert (got.token_url, got.scope, got.client_secret) == (url, "y", None)
    assert got.certificate == SecretReference(file=file.parent / "secret")


@pytest.mark.parametrize(
    ("provider", "scope"),
    [
        ({"provider": "microsoft365", "tenant": "common"}, "https://outlook.office.com/IMAP.AccessAsUser.All "),
        ({"provider": "google"}, ""),
        ({"token_url": "https://idp.example.com/token"}, ""),
    ],
)
def test_a_refresh_token(file: Path, provider: Settings, scope: str) -> None:
    got = oauth2_of(file, client_id="x", refresh_token_env="REFRESH", environ={"REFRESH": "hunter2"}, **provider)
    assert got.grant is Grant.REFRESH_TOKEN
    assert got.refresh_token == SecretReference(env="REFRESH")
    assert got.scope.startswith(scope)
    assert bool(got.scope) == bool(scope)


def test_a_service_account(file: Path) -> None:
    got = oauth2_of(file, provider="google", service_account_file="secret")
    assert (got.grant, got.subject, got.scope) == (
        Grant.JWT_BEARER,
        "canary@contoso.example",
        "https://mail.google.com/",
    )
    assert got.token_url == "https://oauth2.googleapis.com/token"
    assert oauth2_of(file, provider="google", service_account_file="secret", subject="a@b.c").subject == "a@b.c"


def test_a_file_and_a_command(file: Path) -> None:
    assert oauth2_of(file, token_file="secret") == OAuth2(token_file=file.parent / "secret")
    assert oauth2_of(file, token_command=["/bin/echo", "x"]) == OAuth2(token_command=("/bin/echo", "x"))


@pytest.mark.parametrize(("key", "grant"), [("client_secret", None), ("refresh_token", "refresh_token")])
def test_secrets_of_a_directory(file: Path, key: str, grant: str | None) -> None:
    secret = file.parent / "secrets" / "senders" / "s" / key
    secret.parent.mkdir(parents=True)
    secret.write_text("hunter2\n")
    (file.parent / "secrets" / "mailboxes").mkdir()
    own = {"token_url": "https://idp.example.com/token", "client_id": "x"} | ({"grant": grant} if grant else {})
    got = oauth2_of(file, top={"secrets_dir": "secrets"}, **own)
    assert getattr(got, key) == SecretReference(file=secret)


def test_by_environment(file: Path) -> None:
    environ = {"MAILPROBE_SENDERS__S__AUTH__OAUTH2__TENANT": "fabrikam.example"}
    assert "fabrikam.example" in oauth2_of(file, provider="microsoft365", environ=environ, **OFFICE).token_url


def test_equal_settings_are_one_source(file: Path) -> None:
    own = {"provider": "microsoft365"} | with_oauth2(**OFFICE)
    plan, warnings = loaded(file, own, own)
    (sender, _), (mailbox, _) = plan.token_users()
    assert sender == mailbox
    assert [user for _, user in plan.token_users()] == ["sender/s", "mailbox/m"]
    assert warnings == ()


# ---- presets


@pytest.mark.parametrize("name", MailProvider)
def test_a_preset_is_enough(file: Path, name: MailProvider) -> None:
    oauth2 = with_oauth2(token_file="secret")
    plan, warnings = loaded(file, {"provider": name} | oauth2, {"provider": name} | oauth2, route={"interval": "5m"})
    sender, mailbox, known = plan.senders["s"], plan.mailboxes["m"], PROVIDERS[name]
    assert str(sender.endpoint) == known.submission
    assert sender.endpoint.tls is TlsMode(known.submission_tls)
    assert str(mailbox.endpoint) == known.imap
    assert mailbox.endpoint.tls is TlsMode.IMPLICIT
    assert mailbox.junk == "auto"
    assert warnings == ()


def test_everything_of_a_preset_can_be_overridden(file: Path) -> None:
    sender = {"provider": "microsoft365", "submission": "relay.example.com:465", "tls": "implicit"}
    sender |= {"limits": {"connections": 1}}
    mailbox = {"provider": "microsoft365", "imap": "imap.example.com:143", "tls": "starttls"}
    environ = {"MAILPROBE_SENDERS__S__LIMITS__MESSAGES_PER_MINUTE": "5"}
    plan, _ = loaded(file, sender, mailbox | with_oauth2(token_file="secret"), environ)
    assert str(plan.senders["s"].endpoint) == "relay.example.com:465"
    assert plan.senders["s"].limits == Limits(1, 5)
    assert str(plan.mailboxes["m"].endpoint) == "imap.example.com:143"
    assert plan.mailboxes["m"].endpoint.tls is TlsMode.STARTTLS


def test_a_provider_by_environment(file: Path) -> None:
    environ = {"MAILPROBE_SENDERS__S__PROVIDER": "microsoft365"}
    plan, _ = loaded(file, {"submission": "smtp.example.com:587"}, environ=environ)
    assert plan.senders["s"].limits == Limits(2, 25)


def test_the_schema_asks_for_a_server_or_a_provider() -> None:
    mailbox = json_schema()["$defs"]["MailboxSettings"]
    assert "imap" not in mailbox["required"]
    assert mailbox["anyOf"] == [{"required": ["imap"]}, {"required": ["provider"]}]


# ---- what a provider allows


def warned(file: Path, sender: Settings, mailbox: Settings | None = None, **more: Any) -> str:
    _, warnings = loaded(file, sender, mailbox, **more)
    return "\n".join(warnings)


def test_too_many_submissions_at_a_time(file: Path) -> None:
    office = {"submission": "smtp.office365.com:587"}  # known by its servers too
    assert "allows 3 submissions" in warned(file, office | {"limits": {"connections": 4}})
    assert "submissions" not in warned(file, office | {"limits": {"connections": 3}})


def test_too_many_messages(file: Path) -> None:
    office = {"provider": "microsoft365", "limits": {"messages_per_minute": 100}}
    assert "allows 30" in warned(file, office, route={"interval": "1s"})
    assert "messages a minute" not in warned(file, office, route={"interval": "2s"})
    assert "a day; Microsoft 365 allows 10000" in warned(file, office, route={"interval": "2s"})
    assert "a day; Gmail allows 500" in warned(file, {"provider": "gmail"}, route={"interval": "60s"})
    assert warned(file, {"provider": "google_workspace"}, route={"interval": "60s"}) == ""


def test_a_folder_of_sent_mail_that_fills_up(file: Path) -> None:
    assert "retention rule" in warned(file, {"provider": "microsoft365"}, route={"interval": "10s"})
    assert "retention rule" not in warned(file, {"provider": "microsoft365"}, route={"interval": "60s"})


def test_a_password_where_none_is_taken(file: Path) -> None:
    assert "takes no password" in warned(file, {"provider": "microsoft365"}, {"provider": "microsoft365"})
    assert warned(file, {"provider": "gmail"}, {"provider": "gmail"}, route={"interval": "5m"}) == ""


def test_too_many_connections_of_one_account(file: Path) -> None:
    auth = {"username": "Canary@gmail.example", "password_file": "secret"}
    boxes = {f"m{n}": {"provider": "gmail", "address": f"c+{n}@gmail.example", "auth": auth} for n in range(16)}
    meshes = {"all": {"senders": ["s"], "mailboxes": list(boxes)}}
    sender = {"submission": "s.example.com:587", "from": "canary@gmail.example", "auth": auth}
    file.write_text(json.dumps({"senders": {"s": sender}, "mailboxes": boxes, "meshes": meshes}))
    (warning,) = load(file, {}).warnings
    assert "mailboxes.m15: Gmail allows 15 IMAP connections" in warning
