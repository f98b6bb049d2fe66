"""What an attempt leaves behind goes when nobody holds it, without waiting for the collector of cycles."""

from __future__ import annotations

import gc
import weakref

from mailprobe.clock import SystemClock
from mailprobe.smtp.record import Record


def test_a_record_is_no_cycle() -> None:
    gc.disable()
    try:
        record = Record(1, SystemClock(), lambda at: None)
        record.transcript.note("something")
        transcript = weakref.ref(record.transcript)
        del record
        assert transcript() is None
    finally:
        gc.enable()
