"""The settings: what each means, its default, an example. The example file, the JSON Schema and the errors use these.

Every required setting carries a valid example: it stands in for one that is wrong or missing, so that all the
others can still be judged. Rules that concern more than one setting are in `checks`.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Any, Final

from pydantic import BaseModel, ConfigDict, Field
from pydantic.config import JsonDict
from pydantic_settings import BaseSettings, SettingsConfigDict

from mailprobe.config.providers import IdentityProvider, MailProvider
from mailprobe.config.types import (
    NAME_PATTERN,
    Duration,
    FilePath,
    GreetingName,
    HostName,
    HostPort,
    ImapServer,
    IpAddress,
    IpFamily,
    Listen,
    MailAddress,
    Nameserver,
    Port,
    Reference,
    Server,
    Shard,
    Tenant,
    Text,
    TokenUrl,
    WebAddress,
)
from mailprobe.plan import Cleanup, Family, FeedKind, Grant


class SenderTls(StrEnum):
    """When TLS begins: the first three for submission, the others for mx."""

    IMPLICIT = "implicit"
    STARTTLS = "starttls"
    PLAINTEXT = "plaintext"
    OPPORTUNISTIC = "opportunistic"
    REQUIRE = "require"
    NONE = "none"


class MailboxTls(StrEnum):
    """When TLS begins."""

    IMPLICIT = "implicit"
    STARTTLS = "starttls"
    PLAINTEXT = "plaintext"


class Verify(StrEnum):
    """What of the server's certificate is verified."""

    FULL = "full"
    NONE = "none"


class Policy(StrEnum):
    """Whether a policy of the recipient's domain is reported."""

    REPORT = "report"
    OFF = "off"


class _Model(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)


class AgentSettings(_Model):
    """This agent: its name, its HTTP side, its memory."""

    name: Reference | None = Field(
        default=None,
        description="this vantage point, part of every canary's token; default: the host name",
        examples=["fra1"],
        json_schema_extra={"pattern": NAME_PATTERN},
    )
    listen: Listen = Field(
        default=HostPort("127.0.0.1", 10587),
        json_schema_extra={"default": "127.0.0.1:10587"},
        description="address of the HTTP side",
        examples=["127.0.0.1:10587"],
    )
    journal: FilePath | None = Field(
        default=None,
        description="SQLite file in which canaries survive a restart; default: memory only",
        examples=["/var/lib/mailprobe/journal.db"],
    )
    journal_retention: Duration = Field(
        default=30 * 86400.0,
        json_schema_extra={"default": "30d"},
        description="age at which records are removed",
        examples=["30d"],
    )
    key_file: FilePath | None = Field(
        default=None,
        description="key that proves canaries ours; default: generated beside the journal, or for this run",
        examples=["/run/secrets/canary-key"],
    )
    web_config_file: FilePath | None = Field(
        default=None,
        description="TLS and basic auth of the HTTP side, in the format of the Prometheus exporter toolkit",
        examples=["/etc/mailprobe/web.yml"],
    )
    shard: Shard | None = Field(
        default=None,
        description='"2/5": only the routes whose hash falls into this part; "ordinal/5": the part is the number at '
        "the end of the host name, as a StatefulSet's pods have it",
        examples=["2/5"],
    )


class DefaultSettings(_Model):
    """For every route that does not say otherwise."""

    interval: Duration = Field(
        default=60.0, json_schema_extra={"default": "60s"}, description="a canary is sent this often", examples=["60s"]
    )
    deadline: Duration = Field(
        default=300.0,
        json_schema_extra={"default": "5m"},
        description="a canary not there by then is overdue, if somebody looked",
        examples=["5m"],
    )
    late_until: Duration = Field(
        default=86400.0,
        json_schema_extra={"default": "24h"},
        description="an overdue canary not there by then is lost",
        examples=["24h"],
    )
    timeout: Duration = Field(
        default=30.0,
        json_schema_extra={"default": "30s"},
        description="for each step of a conversation with a server",
        examples=["30s"],
    )


