"""The committed dashboards as the tests see them: panels, queries, variables, and what Grafana would put into these."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from support.rules import seconds as seconds_of

GRAFANA: Final = Path(__file__).parents[2] / "grafana"
FILES: Final = {file.stem: file for file in sorted((GRAFANA / "dashboards").glob("*.json"))}
NAMES: Final = sorted(FILES)

_VARIABLE = re.compile(r"\$(?:\{(\w+)\}|([a-z_]\w*))")
"""As Grafana does: not `$1`, which is a group in label_replace."""

SELECTOR: Final = re.compile(r"\b((?:mailprobe|process)_\w+)(?:\{([^}]*)\})?")


@dataclass(frozen=True, slots=True)
class Query:
    """One query of a dashboard, with its variables in it."""

    board: str
    panel: str
    ref: str
    expr: str
    instant: bool
    exemplar: bool = False
    points: int = 1000
    """Steps at most; what Grafana asks for by itself is one for each pixel."""

    def __str__(self) -> str:
        return f"{self.board}: {self.panel}: {self.ref}"

    def filled(self, values: Mapping[str, str]) -> str:
        """The query with these values in the place of its variables. Raises KeyError for one that has none."""
        step = max(1, int(values["__range_s"]) // self.points)
        known = {**values, "__interval": f"{step}s", "__interval_ms": str(step * 1000)}
        return _VARIABLE.sub(lambda found: known[found[1] or found[2]], self.expr)


def load(name: str) -> Any:
    """A dashboard's JSON."""
    return json.loads(FILES[name].read_text(encoding="utf-8"))


def panels(board: Any) -> list[Any]:
    """All panels that show something: those of collapsed rows too, the rows themselves not."""
    inside = [each for panel in board["panels"] for each in panel.get("panels", ())]
    return [panel for panel in (*board["panels"], *inside) if panel["type"] != "row"]


def queries_of(name: str) -> Iterator[Query]:
    """Every query of a dashboard's panels and annotations."""
    board = load(name)
    for panel in panels(board):
        for target in panel["targets"]:
            yield Query(
                name,
                panel["title"],
                target["refId"],
                target["expr"],
                target["instant"],
                target.get("exemplar", False),
                panel.get("maxDataPoints", 1000),
            )
    for annotation in board["annotations"]["list"]:
        yield Query(name, annotation["name"], "annotation", annotation["target"]["expr"], False)


ALL_QUERIES: Final = [query for name in NAMES for query in queries_of(name)]


def variables(board: Any) -> dict[str, Any]:
    """The variables by their names."""
    return {variable["name"]: variable for variable in board["templating"]["list"]}


def values(*, rate_interval: str, seconds: int, margin: str = "1h", **chosen: str) -> dict[str, str]:
    """What Grafana puts in for a time range of so many seconds where nothing is chosen."""
    everything = dict.fromkeys(("job", "instance", "route", "mailbox"), ".+")
    built_in = {"__rate_interval": rate_interval, "__rate_interval_ms": f"{seconds_of(rate_interval) * 1000:.0f}"}
    built_in |= {"__range": f"{seconds}s", "__range_s": str(seconds)}
    return everything | built_in | {"objective": "0.999", "margin": margin} | chosen
