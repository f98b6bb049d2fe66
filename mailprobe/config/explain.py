"""pydantic's findings in a mail administrator's words, and a configuration without them."""

from __future__ import annotations

import copy
import re
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final, get_args, get_origin

from pydantic import BaseModel, ValidationError
from pydantic.fields import FieldInfo

from mailprobe.config.problems import KeyPath, Problem, did_you_mean, shown
from mailprobe.config.schema import Settings

NAMED: Final = ("senders", "mailboxes", "routes", "meshes", "status_feeds")
"""The sections that are maps keyed by name."""

_NOT_HERE: Final = {
    "password": "a password is never written here; use password_file or password_env",
    "client_secret": "a secret is never written here; use client_secret_file or client_secret_env",
    "refresh_token": "a token is never written here; use refresh_token_file or refresh_token_env",
    "access_token": "a token is never written here; use token_file or token_command",
    "token": "a token is never written here; use token_file or token_command",
}

_TEXTS: Final[Mapping[str, str | Callable[[Mapping[str, Any]], str]]] = {
    "mailprobe": lambda context: context["text"],
    "bool_parsing": "must be true or false",
    "bool_type": "must be true or false",
    "int_type": "must be a whole number",
    "int_parsing": "must be a whole number",
    "int_parsing_size": "is too large a number",
    "int_from_float": "must be a whole number",
    "greater_than_equal": lambda context: f"must be at least {context['ge']}",
    "less_than_equal": lambda context: f"must be at most {context['le']}",
    "enum": lambda context: f"must be one of {_words(context['expected'])}",
    "string_type": "must be text; put it in quotes if it is a number",
    "tuple_type": "must be a list",
    "too_short": "must not be empty",
    "model_type": "must be a mapping of settings",
    "dict_type": "must be a mapping: a name, a colon, and below it its settings",
}


def problems_of(error: ValidationError) -> list[Problem]:
    """One problem for each finding; the values that were found never enter it."""
    found = error.errors(include_url=False, include_input=False)
    return [Problem(_path(item["loc"]), _text(item["type"], _path(item["loc"]), item.get("ctx", {}))) for item in found]


def repaired(state: Mapping[str, Any], problems: Iterable[Problem]) -> dict[str, Any]:
    """`state` with what is wrong left out, or replaced by its example where it is required.

    So that settings that are right can be judged together although others are wrong.
    """
    whole = copy.deepcopy(dict(state))
    for problem in problems:
        path = _whole_setting(problem.path)
        parent: Any = whole
        for step in path[:-1]:
            parent = parent.get(step) if isinstance(parent, dict) else None
        if not path or not isinstance(parent, dict):
            continue
        if len(path) == 2 and path[0] in NAMED:
            parent[path[1]] = {}
            continue
        field = _field(path)
        if field is not None and field.is_required():
            parent[path[-1]] = copy.deepcopy(field.examples[0]) if field.examples else None
        else:
            parent.pop(path[-1], None)
    return whole


def model_at(path: KeyPath) -> type[BaseModel] | None:
    """The model of the settings at `path`, None where there is none, as for a section that is a map of names."""
    if len(path) == 1 and path[0] in NAMED:
        return None
    model: type[BaseModel] | None = Settings
    steps = path[:1] + path[2:] if path and path[0] in NAMED else path
    for step in steps:
        field = _fields(model).get(str(step)) if model else None
        model = _model_in(field.annotation) if field else None
    return model


def is_structured(path: KeyPath) -> bool:
    """Whether a list or a mapping is wanted at `path`: a section, an item of one, a setting with several values."""
    if model_at(path) or path[-1] in NAMED:
        return True
    field = _field(path)
    return field is not None and any(
        get_origin(part) is tuple for part in (field.annotation, *get_args(field.annotation))
    )


def _text(kind: str, path: KeyPath, context: Mapping[str, Any]) -> str:
    if kind == "extra_forbidden":
        return _unknown(path)
    if kind == "missing":
        return _missing(path)
    text = _TEXTS.get(kind, "cannot be used")
    said = text(context) if callable(text) else text
    field = _field(path)
    if kind in ("tuple_type", "model_type"):
        example = field.examples[0] if field is not None and field.examples else _example_of(model_at(path))
        said += f", such as {_flow(example)}" if example else ""
    return said


def _example_of(model: type[BaseModel] | None) -> dict[str, Any]:
    """The smallest item of a section: its required settings."""
    fields = _fields(model).items()
    return {name: field.examples[0] for name, field in fields if field.is_required() and field.examples}


def _unknown(path: KeyPath) -> str:
    key = str(path[-1])
    if key in _NOT_HERE:
        return _NOT_HERE[key]
    known = _fields(model_at(path[:-1]))
    homes = [name for name in Settings.model_fields if key in _fields(model_at((name, "*")[: 1 + (name in NAMED)]))]
    nearby = did_you_mean(key, known)
    if homes and "did you mean" not in nearby:
        return f"is not a setting here; it belongs to {homes[0]}"
    return f"is not a setting{nearby}"


def _missing(path: KeyPath) -> str:
    field = _field(path)
    if field is None or not field.examples:
        return "is missing"
    return f"is missing: {field.description}, such as {_flow(field.examples[0])}"


def _flow(example: Any) -> str:
    """An example as it would be written on one line."""
    if isinstance(example, dict):
        return "{" + ", ".join(f"{key}: {_flow(value)}" for key, value in example.items()) + "}"
    if isinstance(example, list):
        return "[" + ", ".join(_flow(item) for item in example) + "]"
    return str(example).lower() if isinstance(example, bool) else str(example)


def _words(expected: str) -> str:
    return ", ".join(re.findall(r"'([^']*)'", expected))


def _path(loc: tuple[int | str, ...]) -> KeyPath:
    return tuple(step for step in loc if step != "[key]")


def _whole_setting(path: KeyPath) -> KeyPath:
    """The path of the setting that a path into a list is part of."""
    for index, step in enumerate(path):
        if isinstance(step, int):
            return path[:index]
    return path


def _fields(model: type[BaseModel] | None) -> dict[str, FieldInfo]:
    """A model's settings by the names that the file uses."""
    return {field.alias or name: field for name, field in model.model_fields.items()} if model else {}


def _field(path: KeyPath) -> FieldInfo | None:
    path = _whole_setting(path)
    return _fields(model_at(path[:-1])).get(shown(path[-1])) if path else None


def _model_in(annotation: Any) -> type[BaseModel] | None:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    return next((model for part in get_args(annotation) if (model := _model_in(part))), None)
