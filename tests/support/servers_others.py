"""Second implementations: Exim and chasquid (SMTP, delivering into the lab's Dovecot), Cyrus (IMAP).

They know the users probe@ and sender@ lab.test with the password `pw-<local part>`; Cyrus calls its users by the local
part alone.
"""

from __future__ import annotations

import contextlib
import secrets
import shutil
import smtplib
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import TypeVar

from support.servers import ENVIRONMENT, HOST, Daemon, fill_in, free_ports, missing
from support.servers_dovecot import Account, Dovecot
from support.servers_packages import libraries, unpack, with_accounts

_OWNER = "mail"


class Other:
    """What the three have in common."""

    def __init__(self, directory: Path, ca_file: Path) -> None:
        self.directory = directory
        self.ca_file = ca_file
        directory.mkdir(parents=True, exist_ok=True)
        for name in ("ca.pem", "server.pem", "server.key"):
            shutil.copy(ca_file.parent / name, directory)
        self.daemon: Daemon | None = None

    def start(self) -> None:
        """Start; greets on its ports when this returns."""
        raise NotImplementedError

    def kill(self) -> None:
        """End it at once."""
        if self.daemon is not None:
            self.daemon.kill()

    def _fill_in(self, template: str, **values: object) -> Path:
        target = self.directory / template
        fill_in(template, target, vars(self) | values)
        return target

    def _give_away(self) -> None:
        subprocess.run(["chown", "-R", f"{_OWNER}:{_OWNER}", str(self.directory)], check=True, env=ENVIRONMENT)


class Exim(Other):
    """Refuses +tempfail and +grey (451), +nouser (550), +datafail (451); its queue id is `id=...` in the 250."""

    def __init__(self, directory: Path, dovecot: Dovecot) -> None:
        unpack(
            "exim",
            ["exim4-daemon-light", "libidn12", "libgnutls-dane0", "libnsl2", "libunbound8", "libevent-2.1-7"],
            root := directory.with_name(f"{directory.name}-root"),
        )
        super().__init__(directory, dovecot.ca_file)
        self.mx_port, self.submission_port, self.submissions_port = free_ports(3)
        binary = root / "usr" / "sbin" / "exim4"
        # not setuid, or the loader ignores LD_LIBRARY_PATH
        binary.chmod(0o755)
        # Exim runs this again for each delivery
        wrapper = directory / "exim4"
        wrapper.write_text(f'#!/bin/sh\nexport LD_LIBRARY_PATH={libraries(root)}\nexec {binary} "$@"\n')
        wrapper.chmod(0o755)
        for place in ("log", "spool"):
            (directory / place).mkdir()
        configuration = self._fill_in("exim.conf", wrapper=wrapper, lmtp_port=dovecot.lmtp_port)
        self._give_away()
        for path in (directory, configuration):
            shutil.chown(path, "root", "root")
        command = [str(wrapper), "-C", str(configuration), "-bdf", "-q5s"]
        self.daemon = Daemon("exim", with_accounts(directory, ["Debian-exim"], command), directory / "output")

    def start(self) -> None:
        assert self.daemon is not None
        self.daemon.start()
        for port in (self.mx_port, self.submission_port):
            self.daemon.wait_for(port, b"220 ")


