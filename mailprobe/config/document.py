"""A YAML file as values, and where in it each of them stands.

Own rules where YAML 1.1 surprises people: a key given twice is an error; `no`, `off`, `1:30`, `0123` and dates are
text; a key is always text. Merge keys (`<<`) and anchors work. What is said about an error never quotes the file.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Final

import yaml
from yaml.nodes import MappingNode, Node, ScalarNode, SequenceNode

from mailprobe.config.problems import KeyPath, Problem, shown

try:
    from yaml import CSafeLoader as _SafeLoader
except ImportError:  # PyYAML built without libyaml: 5 times slower, the same result
    from yaml import SafeLoader as _SafeLoader  # type: ignore[assignment]

NODE_LIMIT: Final = 2_000_000
"""Values in one file, aliases resolved: 100 times 1,000 routes; stops files whose aliases multiply."""

_TAG: Final = "tag:yaml.org,2002:"
_MERGE: Final = _TAG + "merge"
_IMPLICIT: Final = {
    "null": (r"~|null|Null|NULL|", "~nN\0"),
    "bool": (r"true|True|TRUE|false|False|FALSE", "tTfF"),
    "int": (r"[-+]?(?:0|[1-9][0-9]{0,17})", "-+0123456789"),
    "float": (r"[-+]?(?:0|[1-9][0-9]{0,17})\.[0-9]{1,17}", "-+0123456789"),
    "merge": (r"<<", "<"),
}


class _Loader(_SafeLoader):
    """The C parser with the plain scalars of YAML 1.2's core schema instead of YAML 1.1's."""

    yaml_implicit_resolvers: dict[str, Any] = {}  # noqa: RUF012 - declared so by PyYAML


for _name, (_pattern, _first) in _IMPLICIT.items():
    _starts = ["" if start == "\0" else start for start in _first]
    _Loader.add_implicit_resolver(_TAG + _name, re.compile(rf"^(?:{_pattern})$"), _starts)


class Document:
    """What a YAML text says. `data` is None for an empty text; `problems` are those of the text itself."""

    def __init__(self, text: str) -> None:
        self.data: Any = None
        self.problems: list[Problem] = []
        self._pairs_of: dict[int, dict[str, tuple[Node, Node]]] = {}
        self._built = 0
        self._root = self._compose(text)
        if self._root is not None:
            try:
                self.data = self._build(self._root)
            except (RecursionError, OverflowError):
                self.problems.append(Problem((), "is nested too deeply or refers to itself", at=(1, 1)))

    def place(self, path: KeyPath) -> tuple[int, int] | None:
        """Line and column, from 1, of a mapping's key or a list's item; None if the text does not have it."""
        node = self._root
        mark = node.start_mark if node else None
        for step in path:
            if isinstance(node, MappingNode) and step in (pairs := self._pairs(node)):
                key, node = pairs[str(step)]
                mark = key.start_mark
            elif isinstance(node, SequenceNode) and isinstance(step, int) and step < len(node.value):
                node = node.value[step]
                mark = node.start_mark
            else:
                return None
        return (mark.line + 1, mark.column + 1) if mark else None

    def _compose(self, text: str) -> Node | None:
        try:
            loader = _Loader(text)
            try:
                node: Node | None = loader.get_single_node()
                return node
            finally:
                loader.dispose()
        except yaml.MarkedYAMLError as error:
            mark = error.problem_mark or error.context_mark
            at = (mark.line + 1, mark.column + 1) if mark else (1, 1)
            self.problems.append(Problem((), _syntax(error, text, at), at=at))
        except yaml.reader.ReaderError as error:
            at = line_and_column(text.encode(), error.position)
            self.problems.append(Problem((), "has a control character here; remove it", at=at))
        except RecursionError:
            self.problems.append(Problem((), "is nested too deeply", at=(1, 1)))
        return None

    def _build(self, node: Node) -> Any:
        self._built += 1
        if self._built > NODE_LIMIT:
            raise OverflowError
        if isinstance(node, MappingNode):
            return {key: self._build(value) for key, (_, value) in self._pairs(node).items()}
        if isinstance(node, SequenceNode):
            return [self._build(item) for item in node.value]
        return self._scalar(node)

    def _scalar(self, node: Node) -> Any:
        kind, text = node.tag.removeprefix(_TAG), node.value
        try:
            match kind:
                case "str" | "merge":
                    return text
                case "null":
                    return None
                case "bool":
                    return text.lower() == "true"
                case "int":
                    return int(text)
                case "float":
                    return float(text)
        except ValueError:
            pass
        self._problem(node, "tags (words that begin with !) are not used in this file; put the text in quotes")
        return None

    def _pairs(self, node: MappingNode) -> dict[str, tuple[Node, Node]]:
        """A mapping's keys with their nodes, what it merges in included; made once for each node."""
        known = self._pairs_of.get(id(node))
        if known is not None:
            return known
        own: dict[str, tuple[Node, Node]] = {}
        self._pairs_of[id(node)] = own  # a mapping that merges itself ends here
        merged: dict[str, tuple[Node, Node]] = {}
        for key, value in node.value:
            if not isinstance(key, ScalarNode):
                self._problem(key, "a key must be a plain word")
            elif key.tag == _MERGE:
                merged = {**self._merged(value), **merged}
            elif key.value in own:
                first = own[key.value][0].start_mark.line + 1
                self._problem(key, f"{shown(key.value)} is given twice, first in line {first}; keep one of them")
            else:
                own[key.value] = (key, value)
        for name, pair in merged.items():
            own.setdefault(name, pair)
        return own

    def _merged(self, node: Node) -> dict[str, tuple[Node, Node]]:
        if isinstance(node, MappingNode):
            return dict(self._pairs(node))
        if isinstance(node, SequenceNode) and all(isinstance(item, MappingNode) for item in node.value):
            parts: Iterable[MappingNode] = reversed(node.value)
            return {name: pair for part in parts for name, pair in self._pairs(part).items()}
        self._problem(node, "<< takes a mapping or a list of mappings, such as << : *common")
        return {}

    def _problem(self, node: Node, text: str) -> None:
        self.problems.append(Problem((), text, at=(node.start_mark.line + 1, node.start_mark.column + 1)))


