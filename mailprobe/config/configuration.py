"""What loading a configuration comes to: plain values, for which nobody needs what it was read with."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from mailprobe.plan import Plan


@dataclass(frozen=True, slots=True)
class Agent:
    """This agent. `listen`: host and port, port 0 for any free one; `journal` None: memory only; `key_file` None:
    generated; `journal_retention` in seconds; `shard`: part and number of parts.
    """

    name: str
    listen: tuple[str, int]
    journal: Path | None
    journal_retention: float
    key_file: Path | None
    web_config_file: Path | None
    shard: tuple[int, int] | None


@dataclass(frozen=True, slots=True)
class Configuration:
    """A configuration that may be used. `warnings` are lines ready to print: usable, and hardly meant so."""

    agent: Agent
    plan: Plan
    warnings: tuple[str, ...] = ()
