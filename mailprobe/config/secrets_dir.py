"""Where `secrets_dir` has the secrets that a section does not name itself."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Secrets:
    """The secrets of one sender, mailbox or feed: `name` in `section` of the configuration."""

    directory: Path
    section: str
    name: str

    def file(self, key: str) -> Path:
        """`<section>.<name>.<key>` where there is one, else `<section>/<name>/<key>`.

        Neither a Kubernetes Secret nor a credential of systemd may hold a slash.
        """
        flat = self.directory / f"{self.section}.{self.name}.{key}"
        return flat if flat.exists() else self.directory / self.section / self.name / key
