"""The Grafana dashboards: made from code, as Grafana's own linter wants them, and of metrics that exist."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import build
import promql_parser
import pytest
from boards.promql import STATES
from support.dashboards import ALL_QUERIES, FILES, GRAFANA, NAMES, SELECTOR, Query, load, panels, values, variables
from support.observing import Watch
from test_observe_metrics import CONTRACT

from mailprobe.web.overview import WORST_FIRST

MOST_QUERIES = 30
"""Of the overview, which is always open somewhere."""
TARGET_LABELS = {"job", "instance"}
COUNTERS = ("_total", "_bucket", "_count", "_sum")
FILLED = values(rate_interval="5m", seconds=21600)


def metrics() -> dict[str, set[str]]:
    """The labels of every metric that there is, by the names that samples have."""
    found = {}
    for line in CONTRACT.strip().splitlines():
        name, kind, *labels = line.split()
        suffixes = {"histogram": ("_bucket", "_count", "_sum"), "summary": ("_count", "_sum")}.get(kind, ("",))
        found |= {name + suffix: {*labels, *({"le"} if suffix == "_bucket" else ())} for suffix in suffixes}
    return found


def of_process() -> dict[str, set[str]]:
    """What prometheus_client tells of the process: no labels."""
    text = Watch().metrics.render().decode()
    return {name: set() for name in re.findall(r"^(process_\w+) ", text, re.MULTILINE)}


# ---- made from code


def test_there_are_four() -> None:
    assert NAMES == ["mailboxes", "outage", "overview", "route"]


def test_the_committed_json_is_what_the_code_makes() -> None:
    """Otherwise: python grafana/build.py."""
    assert {file.name: file.read_text(encoding="utf-8") for file in FILES.values()} == dict(build.texts())


def test_the_overview_asks_little() -> None:
    assert len([query for query in ALL_QUERIES if query.board == "overview"]) <= MOST_QUERIES


def test_states_are_ordered_as_on_the_status_page() -> None:
    """Panels take the greatest number of several, and sort by it."""
    assert sorted(STATES, key=STATES.__getitem__, reverse=True) == [str(state) for state in WORST_FIRST]


# ---- of metrics that exist


@pytest.mark.parametrize("query", ALL_QUERIES, ids=str)
def test_every_metric_and_label_exists(query: Query) -> None:
    known = metrics() | of_process()
    for name, matchers in SELECTOR.findall(query.expr):
        assert name in known, name
        used = set(re.findall(r"(\w+)\s*[!=]~?\s*\"", matchers))
        assert used <= known[name] | TARGET_LABELS, f"{name}: {used - known[name]}"


@pytest.mark.parametrize("query", ALL_QUERIES, ids=str)
def test_every_grouping_label_exists(query: Query) -> None:
    """`by (roote)` is no error in PromQL, just one number for all."""
    names = [name for name, _ in SELECTOR.findall(query.expr)]
    known = metrics()
    labels = {label for name in names for label in known.get(name, ())} | TARGET_LABELS
    if "label_replace" in query.expr:
        labels |= {"endpoint"}
    for found in re.findall(r"\b(?:by|on) \(([^)]*)\)", query.expr):
        assert {label.strip() for label in found.split(",")} <= labels, found


def test_every_legend_has_the_label_it_names() -> None:
    """A legend of a label that was aggregated away would be empty."""
    for query, target in targets():
        for label in re.findall(r"\{\{(\w+)\}\}", target["legendFormat"]):
            kept = re.findall(r"\bby \(([^)]*)\)", query) + re.findall(r'"(\w+)", "\w+", "", ""\)', query)
            assert not kept or any(label in each for each in kept), (query, label)


def test_a_series_of_each_instance_names_it() -> None:
    """Otherwise two agents that see the same are two rows or lines of one name."""
    for query, target in targets():
        grouped = re.match(r"(?:sum|min|max) by \(([^)]*)\)", query)
        if grouped and "instance" in grouped[1] and target.get("format") != "table":
            assert "{{instance}}" in target["legendFormat"], query


def targets() -> Iterator[tuple[str, Any]]:
    for name in NAMES:
        for panel in panels(load(name)):
            for target in panel["targets"]:
                yield target["expr"], target


# ---- PromQL


@pytest.mark.parametrize("query", ALL_QUERIES, ids=str)
def test_every_query_parses(query: Query) -> None:
    promql_parser.parse(query.filled(FILLED))


def test_what_does_not_parse_is_found() -> None:
    with pytest.raises(ValueError, match="parenthesis"):
        promql_parser.parse("sum by (route (up)")


# ---- the rules of grafana/dashboard-linter


@pytest.mark.parametrize("name", NAMES)
def test_variables(name: str) -> None:
    """template-datasource-rule, template-job-rule, template-instance-rule, template-on-time-change-reload-rule."""
    found = variables(load(name))
    assert (found["datasource"]["type"], found["datasource"]["query"]) == ("datasource", "prometheus")
    assert found["datasource"]["label"] == "Data source"
    for each in ("job", "instance"):
        assert (found[each]["type"], found[each]["label"]) == ("query", each.title())
        assert found[each]["multi"]
        assert found[each]["allValue"] == ".+"
    for variable in found.values():
        if variable["type"] == "query":
            assert variable["datasource"]["uid"] == "${datasource}"
            assert variable["refresh"] == 2, "2: on time range change"


@pytest.mark.parametrize("name", NAMES)
def test_label_values_parse(name: str) -> None:
    """template-label-promql-rule."""
    for variable in variables(load(name)).values():
        if variable["type"] == "query":
            match = re.fullmatch(r"label_values\((.+), (\w+)\)", variable["query"]["query"])
            assert match
            promql_parser.parse(match[1].replace("$job", ".+").replace("$instance", ".+"))


@pytest.mark.parametrize("name", NAMES)
def test_every_variable_is_used(name: str) -> None:
    text = "".join(query.expr for query in ALL_QUERIES if query.board == name)
    for variable in variables(load(name)):
        assert variable == "datasource" or f"${variable}" in text, variable


@pytest.mark.parametrize("name", NAMES)
def test_panels_have_title_description_unit_and_templated_source(name: str) -> None:
    """panel-title-description-rule, panel-units-rule, panel-datasource-rule, panel-no-targets-rule."""
    board = load(name)
    for panel in panels(board):
        assert panel["title"]
        assert panel["description"].endswith(".")
        assert panel["targets"], panel["title"]
        assert panel["datasource"]["uid"] == "${datasource}"
        assert all(target["datasource"]["uid"] == "${datasource}" for target in panel["targets"])
        assert panel["fieldConfig"]["defaults"]["unit"], panel["title"]
    titles = [panel["title"] for panel in panels(board)]
    assert len(set(titles)) == len(titles)
    numbers = [panel["id"] for panel in board["panels"]]
    assert len(set(numbers)) == len(numbers)


@pytest.mark.parametrize("name", NAMES)
def test_it_is_not_editable_and_has_a_fixed_address(name: str) -> None:
    """uneditable-dashboard-rule; links and annotations need the address."""
    board = load(name)
    assert board["editable"] is False
    assert board["uid"] == f"mailprobe-{name}"
    assert "id" not in board
    assert board["schemaVersion"] == 42
    assert [(link["type"], link["tags"]) for link in board["links"]] == [("dashboards", board["tags"])]
    assert "mailprobe_incident_open" in board["annotations"]["list"][0]["target"]["expr"]


@pytest.mark.parametrize("query", ALL_QUERIES, ids=str)
def test_job_instance_and_rate_interval(query: Query) -> None:
    """target-job-rule, target-instance-rule, target-rate-interval-rule, target-counter-agg-rule."""
    for name, matchers in SELECTOR.findall(query.expr):
        assert {'job=~"$job"', 'instance=~"$instance"'} <= set(matchers.split(", ")), name
    for function, window in re.findall(r"\b(i?rate)\(\w+\{[^}]*\}\[([^\]]*)\]", query.expr):
        assert window == "$__rate_interval", function
    for name in re.findall(r"\b(\w+)\{[^}]*\}", query.expr):
        if name.endswith(COUNTERS):
            assert re.search(rf"\b(rate|increase)\({name}\{{[^}}]*\}}\[", query.expr), name
            counted = re.sub(rf"(m(in|ax)_over_time\(|unless ){name}", "", query.expr)  # its first event
            assert not re.search(rf"(?<!rate\()(?<!increase\()\b{name}\{{", counted), name


@pytest.mark.parametrize("name", NAMES)
def test_panels_do_not_overlap(name: str) -> None:
    taken: set[tuple[int, int]] = set()
    for panel in load(name)["panels"]:
        place = panel["gridPos"]
        cells = {
            (x, y)
            for x in range(place["x"], place["x"] + place["w"])
            for y in range(place["y"], place["y"] + place["h"])
        }
        assert max(x for x, _ in cells) < 24
        assert not taken & cells, panel["title"]
        taken |= cells


# ---- files beside them


def test_links_lead_to_dashboards_that_exist() -> None:
    addresses = {load(name)["uid"] for name in NAMES}
    linked = {uid for name in NAMES for uid in re.findall(r"/d/([\w-]+)", FILES[name].read_text())}
    assert linked
    assert linked <= addresses


def test_readme_names_every_dashboard() -> None:
    text = (GRAFANA / "README.md").read_text(encoding="utf-8")
    for name in NAMES:
        assert f"dashboards/{name}.json" in text
