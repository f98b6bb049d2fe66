"""What this machine is called. Never by a look-up in the DNS, which may take seconds."""

from __future__ import annotations

import platform
import re


def host_name() -> str:
    """This machine's name as an agent's name: its first label, in lower case."""
    return re.sub(r"[^a-z0-9-]+", "-", _first_label().lower()).strip("-")[:63] or "mailprobe"


def pod_ordinal() -> int | None:
    """The number at the end of this machine's name, as a StatefulSet gives its pods: mailprobe-3. None without one."""
    match = re.search(r"-([0-9]{1,4})$", _first_label())
    return int(match[1]) if match else None


def _first_label() -> str:
    return platform.node().split(".")[0]
