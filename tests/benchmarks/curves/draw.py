"""Draws charts, in the environment that has matplotlib: JSON on stdin, SVG files into the folder that is named."""

import json
import sys
from pathlib import Path
from typing import Any

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter

_OURS, _GUIDE = "#0b6e4f", "#8a8f98"
_OTHERS = ("#d1495b", "#3066be", "#edae49", "#7d4e9e", "#5f6b7a")
_DASHES = ("--", ":", "-.")
_WIDE, _NARROW, _HEIGHT = 7.2, 4.2, 3.6


def main() -> None:
    mpl.rcParams.update(
        {
            "svg.fonttype": "none",  # text stays text
            "svg.hashsalt": "whetstone",  # the same file for the same values
            "font.family": "sans-serif",
            "font.size": 9,
            "axes.spines.top": False,
            "axes.spines.right": False,
            "axes.titlesize": 10,
            "legend.frameon": False,
            "legend.fontsize": 8,
        }
    )
    folder = Path(sys.argv[1])
    folder.mkdir(parents=True, exist_ok=True)
    for chart in json.load(sys.stdin):
        _draw(chart, folder / f"{chart['name']}.svg")


def _draw(chart: dict[str, Any], path: Path) -> None:
    panels = chart["panels"]
    width = _WIDE if len(panels) == 1 else _NARROW * len(panels)
    figure = Figure(figsize=(width, _HEIGHT), layout="constrained")
    for axes, panel in zip(figure.subplots(1, len(panels), squeeze=False)[0], panels, strict=True):
        _panel(axes, panel)
    figure.savefig(path, metadata={"Date": None})


def _panel(axes: Axes, panel: dict[str, Any]) -> None:
    others, dashes = iter(_OTHERS), iter(_DASHES)
    for line in panel["lines"]:
        colour = _OURS if line["ours"] else _GUIDE if line["guide"] else next(others)
        style = {"ls": next(dashes), "lw": 1.2} if line["guide"] else {"marker": "o", "ms": 3.5, "lw": 1.4}
        if len(line["x"]) > 40:
            style["marker"] = ""
        if line["ours"]:
            style["lw"] = 2.4
        axes.plot(line["x"], line["y"], color=colour, label=line["name"], zorder=3 if line["ours"] else 2, **style)
        if line["low"]:
            axes.fill_between(line["x"], line["low"], line["high"], color=colour, alpha=0.12, lw=0)
    axes.set_title(panel["title"], loc="left")
    axes.set_xlabel(panel["x"])
    axes.set_ylabel(panel["y"])
    axes.yaxis.set_major_formatter(PercentFormatter(1.0, decimals=0))
    if not panel["counted"]:
        axes.xaxis.set_major_formatter(PercentFormatter(1.0, decimals=0))
    axes.grid(axis="y", color="#e4e6ea", lw=0.8)
    axes.set_axisbelow(True)
    if len(panel["lines"]) > 4:
        axes.legend(loc="center left", bbox_to_anchor=(1.01, 0.5))
    else:
        axes.legend(loc="best")


if __name__ == "__main__":
    main()