class OAuth2Settings(_Model):
    """Where bearer tokens come from: an identity provider, a file, or a command. Secrets are never written here."""

    provider: IdentityProvider | None = Field(
        default=None, description="fills token_url and scope", examples=["microsoft365"]
    )
    tenant: Tenant | None = Field(
        default=None,
        description="microsoft365: the directory's id, or a domain of it",
        examples=["contoso.onmicrosoft.com"],
    )
    client_id: Text | None = Field(
        default=None, description="the application's id", examples=["00000000-0000-0000-0000-000000000000"]
    )
    client_secret_file: FilePath | None = Field(
        default=None, description="file that holds the application's secret", examples=["/run/secrets/o365"]
    )
    client_secret_env: Text | None = Field(
        default=None, description="environment variable that holds it", examples=["O365_CLIENT_SECRET"]
    )
    certificate_file: FilePath | None = Field(
        default=None,
        description="instead of a secret: the application's RSA key and its certificate, PEM",
        examples=["/run/secrets/o365.pem"],
    )
    refresh_token_file: FilePath | None = Field(
        default=None, description="file that holds a refresh token", examples=["/run/secrets/refresh-token"]
    )
    refresh_token_env: Text | None = Field(
        default=None, description="environment variable that holds it", examples=["REFRESH_TOKEN"]
    )
    save_refresh_token: bool = Field(
        default=False,
        description="write a new refresh token into refresh_token_file; else it is kept in memory until the end",
    )
    service_account_file: FilePath | None = Field(
        default=None,
        description="google: key file (JSON) of a service account with domain-wide delegation",
        examples=["/run/secrets/service-account.json"],
    )
    subject: Text | None = Field(
        default=None,
        description="the user in whose name the service account asks; default: username",
        examples=["canary@contoso.example"],
    )
    token_url: TokenUrl | None = Field(
        default=None,
        description="token endpoint, of an identity provider that is not known by name",
        examples=["https://idp.example.com/token"],
    )
    grant: Grant | None = Field(
        default=None, description="default: what the secrets given are good for", examples=["refresh_token"]
    )
    scope: Text | None = Field(
        default=None, description="what to ask for; default: the provider's", examples=["https://mail.google.com/"]
    )
    ca_file: FilePath | None = Field(
        default=None,
        description="certificate authorities to trust at the token endpoint, PEM; default: the system's",
        examples=["/etc/ssl/own-ca.pem"],
    )
    token_file: FilePath | None = Field(
        default=None,
        description="instead of all that: a file that holds a token, which somebody else renews",
        examples=["/run/mail-token"],
    )
    token_command: tuple[Text, ...] = Field(
        default=(),
        description="instead of all that: a program and its arguments, no shell, that prints a token, or JSON with "
        "access_token and expires_in",
        examples=[["/usr/local/bin/mail-token", "canary"]],
    )


class AuthSettings(_Model):
    """Who logs in, and where the password or the token is; neither is ever written here."""

    username: Text = Field(description="user name", examples=["canary@contoso.example"])
    password_file: FilePath | None = Field(
        default=None, description="file that holds the password and nothing else", examples=["/run/secrets/o365"]
    )
    password_env: Text | None = Field(
        default=None, description="environment variable that holds the password", examples=["O365_PASSWORD"]
    )
    oauth2: OAuth2Settings | None = Field(
        default=None,
        description="a bearer token instead of a password (XOAUTH2, OAUTHBEARER)",
        examples=[{"token_file": "/run/mail-token"}],
    )


class LimitsSettings(_Model):
    """What the provider allows; the agent stays below by itself."""

    connections: int = Field(default=2, ge=1, le=1000, description="connections at once", examples=[2])
    messages_per_minute: int | None = Field(
        default=None, ge=1, le=1_000_000, description="messages in a minute; default: no limit", examples=[25]
    )


class EndpointSettings(_Model):
    """How a server is reached and trusted; the same for senders and mailboxes."""

    allow_plaintext_auth: bool = Field(
        default=False, description="log in without TLS to another machine: everyone on the way reads the password"
    )
    ca_file: FilePath | None = Field(
        default=None,
        description="certificate authorities to trust, PEM; default: the system's",
        examples=["/etc/ssl/own-ca.pem"],
    )
    tls_verify: Verify | None = Field(
        default=None, description="whether the certificate is verified; default: full, none for mx", examples=["full"]
    )
    tls_server_name: HostName | None = Field(
        default=None,
        description="name that the certificate must carry; default: the host",
        examples=["mail.example.com"],
    )
    source_address: IpAddress | None = Field(
        default=None, description="address of this machine to connect from", examples=["192.0.2.1"]
    )
    ip_family: IpFamily = Field(default=Family.ANY, description="IP version to use", examples=["any"])


