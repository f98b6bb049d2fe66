"""Panels in the house style: title, description, unit, templated data source, colours that mean the same everywhere."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Protocol, Self, TypeVar

from grafana_foundation_sdk.builders import (
    bargauge,
    common,
    dashboard,
    heatmap,
    prometheus,
    stat,
    statetimeline,
    table,
    timeseries,
)
from grafana_foundation_sdk.models import common as shapes
from grafana_foundation_sdk.models import dashboard as model
from grafana_foundation_sdk.models import heatmap as heat
from grafana_foundation_sdk.models import prometheus as query_model

from boards.promql import INCIDENT, STATE_COLOURS, STATES, VENDOR_COLOURS, VENDOR_STATES, quantile

SOURCE: Final = shapes.DataSourceRef(type_val="prometheus", uid="${datasource}")
MIN_STEP: Final = "1m"
"""A canary a minute is the usual interval: a finer step would draw gaps."""

POINTS: Final = 90
"""Steps that a panel draws at most: four minutes each over six hours. More would be asked of 200 routes in vain."""
HISTOGRAM_POINTS: Final = 45
"""Where each step reads every bucket of every route: eight minutes each over six hours."""
COARSE_POINTS: Final = 16
"""Samples of each series for a number about the whole time range (`promql.COARSELY`)."""
FINE_POINTS: Final = 360
"""Samples of each series for how long something lasted: to a minute over six hours."""
STATE_POINTS: Final = 120
"""A state is a single number, and its change is to be seen more finely."""

Panel = TypeVar("Panel", bound="Common")
Colourable = TypeVar("Colourable", timeseries.Panel, stat.Panel)
Steps = Sequence[tuple[float | None, str]]
"""Thresholds: from this value on, this colour; the first has no value."""


class Common(Protocol):
    """What the builders of all panels have in common."""

    def title(self, title: str) -> Self: ...
    def description(self, description: str) -> Self: ...
    def datasource(self, datasource: shapes.DataSourceRef) -> Self: ...
    def unit(self, unit: str) -> Self: ...
    def height(self, h: int) -> Self: ...
    def span(self, w: int) -> Self: ...
    def with_target(self, target: Any) -> Self: ...
    def no_value(self, no_value: str) -> Self: ...
    def interval(self, interval: str) -> Self: ...


def series(expr: str, legend: str = "", ref: str = "A", *, exemplar: bool = False) -> prometheus.Dataquery:
    """A query over the time range."""
    query = prometheus.Dataquery().datasource(SOURCE).expr(expr).legend_format(legend).ref_id(ref).range()
    return query.exemplar(True) if exemplar else query


def instant(expr: str, legend: str = "", ref: str = "A") -> prometheus.Dataquery:
    """A query at the end of the time range."""
    return prometheus.Dataquery().datasource(SOURCE).expr(expr).legend_format(legend).ref_id(ref).instant()


def tabular(expr: str, ref: str) -> prometheus.Dataquery:
    """A query at the end of the time range, as rows of a table."""
    return instant(expr, ref=ref).format(query_model.PromQueryFormat.TABLE)


def thresholds(steps: Steps) -> dashboard.ThresholdsConfig:
    """Absolute thresholds."""
    found = [model.Threshold(value=value, color=colour) for value, colour in steps]
    return dashboard.ThresholdsConfig().mode(model.ThresholdsMode.ABSOLUTE).steps(found)


def words(texts: Mapping[str, tuple[str, str]]) -> list[model.ValueMapping]:
    """Values that are shown as a word in a colour."""
    options = {
        value: model.ValueMappingResult(text=text, color=colour, index=index)
        for index, (value, (text, colour)) in enumerate(texts.items())
    }
    return [model.ValueMap(options=options)]


STATE_WORDS: Final = words({str(number): (state, STATE_COLOURS[state]) for state, number in STATES.items()})
STATE_STEPS: Final = [(number or None, STATE_COLOURS[state]) for state, number in STATES.items()]

_VENDOR: Final = {number: (state, VENDOR_COLOURS[state]) for state, number in VENDOR_STATES.items()}
_BESIDE: Final = _VENDOR | {INCIDENT: ("incident", "dark-red")}
VENDOR_WORDS: Final = words({str(number): shown for number, shown in _BESIDE.items()})
VENDOR_STEPS: Final = [(number or None, colour) for number, (_, colour) in _BESIDE.items()]


CODE_SHADES: Final = {"^4": "orange", "^5": "red", "^4.. 4.7": "yellow", "^5.. 5.7": "purple"}
"""Of series that begin with reply code and enhanced code; 4.7 and 5.7 are policy. Source: RFC 3463 3.8."""


def prop(name: str, value: object) -> model.DynamicConfigValue:
    """A property of an override."""
    return model.DynamicConfigValue(id_val=name, value=value)


def fixed(colour: str) -> model.DynamicConfigValue:
    """A property of an override: this colour."""
    return prop("color", {"mode": "fixed", "fixedColor": colour})


def colours_of(panel: Colourable, colours: Mapping[str, str]) -> Colourable:
    """The colour of each series by its name."""
    for name, colour in colours.items():
        panel.override_by_name(name, [fixed(colour)])
    return panel


def shades_of(panel: timeseries.Panel, shades: Mapping[str, str]) -> timeseries.Panel:
    """Shades of a colour for series whose name holds a regular expression: green is never what went wrong."""
    for name, colour in shades.items():
        panel.override_by_regexp(f"/{name}/", [prop("color", {"mode": "shades", "fixedColor": colour})])
    return panel


def _dressed(panel: Panel, title: str, description: str, unit: str, size: tuple[int, int]) -> Panel:
    width, height = size
    return panel.title(title).description(description).unit(unit).datasource(SOURCE).span(width).height(height)


def number(
    title: str,
    description: str,
    query: prometheus.Dataquery,
    unit: str = "short",
    *,
    size: tuple[int, int] = (4, 4),
    steps: Steps = ((None, "blue"),),
    decimals: int | None = None,
    no_value: str = "none",
) -> stat.Panel:
    """One number, or a few, as tiles coloured by thresholds."""
    panel = _dressed(stat.Panel(), title, description, unit, size).interval(MIN_STEP)
    panel.with_target(query).no_value(no_value)
    panel.thresholds(thresholds(steps)).color_scheme(dashboard.FieldColor().mode(model.FieldColorModeId.THRESHOLDS))
    panel.color_mode(shapes.BigValueColorMode.BACKGROUND_SOLID).graph_mode(shapes.BigValueGraphMode.NONE)
    panel.reduce_options(common.ReduceDataOptions().calcs(["lastNotNull"]))
    return panel if decimals is None else panel.decimals(decimals)


def lines(
    title: str,
    description: str,
    queries: Sequence[prometheus.Dataquery],
    unit: str = "short",
    *,
    size: tuple[int, int] = (12, 8),
    calcs: Sequence[str] = ("lastNotNull", "max"),
    no_value: str = "",
) -> timeseries.Panel:
    """Lines over time, with a table of the series beside them."""
    panel = _dressed(timeseries.Panel(), title, description, unit, size).interval(MIN_STEP).max_data_points(POINTS)
    panel.draw_style(shapes.GraphDrawStyle.LINE).line_width(2).fill_opacity(8)
    panel.show_points(shapes.VisibilityMode.NEVER).min(0)
    panel.color_scheme(dashboard.FieldColor().mode(model.FieldColorModeId.PALETTE_CLASSIC))
    panel.legend(
        common.VizLegendOptions()
        .display_mode(shapes.LegendDisplayMode.TABLE)
        .placement(shapes.LegendPlacement.RIGHT)
        .show_legend(True)
        .calcs(list(calcs))
    )
    panel.tooltip(common.VizTooltipOptions().mode(shapes.TooltipDisplayMode.MULTI).sort(shapes.SortOrder.DESCENDING))
    for query in queries:
        panel.with_target(query)
    return panel.no_value(no_value) if no_value else panel


def stacked(panel: timeseries.Panel, *, bars: bool = False) -> timeseries.Panel:
    """The same with its series on top of each other."""
    panel.stacking(common.StackingConfig().mode(shapes.StackingMode.NORMAL).group("A"))
    panel.fill_opacity(60).line_width(1)
    return panel.draw_style(shapes.GraphDrawStyle.BARS).line_width(0).fill_opacity(80) if bars else panel


def bridged(panel: timeseries.Panel) -> timeseries.Panel:
    """The same with its small gaps closed, up to 15 minutes: a ratio has no value in a step without canaries."""
    return panel.span_nulls(900_000)


def percentiles(title: str, description: str, histogram: str, matchers: str) -> timeseries.Panel:
    """What is usual and what is not, of a histogram in seconds; nothing, and not NaN, where there was nothing."""
    shown = ((0.5, "p50", "A"), (0.95, "p95", "B"))
    queries = [series(f"{quantile(part, histogram, matchers)} > 0", name, ref) for part, name, ref in shown]
    return bridged(lines(title, description, queries, "s")).max_data_points(HISTOGRAM_POINTS)


def timeline(
    title: str,
    description: str,
    queries: Sequence[prometheus.Dataquery],
    mappings: list[model.ValueMapping],
    steps: Steps,
    *,
    size: tuple[int, int] = (12, 8),
    no_value: str = "",
) -> statetimeline.Panel:
    """Coloured bars over time, one for each series, 20 to a page."""
    panel = _dressed(statetimeline.Panel(), title, description, "none", size).interval(MIN_STEP)
    panel.max_data_points(STATE_POINTS).mappings(mappings).thresholds(thresholds(steps))
    panel.color_scheme(dashboard.FieldColor().mode(model.FieldColorModeId.THRESHOLDS))
    panel.merge_values(True).row_height(0.85).line_width(0).fill_opacity(80).per_page(20)
    panel.show_value(shapes.VisibilityMode.NEVER).span_nulls(True)
    panel.legend(_legend_below())
    for query in queries:
        panel.with_target(query)
    return panel.no_value(no_value) if no_value else panel


def _legend_below() -> common.VizLegendOptions:
    return (
        common.VizLegendOptions()
        .display_mode(shapes.LegendDisplayMode.LIST)
        .placement(shapes.LegendPlacement.BOTTOM)
        .show_legend(True)
    )


def heat_map(title: str, description: str, query: prometheus.Dataquery, *, size: tuple[int, int]) -> heatmap.Panel:
    """A classic histogram over time: what is usual is dark, what is not is seen."""
    panel = _dressed(heatmap.Panel(), title, description, "cpm", size).interval(MIN_STEP)
    panel.max_data_points(HISTOGRAM_POINTS)
    panel.with_target(query.format(query_model.PromQueryFormat.HEATMAP))
    panel.calculate(False).cell_gap(1).show_legend().show_value(shapes.VisibilityMode.NEVER)
    panel.y_axis(heatmap.YAxisConfig().unit("s").axis_placement(shapes.AxisPlacement.LEFT))
    panel.color(
        heatmap.HeatmapColorOptions()
        .mode(heat.HeatmapColorMode.SCHEME)
        .scheme("Oranges")
        .scale(heat.HeatmapColorScale.EXPONENTIAL)
        .exponent(0.5)
        .steps(64)
    )
    return panel.filter_values(heatmap.FilterValueRange().le(1e-9))


def bars(
    title: str, description: str, queries: Sequence[prometheus.Dataquery], *, size: tuple[int, int], no_value: str
) -> bargauge.Panel:
    """Counts beside each other, as bars."""
    panel = _dressed(bargauge.Panel(), title, description, "short", size).no_value(no_value)
    for query in queries:
        panel.with_target(query)
    panel.interval(MIN_STEP).max_data_points(COARSE_POINTS)
    panel.orientation(shapes.VizOrientation.HORIZONTAL).display_mode(shapes.BarGaugeDisplayMode.BASIC).min(0)
    panel.reduce_options(common.ReduceDataOptions().calcs(["lastNotNull"]))
    return panel.thresholds(thresholds([(None, "blue")]))


@dataclass(frozen=True, slots=True)
class Column:
    """A column of a table: a query whose value it is, or a label of them (`query` empty)."""

    field: str
    """The label's name, or what the merged table calls the value: `Value #A`."""
    title: str
    query: str = ""
    properties: tuple[model.DynamicConfigValue, ...] = ()


