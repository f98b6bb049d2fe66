"""The configuration as a whole: file and environment read, judged, and turned into what the agent needs."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, Final

from pydantic import ValidationError
from pydantic.fields import FieldInfo
from pydantic_settings import PydanticBaseSettingsSource

from mailprobe.config.checks import Findings, checked
from mailprobe.config.configuration import Agent, Configuration
from mailprobe.config.document import Document, read_document
from mailprobe.config.environment import Overrides
from mailprobe.config.explain import NAMED, problems_of, repaired
from mailprobe.config.host import host_name
from mailprobe.config.plan import plan_of
from mailprobe.config.problems import Problem, dotted
from mailprobe.config.providers import presets
from mailprobe.config.schema import Settings
from mailprobe.errors import ConfigurationError

__all__ = ("Agent", "Configuration", "load")

_SECTIONS: Final = (*NAMED, "agent", "defaults")


def load(
    path: Path, environ: Mapping[str, str], *, read_web: Callable[[Path], object] = lambda path: None
) -> Configuration:
    """The configuration in the file at `path`, with what `environ` sets over it.

    Relative paths in it begin at the file's directory. Secrets are only looked for, not read. `read_web` is given
    the web configuration's file, and raises ConfigurationError if that is wrong. Raises ConfigurationError with every
    problem, one line each: `file:line:column: path: what is wrong`.
    """
    document = read_document(path)
    overrides = Overrides(environ, Settings.model_fields)
    sources = _Sources(path, document, overrides)
    problems = [*document.problems, *_shape(document), *overrides.problems]
    if not isinstance(document.data, dict):
        raise ConfigurationError(*sources.lines(problems))
    settings, wrong = _settings(overrides.data, document.data)
    found = Findings()
    web: tuple[str, ...] = ()
    if settings is not None:
        found = checked(settings, frozenset(problem.path for problem in wrong), environ, path.parent)
    problems += [*wrong, *found.problems]
    unknown = {(), ("agent",), ("agent", "web_config_file")} & {problem.path for problem in problems}
    if settings is not None and not unknown:
        web = _web_problems(_agent(settings, path.parent).web_config_file, read_web)
    if settings is None or problems or web:
        raise ConfigurationError(*sources.lines(problems), *web)
    agent = _agent(settings, path.parent)
    return Configuration(agent, plan_of(settings, path.parent, agent.shard), sources.lines(found.warnings))


def _web_problems(file: Path | None, read: Callable[[Path], object]) -> tuple[str, ...]:
    try:
        if file is not None:
            read(file)
    except ConfigurationError as error:
        return error.problems
    return ()


def _shape(document: Document) -> list[Problem]:
    if document.problems or isinstance(document.data, dict):
        return []
    if document.data is None:
        return [Problem((), "this file is empty; `mailprobe config example` prints a commented example", at="")]
    what = "a list" if isinstance(document.data, list) else "a single value"
    return [Problem((), f"the file is {what}; it must be a mapping with senders:, mailboxes: and routes:", at=(1, 1))]


class _Values(PydanticBaseSettingsSource):
    """Values read before; pydantic-settings lays the sources over one another, the first one on top."""

    def __init__(self, values: Mapping[str, Any]) -> None:
        super().__init__(Settings)
        # `senders:` with nothing below it, as in a file whose examples are commented out
        self._values = {key: value for key, value in values.items() if value is not None or key not in _SECTIONS}

    def get_field_value(self, field: FieldInfo, field_name: str) -> tuple[Any, str, bool]:
        return self._values.get(field_name), field_name, False

    def __call__(self) -> dict[str, Any]:
        return self._values


def _settings(environment: Mapping[str, Any], file: Mapping[str, Any]) -> tuple[Settings | None, list[Problem]]:
    """The settings; with what is wrong replaced where something is. None where even that does not help."""
    merged = _Values({})
    given = _Values(environment), _Values(file), _Values(presets(environment, file))
    sources: tuple[PydanticBaseSettingsSource, ...] = (*given, merged)
    problems: list[Problem] = []
    state: Mapping[str, Any] = {}
    for _ in range(4):  # an item, a setting in it, a setting in that: each needs a round
        try:
            return Settings(_build_sources=(sources, {})), problems  # type: ignore[call-arg]
        except ValidationError as error:
            found = problems_of(error)
        problems = problems or found
        state = repaired(state or merged.current_state, found)
        sources = (_Values(state),)
    return None, problems


def _agent(settings: Settings, directory: Path) -> Agent:
    own = settings.agent
    return Agent(
        name=own.name or host_name(),
        listen=(own.listen.host, own.listen.port),
        journal=directory / own.journal if own.journal else None,
        journal_retention=own.journal_retention,
        key_file=directory / own.key_file if own.key_file else None,
        web_config_file=directory / own.web_config_file if own.web_config_file else None,
        shard=own.shard,
    )


class _Sources:
    """Says where each setting comes from: a place in the file or a variable of the environment."""

    def __init__(self, path: Path, document: Document, overrides: Overrides) -> None:
        self._file = path
        self._document = document
        self._overrides = overrides

    def lines(self, problems: Iterable[Problem]) -> tuple[str, ...]:
        """The problems, each once, as lines in the order of the file; those of the environment last."""
        placed = sorted((self._place(problem), index, problem) for index, problem in enumerate(problems))
        lines = (
            f"{place}: " + (f"{dotted(problem.path)}: " if problem.path else "") + problem.text
            for ((_, _, _, place), _, problem) in placed
        )
        return tuple(dict.fromkeys(lines))

    def _place(self, problem: Problem) -> tuple[int, int, int, str]:
        if isinstance(problem.at, tuple):
            return self._at(problem.at)
        if problem.at is not None:
            return (1, 0, 0, problem.at) if problem.at else (0, 0, 0, str(self._file))
        for length in range(len(problem.path), 0, -1):
            path = problem.path[:length]
            if variable := self._overrides.variables.get(path):
                return 1, 0, 0, variable
            if at := self._document.place(path):
                return self._at(at)
            if variable := self._overrides.variable_under(path):
                return 1, 0, 0, variable
        return self._at((1, 1))

    def _at(self, at: tuple[int, int]) -> tuple[int, int, int, str]:
        return 0, *at, f"{self._file}:{at[0]}:{at[1]}"