class SenderSettings(EndpointSettings):
    """Where canaries are handed in: a submission service, or straight to the recipient domain's MX."""

    provider: MailProvider | None = Field(
        default=None,
        description="fills submission, tls, limits, and oauth2.provider, as far as they are not given",
        examples=["microsoft365"],
    )
    submission: Server | None = Field(
        default=None, description="submission service", examples=["smtp.office365.com:587"]
    )
    mx: bool = Field(default=False, description="straight to the recipient domain's MX", examples=[True])
    port: Port | None = Field(default=None, description="mx only: port of the MX; default: 25", examples=[25])
    tls: SenderTls | None = Field(
        default=None,
        description="submission: implicit, starttls (default), plaintext; mx: opportunistic (default), require, none",
        examples=["starttls"],
    )
    from_address: MailAddress = Field(
        alias="from", description="sender address of the canaries", examples=["canary@contoso.example"]
    )
    auth: AuthSettings | None = Field(
        default=None,
        description="login; submission only",
        examples=[{"username": "canary@contoso.example", "password_file": "/run/secrets/o365"}],
    )
    ehlo: GreetingName | None = Field(
        default=None,
        description="name to say in EHLO; default: the host name if it is fully qualified, else the domain of `from`",
        examples=["probe.example.net"],
    )
    bounces_to: Reference | None = Field(
        default=None,
        description="mailbox in which bounces to `from` arrive; default: the one whose address or login `from` is",
        examples=["contoso"],
    )
    limits: LimitsSettings = Field(default=LimitsSettings(), description="what the provider allows")
    resolver: tuple[Nameserver, ...] = Field(
        default=(), description="DNS servers to ask; default: the system's", examples=[["127.0.0.1:5353"]]
    )
    try_all: bool = Field(
        default=False, description="mx only: go on to the next MX when one cannot be reached, as an MTA would"
    )
    mta_sts: Policy = Field(
        default=Policy.OFF,
        description="mx only: report the domain's MTA-STS policy, and whether it was kept",
        examples=["report"],
    )
    dane: Policy = Field(
        default=Policy.OFF,
        description="mx only: report the MX's TLSA records, and whether they were kept; the resolver has to validate",
        examples=["report"],
    )


class MailboxSettings(EndpointSettings):
    """An IMAP account in which canaries are looked for."""

    address: MailAddress = Field(description="where canaries are sent to", examples=["canary@contoso.example"])
    provider: MailProvider | None = Field(
        default=None,
        description="fills imap, tls, and oauth2.provider, as far as they are not given",
        examples=["microsoft365"],
    )
    imap: ImapServer = Field(description="IMAP server", examples=["outlook.office365.com:993"])
    tls: MailboxTls = Field(default=MailboxTls.IMPLICIT, description="when TLS begins", examples=["implicit"])
    auth: AuthSettings = Field(
        description="login", examples=[{"username": "canary@contoso.example", "password_file": "/run/secrets/o365"}]
    )
    inbox: Text = Field(default="INBOX", description="folder of new mail", examples=["INBOX"])
    junk: Text | None = Field(
        default="auto",
        description="folder of junk: auto finds it, a name, or none for no such folder",
        examples=["auto"],
    )
    cleanup: Cleanup = Field(
        default=Cleanup.DELETE,
        description="what becomes of our own proven canaries; other mail is never touched",
        examples=["delete"],
    )


class PromiseSettings(_Model):
    """What of `defaults` is different here."""

    interval: Duration | None = Field(default=None, description="a canary is sent this often", examples=["60s"])
    deadline: Duration | None = Field(
        default=None, description="a canary not there by then is overdue", examples=["5m"]
    )
    late_until: Duration | None = Field(
        default=None, description="an overdue canary not there by then is lost", examples=["24h"]
    )
    timeout: Duration | None = Field(default=None, description="for each step of a conversation", examples=["30s"])
    retry: tuple[Duration, ...] | None = Field(
        default=None,
        description="pauses before further attempts after a deferral; default: 1m, 2m, 5m, 10m, 15m, 30m as far as the "
        "deadline allows for mx, none for submission",
        examples=[["1m", "2m", "5m"]],
    )


