"""The place of Postfix's postlogd: the same lines, with the microsecond at which the daemon wrote them.

Postfix logs whole seconds. Its daemons send each record to the datagram socket `public/postlog` of the queue; here
the kernel stamps the record as it is sent (SO_TIMESTAMP), however late this process gets to read it. A line is
`<Unix seconds>.<microseconds> <process>[<pid>]: <record>`.

    python servers_postlog.py SOCKET LOGFILE
"""

from __future__ import annotations

import os
import socket
import struct
import sys

# Python does not name it; asm-generic/socket.h, SO_TIMESTAMP_OLD: a struct timeval in the ancillary data
SO_TIMESTAMP = 29
_TIMEVAL = struct.Struct("@ll")


def main(path: str, log_file: str) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as records, open(log_file, "ab", buffering=0) as log:
        records.setsockopt(socket.SOL_SOCKET, SO_TIMESTAMP, 1)
        records.bind(path)
        os.chmod(path, 0o666)
        print("ready", flush=True)
        while True:
            record, ancillary, _, _ = records.recvmsg(65_536, 256)
            seconds, microseconds = _TIMEVAL.unpack_from(ancillary[0][2])
            # "Nov 23 14:41:00 host postfix/smtpd[17]: text": ours replaces date and host
            text = record.rstrip(b"\0\n").split(b" ", 4)[-1] if record[:1].isalpha() else record
            log.write(b"%d.%06d %s\n" % (seconds, microseconds, text))


if __name__ == "__main__":
    main(*sys.argv[1:])