class Chasquid(Other):
    """AUTH PLAIN only; refuses unknown users at RCPT (550); its 250 carries no queue id."""

    def __init__(self, directory: Path, dovecot: Dovecot) -> None:
        unpack("chasquid", ["chasquid"], root := directory.with_name(f"{directory.name}-root"))
        super().__init__(directory, dovecot.ca_file)
        self.mx_port, self.submission_port, self.submissions_port, self.metrics_port = free_ports(4)
        certificates = directory / "certs" / "mail.lab.test"
        for place in (certificates, directory / "domains" / "lab.test", directory / "data"):
            place.mkdir(parents=True)
        shutil.copy(directory / "server.pem", certificates / "fullchain.pem")
        shutil.copy(directory / "server.key", certificates / "privkey.pem")
        self._fill_in("chasquid.conf", root=root, lmtp_port=dovecot.lmtp_port)
        for user in ("sender", "probe"):
            account = dovecot.account(user)
            tool = [str(root / "usr/bin/chasquid-util"), f"--configdir={directory}"]
            add = [*tool, "user-add", account.address, f"--password={account.password}"]
            subprocess.run(add, check=True, capture_output=True, env=ENVIRONMENT)
        self._give_away()
        as_user = ["setpriv", f"--reuid={_OWNER}", f"--regid={_OWNER}", "--clear-groups"]
        command = [*as_user, str(root / "usr/bin/chasquid"), f"--config_dir={directory}"]
        self.daemon = Daemon("chasquid", command, directory / "output", {"HOME": str(directory)})

    def start(self) -> None:
        assert self.daemon is not None
        self.daemon.start()
        for port in (self.mx_port, self.submission_port):
            self.daemon.wait_for(port, b"220 ")


class Cyrus(Other):
    """IDLE is offered only after the log-in; special-use in lower case (`\\junk`); `account` is its one user."""

    def __init__(self, directory: Path, ca_file: Path) -> None:
        if not Path("/usr/share/zoneinfo/zone.tab").exists():
            missing("cyrus", "it wants time zones; apt-get install tzdata, or tests/run as root")
        unpack(
            "cyrus",
            [
                *("cyrus-common", "cyrus-imapd", "sasl2-bin", "libical3", "libxapian30", "libzephyr4", "libpcre3"),
                *("libpcrecpp0v5", "libwrap0", "libjansson4", "libldap-2.5-0", "libpq5", "libxml2"),
            ],
            root := directory.with_name(f"{directory.name}-root"),
        )
        super().__init__(directory, ca_file)
        self.imap_port, self.imaps_port, self.lmtp_port = free_ports(3)
        self.account = Account("probe", f"pw-{secrets.token_hex(4)}")
        for place in ("db", "log", "msg", "proc", "ptclient", "quota", "socket", "sync", "user"):
            (directory / "conf" / place).mkdir(parents=True)
        for place in ("lock", "proc", "sieve", "socket", "spool"):
            (directory / place).mkdir()
        binaries = root / "usr/lib/cyrus/bin"
        services = self._fill_in("cyrus.conf", bin=binaries)
        configuration = self._fill_in("imapd.conf")
        environment = {"LD_LIBRARY_PATH": libraries(root)}
        # the realm is the servername
        add = [str(root / "usr/sbin/saslpasswd2"), "-c", "-p", "-f", str(directory / "sasldb2")]
        subprocess.run(
            [*add, "-u", "cyrus.lab.test", self.account.user],
            input=self.account.password.encode(),
            check=True,
            capture_output=True,
            env=ENVIRONMENT | environment,
        )
        self._give_away()
        command = [str(binaries / "master"), "-C", str(configuration), "-M", str(services), "-D"]
        self.daemon = Daemon("cyrus", [*command, "-p", str(directory / "pid")], directory / "output", environment)

    def start(self) -> None:
        assert self.daemon is not None
        self.daemon.start()
        self.daemon.wait_for(self.imap_port, b"* OK")
        self.daemon.wait_for(self.lmtp_port, b"220 ")

    def deliver(self, message: bytes) -> None:
        """Hand a message over by LMTP; it is visible when this returns. Cyrus wants Date and Message-ID in it."""
        with smtplib.LMTP(HOST, self.lmtp_port, local_hostname="tests.lab.test") as lmtp:
            lmtp.sendmail("outside@lab.test", [self.account.user], message)


Server = TypeVar("Server", bound=Other)


@contextlib.contextmanager
def running(server: Server) -> Iterator[Server]:
    """The server started, and killed at the end."""
    try:
        server.start()
        yield server
    finally:
        server.kill()
