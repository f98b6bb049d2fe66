"""Settings from the environment: `MAILPROBE_AGENT__LISTEN`, nested with `__`, over those of the file.

In names of senders, mailboxes, routes, meshes and feeds `_` stands for `-`, which a shell cannot write. Where a
list or a mapping is wanted, `[...]` and `{...}` are YAML; `null` is null, an empty value is as if it were not there.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Final

from mailprobe.config.document import Document
from mailprobe.config.explain import NAMED, is_structured
from mailprobe.config.problems import KeyPath, Problem, did_you_mean

PREFIX: Final = "MAILPROBE_"


class Overrides:
    """What the environment sets. `variables`: the variable of each path; `problems` name variables, not lines."""

    def __init__(self, environ: Mapping[str, str], sections: Iterable[str]) -> None:
        self.data: dict[str, Any] = {}
        self.variables: dict[KeyPath, str] = {}
        self.problems: list[Problem] = []
        self._sections = frozenset(sections)
        for variable in sorted(environ):
            if variable.startswith(PREFIX) and environ[variable].strip():
                self._take(variable, environ[variable].strip())

    def variable_under(self, path: KeyPath) -> str | None:
        """A variable that sets a part of `path`."""
        return next((name for at, name in self.variables.items() if at[: len(path)] == path), None)

    def _take(self, variable: str, text: str) -> None:
        steps = variable.removeprefix(PREFIX).lower().split("__")
        if steps[0] not in self._sections:
            # without __ it is none of ours: Kubernetes sets MAILPROBE_PORT and the like for a service of that name
            if len(steps) > 1:
                self._refuse(variable, (steps[0],), "is not a setting" + did_you_mean(steps[0], self._sections))
            return
        if steps[0] in NAMED and len(steps) > 1:
            steps[1] = steps[1].replace("_", "-")
        if not all(steps):
            self._refuse(variable, (), "has an empty part; parts are separated by two underscores")
            return
        path: KeyPath = tuple(steps)
        self.variables[path] = variable
        self._put(path, self._value(variable, path, text))

    def _value(self, variable: str, path: KeyPath, text: str) -> Any:
        if text[0] not in "[{" or not is_structured(path):
            return None if text == "null" else text
        document = Document(text)
        for problem in document.problems:
            self._refuse(variable, path, problem.text)
        return document.data

    def _put(self, path: KeyPath, value: Any) -> None:
        parent = self.data
        for step in path[:-1]:
            below = parent.get(str(step))
            if not isinstance(below, dict):
                below = parent[str(step)] = {}
            parent = below
        parent[str(path[-1])] = value

    def _refuse(self, variable: str, path: KeyPath, text: str) -> None:
        self.problems.append(Problem(path, text, at=variable))
