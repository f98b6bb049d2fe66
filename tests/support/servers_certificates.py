"""The certificates that the real servers show: a good one, and each way to be wrong."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

from mailprobe.lab.certificates import Authority
from support.servers import TLS_NAME


def write_certificates(directory: Path) -> None:
    """`ca.pem` and `server`, `expiring` (5 days left), `expired`, `wrongname`, `unknown/server` as .pem and .key.

    `policy` is for the web server of lab.test's MTA-STS policy.
    """
    (directory / "unknown").mkdir(parents=True)
    names = (TLS_NAME, "localhost", *(f"127.0.0.{number}" for number in range(1, 5)))
    authority = Authority(directory)
    authority.issue("server", names)
    authority.issue("expiring", names, ends=timedelta(days=5))
    authority.issue("expired", names, begins=timedelta(days=-30), ends=timedelta(days=-1))
    authority.issue("wrongname", ("other.lab.test",))
    authority.issue("policy", ("mta-sts.lab.test",))
    Authority(directory / "unknown", "a CA that nobody was told of").issue("server", names)
