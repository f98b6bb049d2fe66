"""A real Dovecot (2.3 as in Debian 12, 2.4 as in Debian 13): IMAP, LMTP and the SASL service that Postfix asks."""

from __future__ import annotations

import base64
import contextlib
import re
import secrets
import shutil
import smtplib
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from support.servers import DOMAIN, HOST, Daemon, fill_in, free_ports, missing, require_programs, require_root, run

_SAVED = re.compile(
    r"^(\d+\.\d{6}) .*msgid=<?([^\s>]*)>?: (?:saved mail to|stored mail into mailbox) '?([^'\s]+)'?", re.MULTILINE
)
_MAIL_OWNER = "mail"

# the address to connect to decides which certificate is shown; 127.0.0.1 shows the good one
EXPIRED_ADDRESS = "127.0.0.2"
WRONGNAME_ADDRESS = "127.0.0.3"
UNKNOWN_CA_ADDRESS = "127.0.0.4"


@dataclass(frozen=True, slots=True)
class Account:
    """A mailbox user of the lab; the same name and password log in to submission."""

    address: str
    password: str

    @property
    def user(self) -> str:
        """The local part."""
        return self.address.partition("@")[0]

    def with_detail(self, *details: str) -> str:
        """The address with details, as `probe+tempfail@lab.test`: how a fault is chosen."""
        return "+".join((self.user, *details)) + f"@{DOMAIN}"