def read_document(path: Path) -> Document:
    """The YAML file at `path`. Problems with reading are in `problems`; raises nothing."""
    document = Document("")
    try:
        content = path.read_bytes()
        return Document(content.decode("utf-8-sig"))
    except UnicodeDecodeError as error:
        text = "is not UTF-8 text; save the file as UTF-8"
        document.problems.append(Problem((), text, at=line_and_column(error.object, error.start)))
    except FileNotFoundError:
        document.problems.append(Problem((), "this file does not exist; `mailprobe config example` prints one", at=""))
    except IsADirectoryError:
        document.problems.append(Problem((), "this is a directory; name the YAML file in it", at=""))
    except PermissionError:
        document.problems.append(Problem((), "this file may not be read by the user that runs mailprobe", at=""))
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) and error.strerror else "not a usable file name"
        document.problems.append(Problem((), f"this file cannot be read: {reason}", at=""))
    return document


def line_and_column(content: bytes, position: int) -> tuple[int, int]:
    """Line and column, from 1, of a byte of a text."""
    before = content[: max(position, 0)]
    return before.count(b"\n") + 1, len(before) - (before.rfind(b"\n") + 1) + 1


_SYNTAX: Final = (
    ("that cannot start any token", "a value cannot begin with this character; put the value in quotes"),
    (
        "mapping values are not allowed",
        "a colon is not expected here; check the indentation, or use quotes",
    ),
    ("could not find expected ':'", "a colon is missing after the key in or above this line"),
    ("did not find expected ',' or", "the bracket or brace opened before is not closed, or a comma is missing"),
    ("did not find expected '-' indicator", "the list's items must stand at the same column, each with a dash"),
    ("did not find expected key", "this line does not fit the indentation of those before it"),
    ("expected <block end>", "this line does not fit the indentation of those before it"),
    ("undefined alias", "a value that begins with * refers to an anchor, and there is none; put the value in quotes"),
    ("duplicate anchor", "this anchor (&) is given twice"),
    ("single document", "the file holds a second document; remove the line ---"),
    ("unexpected end of stream", "a quote is opened before and never closed"),
)


def _syntax(error: yaml.MarkedYAMLError, text: str, at: tuple[int, int]) -> str:
    """What is wrong in a mail administrator's words; libyaml's own words without what they quote as a last resort."""
    lines = text.split("\n")
    line = lines[at[0] - 1] if at[0] <= len(lines) else ""
    if "\t" in line[: at[1]] or line.lstrip(" ").startswith("\t"):
        return "a tab is used for indentation; YAML wants spaces"
    said = f"{error.context or ''} {error.problem or ''}"
    for words, meaning in _SYNTAX:
        if words in said:
            return f"is not valid YAML: {meaning}"
    return "is not valid YAML: " + re.sub(r"'[^']*'|\"[^\"]*\"", "…", error.problem or "cannot be understood")