class RouteSettings(PromiseSettings):
    """From one sender to one mailbox: the promise under test."""

    sender: Reference = Field(alias="from", description="sender", examples=["office365"])
    mailbox: Reference = Field(alias="to", description="mailbox", examples=["contoso"])


class MeshSettings(PromiseSettings):
    """One route for each pair, named <mesh>-<sender>-<mailbox>."""

    senders: tuple[Reference, ...] = Field(min_length=1, description="senders", examples=[["office365", "outside"]])
    mailboxes: tuple[Reference, ...] = Field(min_length=1, description="mailboxes", examples=[["contoso"]])


class StatusFeedSettings(_Model):
    """What a vendor says of its own service, and whose service that is."""

    kind: FeedKind = Field(description="how the vendor tells it", examples=["google_workspace"])
    url: WebAddress | None = Field(
        default=None,
        description="address of the feed, of the page for statuspage; needed for statuspage and rss",
        examples=["https://status.example.com"],
    )
    interval: Duration = Field(
        default=300.0, json_schema_extra={"default": "5m"}, description="it is read this often", examples=["5m"]
    )
    services: tuple[Text, ...] | None = Field(
        default=None,
        description="services, products or components that matter, words in the title for rss; default: all, but for "
        "microsoft_graph Exchange Online and Microsoft 365 suite, for google_workspace Gmail",
        examples=[["Gmail"]],
    )
    mailboxes: tuple[Reference, ...] = Field(
        default=(), description="mailboxes that are with this vendor", examples=[["contoso"]]
    )
    senders: tuple[Reference, ...] = Field(
        default=(), description="senders that are with this vendor", examples=[["office365"]]
    )
    oauth2: OAuth2Settings | None = Field(
        default=None,
        description="microsoft_graph only: as whom to ask, an application with ServiceHealth.Read.All",
        examples=[{"token_file": "/run/graph-token"}],
    )
    ca_file: FilePath | None = Field(
        default=None,
        description="certificate authorities to trust, PEM; default: the system's",
        examples=["/etc/ssl/own-ca.pem"],
    )
    allow_http: bool = Field(
        default=False, description="read it without TLS from another machine: everyone on the way may change it"
    )


_NAMES: Final[JsonDict] = {"propertyNames": {"pattern": NAME_PATTERN}}


def _named(description: str) -> Any:
    return Field(default_factory=dict, description=description, json_schema_extra=_NAMES)


class Settings(BaseSettings):
    """mailprobe's configuration."""

    model_config = SettingsConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True, validate_default=False)

    agent: AgentSettings = Field(default=AgentSettings(), description="this agent")
    defaults: DefaultSettings = Field(
        default=DefaultSettings(), description="for every route that does not say otherwise"
    )
    secrets_dir: FilePath | None = Field(
        default=None,
        description="directory of secrets: a login without password_file and password_env takes "
        "<secrets_dir>/<section>/<name>/password, e.g. senders/office365/password, or, in one directory, "
        "senders.office365.password; oauth2 client_secret, refresh_token",
        examples=["/run/secrets/mailprobe"],
    )
    senders: dict[str, SenderSettings] = _named("where canaries are handed in, by name")
    mailboxes: dict[str, MailboxSettings] = _named("where canaries are looked for, by name")
    routes: dict[str, RouteSettings] = _named("from a sender to a mailbox, by name")
    meshes: dict[str, MeshSettings] = _named("routes from each of some senders to each of some mailboxes, by name")
    status_feeds: dict[str, StatusFeedSettings] = _named("what vendors say of their services, by name")


def json_schema() -> dict[str, Any]:
    """JSON Schema of the file, for editors. Source: JSON Schema 2020-12."""
    schema = Settings.model_json_schema(by_alias=True)
    mailbox = schema["$defs"]["MailboxSettings"]
    mailbox["required"].remove("imap")
    mailbox["anyOf"] = [{"required": ["imap"]}, {"required": ["provider"]}]  # which fills it
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **schema}
