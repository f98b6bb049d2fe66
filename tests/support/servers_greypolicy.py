"""Postfix policy service (SMTPD_POLICY_README): greylisting with a memory, for the greylisting port of the tests.

    python servers_greypolicy.py DIRECTORY SECONDS

450 until SECONDS after the first sight of (client address, sender, recipient); a file in DIRECTORY for each. Runs
under the system's python3, whatever that is.
"""

import hashlib
import os
import sys
import time


def main(directory: str, seconds: float) -> None:
    seen: dict[str, str] = {}
    for line in map(str.strip, sys.stdin):
        if line:
            key, _, seen[key] = line.partition("=")
            continue
        triple = "".join(seen.get(key, "") for key in ("client_address", "sender", "recipient"))
        path = os.path.join(directory, hashlib.sha256(triple.encode()).hexdigest())
        if not os.path.exists(path):
            open(path, "w").close()
        left = seconds - (time.time() - os.path.getmtime(path))
        action = (
            f"DEFER_IF_PERMIT 4.7.1 Greylisted, please try again in {left + 1:.0f} seconds" if left > 0 else "DUNNO"
        )
        print(f"action={action}\n", flush=True)
        seen = {}


if __name__ == "__main__":
    main(sys.argv[1], float(sys.argv[2]))
