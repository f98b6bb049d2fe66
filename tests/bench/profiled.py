"""`mailprobe` under cProfile, by CPU time of the loop's thread: where an agent's milliseconds go.

python tests/bench/profiled.py OUTPUT run -c FILE
"""

from __future__ import annotations

import cProfile
import sys
import time

output = sys.argv.pop(1)
profile = cProfile.Profile(time.thread_time)  # waiting costs nothing
try:
    from mailprobe.cli import main

    profile.enable()
    main(prog_name="mailprobe")
finally:
    profile.disable()
    profile.dump_stats(output)