def columns(
    title: str,
    description: str,
    shown: Sequence[Column],
    *,
    size: tuple[int, int] = (24, 9),
    sort: str = "",
    unit: str = "short",
    no_value: str = "",
) -> table.Panel:
    """A table of instant queries that share their labels, merged by these; what is not in `shown` is hidden."""
    panel = _dressed(table.Panel(), title, description, unit, size).interval(MIN_STEP).max_data_points(COARSE_POINTS)
    for column in shown:
        if column.query:
            panel.with_target(tabular(column.query, column.field.removeprefix("Value #")))
        if column.properties:
            panel.override_by_name(column.title, list(column.properties))
    panel.with_transformation(model.DataTransformerConfig(id_val="merge", options={}))
    panel.with_transformation(
        model.DataTransformerConfig(
            id_val="organize",
            options={
                "excludeByName": {"Time": True},
                "indexByName": {column.field: index for index, column in enumerate(shown)},
                "renameByName": {column.field: column.title for column in shown},
            },
        )
    )
    panel.show_header(True).cell_height(shapes.TableCellHeight.SM).align(shapes.FieldTextAlignment.AUTO)
    if sort:
        panel.sort_by([common.TableSortByFieldState().display_name(sort).desc(True)])
    return panel.no_value(no_value) if no_value else panel


def coloured_cell(*more: model.DynamicConfigValue) -> tuple[model.DynamicConfigValue, ...]:
    """A cell with its colour as background."""
    cell = {"type": "color-background", "mode": "basic"}
    return (prop("custom.cellOptions", cell), *more)


def stepped(*steps: tuple[float | None, str]) -> model.DynamicConfigValue:
    """Thresholds as a property."""
    found = [{"value": value, "color": colour} for value, colour in steps]
    return prop("thresholds", {"mode": "absolute", "steps": found})
