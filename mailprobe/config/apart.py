"""Loads a configuration in a process of its own: what reading it takes does not stay with an agent for days.

pydantic and what belongs to it are 12 MiB; and to read 1,000 routes holds an interpreter for 0.3 s, in which a running
agent could measure nothing.
"""

from __future__ import annotations

import contextlib
import os
import pickle
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Final

from mailprobe.config.configuration import Configuration
from mailprobe.errors import ConfigurationError

_CHILD: Final = "import sys; sys.path[:] = sys.argv[2:]; from mailprobe.config.apart import answer; answer(sys.argv[1])"


def load_apart(path: Path, environ: Mapping[str, str]) -> Configuration:
    """As `config.load.load`, by a child of this process. Blocks: from an event loop, call it in a thread.

    Raises ConfigurationError as that does, and RuntimeError where the child failed otherwise (a bug of ours, said on
    stderr).
    """
    with reading(path, environ) as configuration:
        return configuration()


@contextlib.contextmanager
def reading(path: Path, environ: Mapping[str, str]) -> Iterator[Callable[[], Configuration]]:
    """Lets the child read while the block does something else; what the block is given ends it as `load_apart` does."""
    with subprocess.Popen(  # noqa: S603 - our own program
        [sys.executable, "-c", _CHILD, str(path), *sys.path],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        env=dict(environ),
        start_new_session=True,  # a Ctrl-C is for us
    ) as child:
        try:
            yield lambda: _answered(child)
        except BaseException:
            child.kill()  # whoever reads a pipe may do so for ever
            raise


def _answered(child: subprocess.Popen[bytes]) -> Configuration:
    answered, _ = child.communicate()
    if child.returncode:
        raise RuntimeError(f"the reader of the configuration ended with status {child.returncode}")
    result: Configuration | tuple[str, ...] = pickle.loads(answered)  # noqa: S301 - our own child's
    if isinstance(result, tuple):
        raise ConfigurationError(*result)
    return result


def answer(path: str) -> None:
    """The child: writes the configuration, or the tuple of its problems, to stdout."""
    from mailprobe.config.load import load

    try:
        result: Configuration | tuple[str, ...] = load(Path(path), os.environ)
    except ConfigurationError as error:
        result = error.problems
    sys.stdout.buffer.write(pickle.dumps(result))
