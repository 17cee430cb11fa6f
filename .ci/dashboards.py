"""Make ``collector/dashboards/*.json`` from ``collector/dashboards/source``.

    python .ci/dashboards.py           writes them
    python .ci/dashboards.py --check   1 if one of them is not what the source says

Run with the virtual environment's Python.
"""

from __future__ import annotations

import json
import sys
from itertools import count

from common import ROOT
from grafana_foundation_sdk.builders import bargauge, prometheus, stat, timeseries
from grafana_foundation_sdk.builders import dashboard as made
from grafana_foundation_sdk.builders.common import ReduceDataOptions, VizLegendOptions
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.models import common as options
from grafana_foundation_sdk.models import dashboard as model

sys.path.insert(0, str(ROOT))

from typing import TYPE_CHECKING, Any

from collector.dashboards.source.content import DASHBOARDS

if TYPE_CHECKING:
    from collector.dashboards.source.panels import Dashboard, Panel, Query, Variable

FOLDER = ROOT / "collector" / "dashboards"
COLUMNS = 24
ROW_HEIGHT = 1
SOURCE = model.DataSourceRef(type_val="prometheus", uid="${datasource}")
BUILDERS: dict[str, Any] = {
    "stat": stat.Panel,
    "timeseries": timeseries.Panel,
    "bargauge": bargauge.Panel,
}


def main(arguments: list[str]) -> int:
    """Write all files, or say which differ."""
    wrong = []
    for dashboard in DASHBOARDS:
        path = FOLDER / f"{dashboard.uid.removeprefix('kaizen-')}.json"
        text = build(dashboard)
        if "--check" not in arguments:
            path.write_text(text, encoding="utf-8")
        elif not path.is_file() or path.read_text(encoding="utf-8") != text:
            wrong.append(path.name)
    if wrong:
        print(f"not what the source says: {', '.join(wrong)}: run python .ci/dashboards.py")
    return int(bool(wrong))


def build(dashboard: Dashboard) -> str:
    """Return a dashboard as Grafana imports it."""
    builder = (
        made.Dashboard(dashboard.title)
        .uid(dashboard.uid)
        .description(dashboard.description)
        .tags(["kaizen-otel"])
        .editable()
        .refresh("30s")
        .time("now-1h", "now")
        .timezone("browser")
        .tooltip(model.DashboardCursorSync.CROSSHAIR)
        .link(made.DashboardLink("Agents").type(model.DashboardLinkType.DASHBOARDS).tags(["kaizen-otel"])
              .as_dropdown(True).keep_time(True).include_vars(True))
        .with_variable(made.DatasourceVariable("datasource").label("Prometheus").type("prometheus"))
    )  # fmt: skip
    for variable in dashboard.variables:
        builder = builder.with_variable(_variable(variable))
    numbers, top = count(1), 0
    for title, panels in dashboard.rows:
        row = model.GridPos(h=ROW_HEIGHT, w=COLUMNS, x=0, y=top)
        builder = builder.with_row(made.Row(title).grid_pos(row).id(next(numbers)))
        top += ROW_HEIGHT
        left = tallest = 0
        for panel in panels:
            if left + panel.width > COLUMNS:
                top, left, tallest = top + tallest, 0, 0
            place = model.GridPos(h=panel.height, w=panel.width, x=left, y=top)
            builder = builder.with_panel(_panel(panel).grid_pos(place).id(next(numbers)))
            left, tallest = left + panel.width, max(tallest, panel.height)
        top += tallest
    return json.dumps(json.loads(JSONEncoder(sort_keys=True, indent=2).encode(builder.build())),
                      indent=2, sort_keys=True) + "\n"  # fmt: skip


def _panel(panel: Panel) -> Any:  # noqa: ANN401 - one of the builders, which share no type
    builder = (
        BUILDERS[panel.kind]()
        .title(panel.title)
        .description(panel.description)
        .datasource(SOURCE)
        .unit(panel.unit)
        .no_value("-")
        .thresholds(_thresholds(panel))
    )
    for number, query in enumerate(panel.queries):
        builder = builder.with_target(_query(query, chr(ord("A") + number)))
    if panel.kind == "timeseries":
        legend = (
            VizLegendOptions()
            .display_mode(options.LegendDisplayMode.LIST)
            .placement(options.LegendPlacement.BOTTOM)
            .show_legend(True)
        )
        return builder.line_width(2).fill_opacity(8).min(0).legend(legend)
    builder = builder.reduce_options(ReduceDataOptions().calcs(["lastNotNull"]))
    if panel.kind == "bargauge":
        return builder.orientation(options.VizOrientation.HORIZONTAL)
    is_coloured = panel.bad_from is not None or panel.bad_below is not None
    mode = options.BigValueColorMode.VALUE if is_coloured else options.BigValueColorMode.NONE
    return builder.color_mode(mode).graph_mode(options.BigValueGraphMode.NONE)


def _query(query: Query, letter: str) -> prometheus.Dataquery:
    made_query = (
        prometheus.Dataquery()
        .expr(query.expression)
        .legend_format(query.legend)
        .ref_id(letter)
        .datasource(SOURCE)
    )
    return made_query.instant() if query.is_instant else made_query.range()


def _thresholds(panel: Panel) -> made.ThresholdsConfig:
    steps = [model.Threshold(value=None, color="green")]
    if panel.bad_from is not None:
        steps.append(model.Threshold(value=panel.bad_from, color="red"))
    if panel.bad_below is not None:
        steps = [
            model.Threshold(value=None, color="red"),
            model.Threshold(value=panel.bad_below, color="green"),
        ]
    return made.ThresholdsConfig().mode(model.ThresholdsMode.ABSOLUTE).steps(steps)


def _variable(variable: Variable) -> made.QueryVariable:
    return (
        made.QueryVariable(variable.name)
        .label(variable.label)
        .query(variable.query)
        .datasource(SOURCE)
        .refresh(model.VariableRefresh.ON_TIME_RANGE_CHANGED)
        .sort(model.VariableSort.ALPHABETICAL_ASC)
        .multi(True)
        .include_all(True)
        .all_value(".*")
    )


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
