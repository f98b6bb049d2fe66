"""Servers that conflict with Postfix and Dovecot, unpacked from Debian's packages beside them, never installed.

The package files are kept below the user's cache, so that the second run downloads nothing. A server runs in a mount
namespace of its own (unshare(1)) wherever it wants an account that this machine lacks: its /etc/passwd and /etc/group
are then private copies with that account, and nothing of the machine changes.
"""

from __future__ import annotations

import fcntl
import grp
import os
import pwd
import shlex
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path

from support.servers import ENVIRONMENT, missing, proxies, require_programs, require_root, run

_FREE_ID = 64_999
_ACCOUNT = {"passwd": "{name}:x:{id}:{id}::/nonexistent:/usr/sbin/nologin\n", "group": "{name}:x:{id}:\n"}


def unpack(server: str, packages: Sequence[str], root: Path) -> None:
    """Unpack the packages into a directory that a daemon can reach. Skips where they cannot be had."""
    require_root(server)
    require_programs(server, ["apt-get", "dpkg", "unshare", "setpriv"], "apt util-linux (a Debian system)")
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "mailprobe-tests"
    downloads = cache / f"{server}-{_release()}"
    downloads.mkdir(parents=True, exist_ok=True)
    with (cache / f"{server}.lock").open("w") as lock:
        # one of several test processes downloads, the others wait
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (downloads / "complete").exists():
            _download(server, packages, downloads)
    root.mkdir(parents=True)
    for package in sorted(downloads.glob("*.deb")):
        run(["dpkg", "-x", str(package), str(root)])
    # dpkg gives it the mode of the package's own root
    root.chmod(0o755)


def libraries(root: Path) -> str:
    """LD_LIBRARY_PATH for what was unpacked."""
    places = [place for lib in ("usr/lib", "lib") for place in sorted((root / lib).glob("*-linux-gnu"))]
    return ":".join(map(str, places))


def with_accounts(directory: Path, names: Sequence[str], command: Sequence[str]) -> list[str]:
    """The command, such that these system users exist for it; unchanged if they exist anyway."""
    absent = [name for name in names if not _exists(name)]
    if not absent:
        return list(command)
    lines = []
    for kind, shape in _ACCOUNT.items():
        copy = directory / kind
        shutil.copy(f"/etc/{kind}", copy)
        with copy.open("a") as text:
            for number, name in enumerate(absent):
                text.write(shape.format(name=name, id=_FREE_ID - number))
        lines.append(f"mount --bind {shlex.quote(str(copy))} /etc/{kind}")
    return ["unshare", "--mount", "sh", "-c", " && ".join([*lines, 'exec "$@"']), "sh", *command]


def _download(server: str, packages: Sequence[str], target: Path) -> None:
    fetch = ["apt-get", "-qq", "-o", "APT::Sandbox::User=root", "download", *packages]
    done = subprocess.run(fetch, cwd=target, env=ENVIRONMENT | proxies(), capture_output=True, text=True)
    if done.returncode:
        missing(server, f"its packages cannot be downloaded (apt-get update?): {done.stderr.strip()[-300:]}")
    (target / "complete").touch()


def _release() -> str:
    version = Path("/etc/debian_version")
    return version.read_text().split(".")[0].strip().replace("/", "-") if version.exists() else "unknown"


def _exists(name: str) -> bool:
    try:
        pwd.getpwnam(name)
        grp.getgrnam(name)
    except KeyError:
        return False
    return True
