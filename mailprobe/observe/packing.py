"""Pages compressed by gzip, family by family: what has not changed since the page before is not compressed again.

Theory. Each family is a run of deflate blocks of its own that ends on an octet (a full flush), so that runs can be put
one after the other into one gzip member; of each its length and CRC are kept, and combined for the member's trailer.
One member, since some clients read only the first of several. Level 1: 9 costs eight times as much.
Source: RFC 1951, RFC 1952; CRC combination as in zlib's crc32_combine.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache
from typing import Final

from mailprobe.observe.chunks import Family, Page

_HEADER: Final = b"\x1f\x8b\x08\x00\x00\x00\x00\x00\x04\xff"
"""gzip, deflate, no flags, no time, fastest, unknown system. Source: RFC 1952 2.3."""
_POLYNOMIAL: Final = 0xEDB88320
_TOP: Final = 1 << 31
_BLOCK: Final = 256
"""Chunks compressed at once, some 200 KB: a family of megabytes is never there as a whole."""


@dataclass(frozen=True, slots=True)
class _Run:
    """Compressed octets; the length and CRC of what they were, as of a version of it."""

    version: int
    packed: bytes
    length: int
    crc: int


class Packer:
    """Compresses one page after the other; may be used from several threads at once."""

    def __init__(self) -> None:
        self._kept: dict[tuple[Family, bool], _Run] = {}

    def pack(self, page: Page, end: bytes) -> bytes:
        """The page and what follows it. Only of whole pages the runs are kept."""
        packed, crc, length = [_HEADER], 0, 0
        for run in (*(self._run(page, family) for family in page.families), _run_of(0, [end], zlib.Z_FINISH)):
            packed.append(run.packed)
            crc, length = _combined(crc, run.crc, run.length), length + run.length
        packed.append(crc.to_bytes(4, "little") + (length & 0xFFFFFFFF).to_bytes(4, "little"))
        return b"".join(packed)

    def _run(self, page: Page, family: Family) -> _Run:
        version = page.version(family)
        if version is None:
            return _run_of(0, page.blocks(_BLOCK, family))
        key = family, page.openmetrics
        run = self._kept.get(key)
        if run is None or run.version != version:
            run = self._kept[key] = _run_of(version, page.blocks(_BLOCK, family))
        return run


def _run_of(version: int, blocks: Iterable[bytes], flush: int = zlib.Z_FULL_FLUSH) -> _Run:
    packer = zlib.compressobj(1, zlib.DEFLATED, -zlib.MAX_WBITS)
    packed, crc, length = [], 0, 0
    for block in blocks:
        packed.append(packer.compress(block))
        crc, length = zlib.crc32(block, crc), length + len(block)
    return _Run(version, b"".join((*packed, packer.flush(flush))), length, crc)


def _combined(first: int, second: int, length: int) -> int:
    """The CRC of two pieces from those of each; `length` octets is the second."""
    return _product(_shift(length), first) ^ second


@lru_cache(maxsize=256)
def _shift(length: int) -> int:
    """x to the power of 8 * length, modulo the polynomial."""
    power, square = _TOP, _TOP >> 8  # x^0, x^8
    while length:
        if length & 1:
            power = _product(square, power)
        square = _product(square, square)
        length >>= 1
    return power


def _product(one: int, other: int) -> int:
    """The product of two polynomials over GF(2), modulo that of the CRC, the lowest power in the highest bit."""
    product = 0
    for bit in range(31, -1, -1):
        if one >> bit & 1:
            product ^= other
        other = other >> 1 ^ (_POLYNOMIAL if other & 1 else 0)
    return product
