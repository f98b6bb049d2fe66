"""What single settings cannot know: references, files, kinds, and figures that contradict each other.

One pass that gathers everything. It is given whole settings in which wrong ones were replaced by examples; what
concerns a replaced one is not said (`failed`), everything else is.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from itertools import accumulate
from pathlib import Path
from typing import Final

from mailprobe.config import feeds, files
from mailprobe.config.durations import duration_text
from mailprobe.config.explain import NAMED
from mailprobe.config.oauth2 import SECRETS, asks_endpoint, contradictions, grant_of, has_secret
from mailprobe.config.plan import secrets_of, tls_of, verifies
from mailprobe.config.problems import KeyPath, Problem, did_you_mean, shown
from mailprobe.config.provider_checks import provider_warnings
from mailprobe.config.routes import Promise, RouteEntry, in_shard, promise_of, route_entries
from mailprobe.config.schema import (
    AuthSettings,
    DefaultSettings,
    EndpointSettings,
    MailboxTls,
    OAuth2Settings,
    Policy,
    PromiseSettings,
    SenderSettings,
    SenderTls,
    Settings,
    StatusFeedSettings,
)
from mailprobe.config.secrets_dir import Secrets
from mailprobe.config.types import NAME_PATTERN, HostPort
from mailprobe.plan import is_loopback

SHORTEST_INTERVAL: Final = 0.1
"""Seconds. Below it the schedule of a route is a load test."""

_NAME: Final = re.compile(NAME_PATTERN)
_NAME_TEXT: Final = "must be made of a-z, 0-9 and -, begin with a letter or digit, and have at most 63 characters"
_VARIABLE: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,199}")

_SUBMISSION_TLS: Final = (SenderTls.IMPLICIT, SenderTls.STARTTLS, SenderTls.PLAINTEXT)
_USUAL_TLS: Final = {465: "implicit", 993: "implicit", 25: "starttls", 587: "starttls", 143: "starttls"}


@dataclass(slots=True)
class Findings:
    """What the checks say."""

    problems: list[Problem] = field(default_factory=list)
    warnings: list[Problem] = field(default_factory=list)


def checked(settings: Settings, failed: frozenset[KeyPath], environ: Mapping[str, str], directory: Path) -> Findings:
    """All findings. `failed`: paths that are wrong already; `directory`: where relative paths begin."""
    checks = _Checks(settings, failed, environ, directory)
    checks.names()
    checks.agent()
    for name, sender in settings.senders.items():
        checks.sender(name, sender)
    for name, mailbox in settings.mailboxes.items():
        path = ("mailboxes", name)
        checks.endpoint(path, mailbox)
        checks.login(path, mailbox.auth)
        checks.encryption(path, "imap", mailbox.imap, mailbox.tls, mailbox.auth, mailbox)
    checks.promises()
    checks.routes()
    for name, feed in settings.status_feeds.items():
        checks.feed(name, feed)
    return checks.findings


class _Checks:
    def __init__(
        self, settings: Settings, failed: frozenset[KeyPath], environ: Mapping[str, str], directory: Path
    ) -> None:
        self.findings = Findings()
        self._settings = settings
        self._failed = failed
        self._environ = environ
        self._directory = directory

    def names(self) -> None:
        """Names that are safe as labels, and therefore never need escaping later."""
        for section in NAMED:
            for name in getattr(self._settings, section):
                if not _NAME.fullmatch(name):
                    self._wrong((section, name), f"the name {_NAME_TEXT}{_better_name(name)}")

    def agent(self) -> None:
        """The agent's name, and the files that it is told of."""
        agent = self._settings.agent
        if agent.name is not None and not _NAME.fullmatch(agent.name):
            self._wrong(("agent", "name"), _NAME_TEXT)
        self._secret_file(("agent", "key_file"), agent.key_file)
        self._file(("agent", "web_config_file"), agent.web_config_file)
        if agent.journal and (wrong := files.unusable_as_database(self._directory / agent.journal)):
            self._wrong(("agent", "journal"), wrong)
        if self._settings.secrets_dir and (
            wrong := files.not_a_directory(self._directory / self._settings.secrets_dir)
        ):
            self._wrong(("secrets_dir",), wrong)

    def sender(self, name: str, sender: SenderSettings) -> None:
        """One of the two kinds, and nothing of the other."""
        path: KeyPath = ("senders", name)
        kind = ((*path, "mx"), (*path, "submission"))
        self.endpoint(path, sender)
        if sender.bounces_to is not None:
            self._reference((*path, "bounces_to"), sender.bounces_to, "mailboxes")
        if sender.mx and sender.submission:
            self._wrong((*path, "mx"), "a sender is either mx or submission; remove one of them", *kind)
        elif sender.mx:
            self._mx(path, sender, kind)
        elif sender.submission or self._muted((*path, "submission")):
            self._submission(path, sender, ((*path, "mx"),))
        else:
            self._wrong(path, "says neither where to submit nor mx; write submission: host:port, or mx: true", *kind)

    def endpoint(self, path: KeyPath, endpoint: EndpointSettings) -> None:
        """How a server is trusted."""
        self._file((*path, "ca_file"), endpoint.ca_file)
        # an MTA-STS policy is judged by these CAs too
        judges = getattr(endpoint, "mta_sts", Policy.OFF) is Policy.REPORT
        for key in ("tls_server_name",) if judges else ("ca_file", "tls_server_name"):
            if getattr(endpoint, key) is not None and not verifies(endpoint):
                needs = ((*path, "tls_verify"), (*path, "mx"))
                self._odd((*path, key), "has no effect: the certificate is not verified (tls_verify: full)", *needs)

    def login(self, path: KeyPath, auth: AuthSettings) -> None:
        """Exactly one place where the password or the token is, and it is there."""
        at = (*path, "auth")
        needs = ((*at, "password"), (*at, "oauth2"), (*at, "password_file"), (*at, "password_env"))
        secrets = secrets_of(self._settings, str(path[0]), str(path[1]), self._directory)
        if auth.oauth2:
            for key in ("password_file", "password_env"):
                if getattr(auth, key):
                    self._wrong((*at, key), "give either oauth2 or a password, not both", *needs)
            self._oauth2((*at, "oauth2"), auth.oauth2, secrets)
        elif auth.password_file and auth.password_env:
            self._wrong((*at, "password_env"), "give either password_file or password_env, not both", *needs)
        elif auth.password_env:
            self._variable((*at, "password_env"), auth.password_env)
        elif auth.password_file:
            self._secret_file((*at, "password_file"), auth.password_file)
        elif secrets:
            self._secret_in_directory(at, secrets.file("password"), "password_file or password_env", needs)
        else:
            self._wrong(at, "does not say where the password is; write password_file or password_env", *needs)

    def _oauth2(self, at: KeyPath, own: OAuth2Settings, secrets: Secrets | None) -> None:
        """Tokens come from one place, and what is needed there is there."""
        if self._muted(at) or any(path[: len(at)] == at for path in self._failed):
            return
        for key, text in contradictions(own, from_directory=secrets is not None):
            self._wrong((*at, key) if key else at, text)
        for key in ("client_secret_env", "refresh_token_env"):
            if name := getattr(own, key):
                self._variable((*at, key), name)
        for key in ("client_secret_file", "certificate_file", "refresh_token_file", "service_account_file"):
            self._secret_file((*at, key), getattr(own, key))
        self._secret_file((*at, "token_file"), own.token_file)
        self._file((*at, "ca_file"), own.ca_file)
        wanted = SECRETS.get(grant_of(own))
        if secrets and wanted and asks_endpoint(own) and not has_secret(own):
            self._secret_in_directory(at, secrets.file(wanted), f"{wanted}_file or {wanted}_env", ())

    def encryption(
        self,
        path: KeyPath,
        key: str,
        server: HostPort,
        tls: SenderTls | MailboxTls,
        auth: AuthSettings | None,
        endpoint: EndpointSettings,
    ) -> None:
        """No password in the clear over a network; a TLS mode that hardly fits the port is a warning."""
        needs = ((*path, "tls"), (*path, key), (*path, "allow_plaintext_auth"))
        plaintext = tls == "plaintext"
        if plaintext and auth and not endpoint.allow_plaintext_auth and not is_loopback(server.host):
            text = (
                "would send the password unencrypted to another machine; write starttls or implicit, "
                "or allow_plaintext_auth: true if you must"
            )
            self._wrong((*path, "tls"), text, *needs)
        usual = _USUAL_TLS.get(server.port, tls)
        if not plaintext and usual != tls:
            self._odd((*path, key), f"port {server.port} usually goes with tls: {usual}, not {tls}", *needs)

    def promises(self) -> None:
        """Figures of `defaults`, of routes and of meshes that cannot be kept."""
        settings = self._settings
        self._promise(("defaults",), promise_of(settings, PromiseSettings()), DefaultSettings.model_fields)
        items: dict[str, Mapping[str, PromiseSettings]] = {"routes": settings.routes, "meshes": settings.meshes}
        for section, named in items.items():
            for name, own in named.items():
                given = [key for key in PromiseSettings.model_fields if getattr(own, key) is not None]
                self._promise((section, name), promise_of(settings, own), given)

    def routes(self) -> None:
        """Routes that exist, begin and end somewhere, and have a name of their own."""
        settings = self._settings
        for name, route in settings.routes.items():
            self._reference(("routes", name, "from"), route.sender, "senders")
            self._reference(("routes", name, "to"), route.mailbox, "mailboxes")
        for name, mesh in settings.meshes.items():
            self._mesh_list(("meshes", name, "senders"), mesh.senders)
            self._mesh_list(("meshes", name, "mailboxes"), mesh.mailboxes)
        entries = list(route_entries(settings))
        if not entries:
            text = "there is no route, so nothing would be probed; write routes: {NAME: {from: SENDER, to: MAILBOX}}"
            self._wrong(("routes",), text, ("meshes",))
        elif not any(in_shard(entry.name, settings.agent.shard) for entry in entries):
            self._odd(("agent", "shard"), "none of the routes falls into this shard")
        self._route_names(entries)
        self._rates(entries)
        self._unused(entries)
        for path, text in provider_warnings(settings, entries):
            self._odd(path, text, path)

    def feed(self, name: str, feed: StatusFeedSettings) -> None:
        """A feed that can be read, and belongs to something."""
        path: KeyPath = ("status_feeds", name)
        for key, text, needs in feeds.wrong_with(feed):
            self._wrong((*path, key), text, *((*path, need) for need in needs))
        self._file((*path, "ca_file"), feed.ca_file)
        self._mesh_list((*path, "mailboxes"), feed.mailboxes)
        self._mesh_list((*path, "senders"), feed.senders)
        if not feed.mailboxes and not feed.senders:
            text = "names no mailboxes and no senders, so nothing of ours is held against what it says"
            self._odd(path, text, (*path, "mailboxes"), (*path, "senders"))
        if feed.oauth2:
            secrets = secrets_of(self._settings, "status_feeds", name, self._directory)
            self._oauth2((*path, "oauth2"), feeds.tokens_of(feed.oauth2), secrets)

    def _mx(self, path: KeyPath, sender: SenderSettings, kind: tuple[KeyPath, ...]) -> None:
        for key in ("auth", "allow_plaintext_auth"):
            if getattr(sender, key):
                self._wrong((*path, key), "an mx sender does not log in; remove this, or write submission", *kind)
        if sender.provider:
            self._wrong((*path, "provider"), "is for submission senders only; remove it", *kind)
        tls = tls_of(sender)
        if tls in _SUBMISSION_TLS:
            self._wrong((*path, "tls"), "for an mx sender must be opportunistic, require or none", *kind)
        elif verifies(sender) and tls is not SenderTls.REQUIRE:
            self._wrong((*path, "tls_verify"), "full needs tls: require", *kind, (*path, "tls"))

    def _submission(self, path: KeyPath, sender: SenderSettings, kind: tuple[KeyPath, ...]) -> None:
        if sender.port is not None:
            self._wrong((*path, "port"), "is for mx; write the port behind the host, in submission", *kind)
        for key in ("try_all", "mta_sts", "dane"):
            if getattr(sender, key) not in (False, Policy.OFF):
                self._wrong((*path, key), "is for mx senders only; remove it", *kind)
        tls = tls_of(sender)
        if tls not in _SUBMISSION_TLS:
            self._wrong((*path, "tls"), "for a submission sender must be implicit, starttls or plaintext", *kind)
        if sender.auth:
            self.login(path, sender.auth)
        if sender.submission:
            self.encryption(path, "submission", sender.submission, tls, sender.auth, sender)

    def _variable(self, path: KeyPath, name: str) -> None:
        """The variable's name is not repeated: it may be a password that somebody wrote here."""
        if not _VARIABLE.fullmatch(name):
            self._wrong(path, "must be the name of an environment variable, made of A-Z, 0-9 and _")
        elif not self._environ.get(name):
            self._wrong(
                path, "the environment variable is not set or empty; set it for the process that runs mailprobe"
            )

    def _secret_file(self, path: KeyPath, file: Path | None) -> None:
        """The file's name is not repeated: it may be a password that somebody wrote here."""
        if file is not None and (wrong := files.unreadable(self._directory / file)):
            self._wrong(path, f"{wrong} (the name of the file that holds the secret is wanted here)")

    def _secret_in_directory(self, path: KeyPath, secret: Path, instead: str, needs: tuple[KeyPath, ...]) -> None:
        if files.not_a_directory(self._directory / (self._settings.secrets_dir or "")):
            return  # which is said once
        if wrong := files.unreadable(secret):
            where = f"<secrets_dir>/{shown(path[0])}/{shown(path[1])}/{secret.name}"
            self._wrong(path, f"{where}: {wrong}; or write {instead}", *needs)

    def _file(self, path: KeyPath, file: Path | None) -> None:
        if file is not None and (wrong := files.unreadable(self._directory / file)):
            elsewhere = wrong is files.MISSING and not file.is_absolute()
            self._wrong(path, wrong + (" (a relative name begins at the directory of this file)" if elsewhere else ""))

    def _promise(self, path: KeyPath, promise: Promise, given: Iterable[str]) -> None:
        keys = set(given)

        def needs(*names: str) -> list[KeyPath]:
            return [at for name in names for at in ((*path, name), ("defaults", name))]

        if "interval" in keys and promise.interval < SHORTEST_INTERVAL:
            self._wrong((*path, "interval"), f"must be at least {duration_text(SHORTEST_INTERVAL)}")
        deadline, late_until = duration_text(promise.deadline), duration_text(promise.late_until)
        if keys & {"deadline", "late_until"} and promise.deadline > promise.late_until:
            key = "deadline" if "deadline" in keys else "late_until"
            text = f"deadline {deadline} is after late_until {late_until}; make late_until at least as long"
            self._wrong((*path, key), text, *needs("deadline", "late_until"))
        if keys & {"deadline", "timeout"} and promise.timeout > promise.deadline:
            key = "timeout" if "timeout" in keys else "deadline"
            text = f"timeout {duration_text(promise.timeout)} is longer than deadline {deadline}"
            self._odd((*path, key), text, *needs("deadline", "timeout"))
        self._retry((*path, "retry"), promise, needs("deadline", "retry"))

    def _retry(self, path: KeyPath, promise: Promise, needs: list[KeyPath]) -> None:
        """An attempt that is due at the deadline or after it is never made."""
        pauses = promise.retry or ()
        room = sum(due < promise.deadline for due in accumulate(pauses))
        if room < len(pauses):
            which = "no pause" if not room else f"only the first {room} of {len(pauses)} pauses"
            text = f"deadline {duration_text(promise.deadline)} leaves room for {which}; later attempts are never made"
            self._odd(path, text, *needs)

    def _reference(self, path: KeyPath, name: str, section: str) -> None:
        known = getattr(self._settings, section)
        if name not in known:
            what = {"senders": "sender", "mailboxes": "mailbox"}[section]
            text = f"there is no {what} {name}" if _NAME.fullmatch(name.lower()) else f"must be the name of a {what}"
            self._wrong(path, text + did_you_mean(name, known), (section,))

    def _mesh_list(self, path: KeyPath, names: tuple[str, ...]) -> None:
        for index, name in enumerate(names):
            self._reference((*path, index), name, str(path[-1]))
            if name in names[:index]:
                self._wrong((*path, index), "is listed twice; remove one of them")

    def _route_names(self, entries: list[RouteEntry]) -> None:
        first: dict[str, RouteEntry] = {}
        for entry in entries:
            other = first.setdefault(entry.name, entry)
            if other is not entry:
                where = ".".join(shown(step) for step in other.path)
                self._wrong(
                    entry.path, f"makes a second route {shown(entry.name)}; {where} has one; rename one of them"
                )
            elif entry.path[0] == "meshes" and len(entry.name) > 63:
                text = f"the route {entry.sender} to {entry.mailbox} would have a name of more than 63 characters"
                self._wrong(entry.path, text + "; shorten the mesh's name", (*entry.path, "senders"))

    def _rates(self, entries: list[RouteEntry]) -> None:
        wanted: dict[str, float] = dict.fromkeys(self._settings.senders, 0.0)
        for entry in entries:
            if entry.sender in wanted:
                wanted[entry.sender] += 60 / promise_of(self._settings, entry.settings).interval
        for name, rate in wanted.items():
            limit = self._settings.senders[name].limits.messages_per_minute
            if limit is not None and rate > limit:
                text = f"the sender's routes make {rate:.4g} messages a minute; those above the limit are skipped"
                self._odd(("senders", name, "limits", "messages_per_minute"), text)

    def _unused(self, entries: list[RouteEntry]) -> None:
        senders = {entry.sender for entry in entries}
        mailboxes = {entry.mailbox for entry in entries}
        mailboxes |= {sender.bounces_to or "" for sender in self._settings.senders.values()}
        for section, used in (("senders", senders), ("mailboxes", mailboxes)):
            for name in getattr(self._settings, section):
                if name not in used:
                    self._odd((section, name), "is used by no route")

    def _wrong(self, path: KeyPath, text: str, *needs: KeyPath) -> None:
        if not any(self._muted(at) for at in (path, *needs)):
            self.findings.problems.append(Problem(path, text))

    def _odd(self, path: KeyPath, text: str, *needs: KeyPath) -> None:
        if not any(self._muted(at) for at in (path, *needs)):
            self.findings.warnings.append(Problem(path, text))

    def _muted(self, path: KeyPath) -> bool:
        """Whether it, or what it is part of, is wrong already."""
        return bool(self._failed) and any(path[:length] in self._failed for length in range(1, len(path) + 1))


def _better_name(name: str) -> str:
    better = re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")[:63]
    return f", such as {better}" if better and better != name else ""
