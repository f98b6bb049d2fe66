"""What all dashboards share: variables, annotations, links to each other, and how rows are laid out."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from grafana_foundation_sdk.builders import dashboard, prometheus
from grafana_foundation_sdk.models import dashboard as model

from boards.panels import SOURCE
from boards.promql import AGENTS, ROUTES

TAG: Final = "mailprobe"
WIDTH: Final = 24
"""Columns of Grafana's grid."""


def board(uid: str, title: str, description: str) -> dashboard.Dashboard:
    """An empty dashboard with the data source, job and instance to choose, and links to the others."""
    return (
        dashboard.Dashboard(title)
        .uid(f"mailprobe-{uid}")
        .description(description)
        .tags([TAG])
        .readonly()
        .timezone("browser")
        .time("now-6h", "now")
        .refresh("1m")
        .tooltip(model.DashboardCursorSync.CROSSHAIR)
        .link(_siblings())
        .with_variable(dashboard.DatasourceVariable("datasource").label("Data source").type("prometheus"))
        .with_variable(_labels("job", "Job", "mailprobe_build_info"))
        .with_variable(_labels("instance", "Instance", 'mailprobe_build_info{job=~"$job"}'))
    )


def _siblings() -> dashboard.DashboardLink:
    return (
        dashboard.DashboardLink("mailprobe")
        .type(model.DashboardLinkType.DASHBOARDS)
        .tags([TAG])
        .keep_time(True)
        .include_vars(True)
        .icon("external link")
        .tooltip("The other dashboards, with this time range and these choices")
    )


def _labels(name: str, label: str, metric: str) -> dashboard.QueryVariable:
    query = f"label_values({metric}, {name})"
    return (
        dashboard.QueryVariable(name)
        .label(label)
        .datasource(SOURCE)
        .query({"query": query, "refId": f"variable-{name}"})
        .refresh(model.VariableRefresh.ON_TIME_RANGE_CHANGED)
        .sort(model.VariableSort.ALPHABETICAL_ASC)
        .multi(True)
        .include_all(True)
        .all_value(".+")
        .current(model.VariableOption(selected=True, text=["All"], value=["$__all"]))
    )


def routes() -> dashboard.QueryVariable:
    """Which routes; several or all."""
    return _labels("route", "Route", f"mailprobe_route_info{{{AGENTS}}}")


def one_route() -> dashboard.QueryVariable:
    """Which one route: the first until one is chosen."""
    return routes().multi(False).include_all(False).current(model.VariableOption(selected=False, text="", value=""))


def mailboxes() -> dashboard.QueryVariable:
    """Which mailboxes; several or all."""
    return _labels("mailbox", "Mailbox", f"mailprobe_mailbox_up{{{AGENTS}}}")


def choice(name: str, label: str, description: str, values: Sequence[str]) -> dashboard.CustomVariable:
    """One of a few values, the first unless chosen."""
    return (
        dashboard.CustomVariable(name)
        .label(label)
        .description(description)
        .values(", ".join(values))
        .options([model.VariableOption(selected=not index, text=each, value=each) for index, each in enumerate(values)])
        .current(model.VariableOption(selected=True, text=values[0], value=values[0]))
    )


def incidents(matchers: str = ROUTES) -> dashboard.AnnotationQuery:
    """Marks the time in which a route has an incident."""
    expr = f"max by (route) (mailprobe_incident_open{{{matchers}}}) == 1"
    return (
        dashboard.AnnotationQuery()
        .name("Incidents")
        .datasource(SOURCE)
        .enable(True)
        .icon_color("red")
        .target(prometheus.Dataquery().expr(expr).ref_id("incidents").range().interval("60s"))
        .title_format("incident")
        .text_format("{{route}}")
        .tag_keys("route")
    )


def filled(frame: dashboard.Dashboard, *rows: tuple[str, Sequence[Any]]) -> model.Dashboard:
    """The dashboard with rows of panels below headings."""
    for heading, found in rows:
        frame.with_row(dashboard.Row(heading))
        for panel in found:
            frame.with_panel(panel)
    return _finished(frame.build())


def _finished(built: Any) -> model.Dashboard:
    """Numbers the panels, which links to them and exemplars need, and takes out what the builders put in unasked.

    Links and annotations in the menu of Grafana 13, where nobody looks for the other dashboards; an interval's
    settings in variables that are none. Any, since the models call optional what they type as required.
    """
    for number, panel in enumerate(built.panels, 1):
        panel.id_val = number
    for shown in (*built.links, *built.annotations.list_val):
        shown.placement = None
    for variable in built.templating.list_val:
        variable.auto = variable.auto_count = variable.auto_min = None
    finished: model.Dashboard = built
    return finished