class Dovecot:
    """A running Dovecot with Junk, Sent (special-use), quota, Sieve and OAuth (HS256, `oauth_secret`).

    Users probe@ probe2@ sender@ alice@ and tiny@ (4 kB quota) lab.test have the password `pw-<local part>`; a test
    that wants a mailbox to itself takes `new_account()`.
    """

    def __init__(self, directory: Path, certificates: Path) -> None:
        self.directory = directory
        self.run = directory / "run"
        self.log_file = directory / "log" / "dovecot.log"
        self.ca_file = certificates / "ca.pem"
        self.imap_port, self.imaps_port, self.lmtp_port, self.metrics_port = free_ports(4)
        self.users: dict[str, Account] = {}
        self.oauth_secret = secrets.token_hex(32).encode()
        self._configuration = directory / "dovecot.conf"
        self._users_file = directory / "users"
        command = ["/usr/sbin/dovecot", "-F", "-c", str(self._configuration)]
        self._daemon = Daemon("dovecot", command, directory / "log" / "output")
        self._write(certificates)

    def start(self) -> None:
        """Start; greets on its ports when this returns."""
        (self.run / "master.pid").unlink(missing_ok=True)
        self._daemon.start()
        self._daemon.wait_for(self.imap_port, b"* OK")
        self._daemon.wait_for(self.lmtp_port, b"220 ")

    def kill(self) -> None:
        """Cut every connection at once and free the ports; mail and users survive until `start`."""
        self._daemon.kill()

    def restart(self) -> None:
        """As a crash and a quick recovery: every client loses its connection."""
        self.kill()
        self.start()

    def introspect(self, url: str) -> None:
        """From now on tokens are good or not as the identity provider at `url` says (RFC 7662); restarts it."""
        new = self.directory / "oauth" / "oauth2.conf.ext"
        file = self._configuration if "oauth2 {" in self._configuration.read_text() else new
        remote = f"introspection_mode = post\n  introspection_url = {url}"
        if file is new:
            remote += "\nactive_attribute = active\nactive_value = true\ntimeout_msecs = 1000"
        file.write_text(file.read_text().replace("introspection_mode = local", remote))
        self.restart()

    def account(self, user: str) -> Account:
        """A user who is there from the start."""
        return self.users[user]

    def new_account(self, *, tiny: bool = False) -> Account:
        """A user with an empty mailbox whom no other test has had; `tiny`: with 4 kB of quota."""
        # made in advance: Dovecot looks at its users file at most once a second
        return (self._unused_tiny if tiny else self._unused).pop()

    def deliver(self, account: Account, message: bytes) -> None:
        """Hand a message over by LMTP, as Postfix would; it is visible when this returns."""
        with smtplib.LMTP(HOST, self.lmtp_port, local_hostname="tests.lab.test") as lmtp:
            lmtp.sendmail(f"outside@{DOMAIN}", [account.address], message)

    def fill(self, account: Account, count: int, folder: str = "INBOX") -> None:
        """Put `count` small messages of strangers into a folder, by files: 20,000 take about a second."""
        maildir = self.directory / "mail" / account.address / "Maildir"
        target = maildir / "cur" if folder == "INBOX" else maildir / f".{folder}" / "cur"
        for part in ("cur", "new", "tmp"):
            (target.parent / part).mkdir(parents=True, exist_ok=True)
        text = f"From: <stranger@{DOMAIN}>\nDate: Thu, 22 Jan 2026 18:00:00 +0000\nSubject: hello\n\nhello\n"
        for number in range(count):
            (target / f"1769100000.M{number:06d}P1.fill,S={len(text)}:2,S").write_text(text)
        run(["chown", "-R", f"{_MAIL_OWNER}:", str(self.directory / "mail" / account.address)])

    def change_uidvalidity(self, account: Account, folder: str = "INBOX") -> None:
        """Forget all UIDs of a folder, as after a restore from backup; open sessions are cut."""
        before = self.uidvalidity(account, folder)
        maildir = self.directory / "mail" / account.address / "Maildir"
        place = maildir if folder == "INBOX" else maildir / f".{folder}"
        deadline = time.monotonic() + 10
        # a session that is just ending may write the old one down again; and the new one is the second it is made in
        while self.uidvalidity(account, folder) == before:
            assert time.monotonic() < deadline, "Dovecot does not forget the old UIDVALIDITY"
            self.kick(account)
            time.sleep(0.1)
            for state in (*place.glob("dovecot-uid*"), *place.glob("dovecot.index*")):
                state.unlink(missing_ok=True)

    def uidvalidity(self, account: Account, folder: str = "INBOX") -> int:
        """The folder's UIDVALIDITY, which it gets here if it has none."""
        said = self.doveadm("-f", "tab", "mailbox", "status", "-u", account.address, "uidvalidity", folder)
        return int(said.split()[-1])

    def kick(self, account: Account) -> None:
        """End the user's sessions with a BYE."""
        self.doveadm("kick", account.address, check=False)

    def doveadm(self, *arguments: str, check: bool = True) -> str:
        """The output of doveadm on this instance."""
        command = ["/usr/bin/doveadm", "-c", str(self._configuration), *arguments]
        return run(command, check=check)

    def saved_at(self, message_id: str) -> float | None:
        """When the message was in the mailbox, by Dovecot's own log: Unix seconds, to the microsecond."""
        bare = message_id.strip("<>")
        found = (at for at, name, _ in _SAVED.findall(self.log()) if name == bare)
        return next(map(float, found), None)

    def log(self) -> str:
        """All that was logged so far."""
        return self.log_file.read_text(errors="replace") if self.log_file.exists() else ""

    def _write_users(self) -> None:
        for user in ("probe", "probe2", "sender", "alice", "tiny"):
            self.users[user] = _account(user)
        self._unused = [_account(f"u{number}") for number in range(1000)]
        self._unused_tiny = [_account(f"tiny{number}") for number in range(100)]
        plain = [*self.users.values(), *self._unused]
        lines = [f"{user.address}:{{PLAIN}}{user.password}::::::" for user in (*plain, *self._unused_tiny)]
        quota = "userdb_quota_rule=*:bytes=4k userdb_quota/user/storage_size=4k"
        self._users_file.write_text("".join(f"{line}{quota * line.startswith('tiny')}\n" for line in lines))

    def _write(self, certificates: Path) -> None:
        for place in ("run", "mail", "log", "sieve", "oauth/keys/default/HS256"):
            (self.directory / place).mkdir(parents=True)
        shutil.chown(self.directory / "mail", _MAIL_OWNER, _MAIL_OWNER)
        key = self.directory / "oauth" / "keys" / "default" / "HS256" / "default"
        key.write_bytes(base64.b64encode(self.oauth_secret))
        self._write_users()
        version = _version()
        ports = ("imap_port", "imaps_port", "lmtp_port", "metrics_port")
        values: dict[str, object] = {name: getattr(self, name) for name in ports} | {
            "directory": self.directory,
            "run": self.run,
            "certificates": certificates,
            "version": version,
        }
        fill_in(f"dovecot-{version[:3]}.conf", self._configuration, values)
        fill_in("oauth2.conf.ext", self.directory / "oauth" / "oauth2.conf.ext", values)
        sieve = self.directory / "sieve" / "before.sieve"
        fill_in("before.sieve", sieve, {})
        # 2.4 does not compile global scripts itself
        run(["/usr/bin/sievec", "-c", str(self._configuration), str(sieve)])


def _account(user: str) -> Account:
    return Account(f"{user}@{DOMAIN}", f"pw-{user}")


def _version() -> str:
    version = run(["/usr/sbin/dovecot", "--version"]).split()[0]
    if version[:3] not in ("2.3", "2.4"):
        missing("dovecot", f"no configuration for version {version}")
    return ".".join(version.split(".")[:3])


@contextlib.contextmanager
def running_dovecot(directory: Path, certificates: Path) -> Iterator[Dovecot]:
    """Dovecot in `directory`, killed at the end. Skips where it cannot run."""
    packages = "dovecot-imapd dovecot-lmtpd dovecot-sieve"
    require_programs("dovecot", ["dovecot", "doveadm", "sievec"], packages)
    require_root("dovecot")
    dovecot = Dovecot(directory, certificates)
    try:
        dovecot.start()
        yield dovecot
    finally:
        dovecot.kill()
