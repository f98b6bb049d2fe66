"""mailprobe's own servers as a process: prints where they are as one line of JSON, and runs until SIGTERM.

python tests/bench/embedded.py NUMBER_OF_ACCOUNTS
"""

from __future__ import annotations

import asyncio
import json
import signal
import sys

import uvloop

from mailprobe.lab.servers import lab

PASSWORD = "pw-bench"


async def main(accounts: int) -> None:
    users = [f"u{number}@lab.test" for number in range(accounts)]
    ended = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, ended.set)
    async with lab(dict.fromkeys(users, PASSWORD)) as servers:
        where = {
            "submission_port": servers.submission_port,
            "imaps_port": servers.imaps_port,
            "ca_file": str(servers.ca_file),
            "users": users,
            "password": PASSWORD,
        }
        print(json.dumps(where), flush=True)
        await ended.wait()


if __name__ == "__main__":
    uvloop.run(main(int(sys.argv[1])))
