"""Charts as inline SVG: values in, text out. Colours are the stylesheet's, so that a chart goes with light and dark."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from math import ceil, floor, log10
from xml.etree.ElementTree import Element, SubElement, tostring

_WIDTH, _HEIGHT = 400, 280
_LEFT, _RIGHT, _TOP, _BOTTOM = 46, 24, 28, 44
_DOT, _CAP, _GAP = 4.5, 4.0, 9.0
_TICKS = 5
_STEPS = (1, 2, 5, 10)


@dataclass(frozen=True, slots=True)
class Mark:
    """`y` and its interval [`low`, `high`] are shares in [0, 1]; `said` is what pointing at it shows. `hollow` tells
    marks of one kind from the others."""

    x: float
    y: float
    low: float
    high: float
    said: str
    hollow: bool = False


def learning_curve(marks: Sequence[Mark]) -> str:
    """Accuracy by number of labels, from few to many; "" of no mark. The share's axis begins at the full tenth below
    the lowest interval."""
    if not marks:
        return ""
    ordered = sorted(marks, key=lambda mark: mark.x)
    step = _step(ordered[-1].x / _TICKS)
    most = step * max(1, ceil(ordered[-1].x / step))
    frame = _Frame((0, most), (_floor(min(mark.low for mark in marks)), 1))
    svg = _drawing(frame, "Accuracy by number of labels", "right, with 90 % interval", "labels")
    _grid(svg, frame, [step * n for n in range(round(most / step) + 1)], lambda value: f"{value:,.0f}")
    places = _apart(frame.x(mark.x) for mark in ordered)
    line = " ".join(f"{_n(x)},{_n(frame.y(mark.y))}" for x, mark in zip(places, ordered, strict=True))
    _add(svg, "polyline", {"class": "line", "points": line})
    _marks(svg, frame, places, ordered)
    return tostring(svg, encoding="unicode")


def reliability(marks: Sequence[Mark]) -> str:
    """The share of right answers (y) by score (x, in [0, 1]), beside the diagonal on which scores keep their word;
    "" of no mark."""
    if not marks:
        return ""
    frame = _Frame((0, 1), (0, 1))
    svg = _drawing(frame, "Share of right answers by score", "right, with 90 % interval", "score")
    _grid(svg, frame, [n / _TICKS for n in range(_TICKS + 1)], _percent)
    corner = {"x1": frame.x(0), "y1": frame.y(0), "x2": frame.x(1), "y2": frame.y(1)}
    _add(svg, "line", {"class": "ideal", **corner})
    _marks(svg, frame, [frame.x(mark.x) for mark in marks], marks)
    return tostring(svg, encoding="unicode")


@dataclass(frozen=True, slots=True)
class _Frame:
    """Where values land: each range's ends lie on the edges of the plot."""

    xs: tuple[float, float]
    ys: tuple[float, float]

    def x(self, value: float) -> float:
        low, high = self.xs
        return _LEFT + (value - low) / (high - low) * (_WIDTH - _LEFT - _RIGHT)

    def y(self, value: float) -> float:
        """Upwards."""
        low, high = self.ys
        return _HEIGHT - _BOTTOM - (value - low) / (high - low) * (_HEIGHT - _TOP - _BOTTOM)


def _step(least: float) -> float:
    """The next of 1, 2, 5, 10, 20, 50, ... that is not below `least`."""
    power = 10 ** max(0, floor(log10(least))) if least > 0 else 1
    return next(step * power for step in _STEPS if step * power >= least)


def _floor(lowest: float) -> float:
    """A full tenth, and never above a half: a small gain must not look large."""
    return min(0.5, floor(lowest * 10) / 10)


def _apart(places: Iterable[float]) -> list[float]:
    """Marks at one place stand side by side."""
    found: list[float] = []
    for place in places:
        found.append(max(place, found[-1] + _GAP) if found and place - found[-1] < _GAP else place)
    return found


def _drawing(frame: _Frame, title: str, upwards: str, rightwards: str) -> Element:
    svg = Element("svg", {"class": "chart", "viewBox": f"0 0 {_WIDTH} {_HEIGHT}", "role": "img", "aria-label": title})
    _write(svg, upwards, {"class": "axis", "x": 4, "y": 14})
    middle = (frame.x(frame.xs[0]) + frame.x(frame.xs[1])) / 2
    _write(svg, rightwards, {"class": "axis", "x": middle, "y": _HEIGHT - 6, "text-anchor": "middle"})
    return svg


def _grid(svg: Element, frame: _Frame, columns: Sequence[float], words: Callable[[float], str]) -> None:
    """Ticks at the `columns`, a line at each fifth or tenth of the share's axis."""
    low, high = frame.ys
    for tenth in range(round(low * 10), 11, 2 if high - low > 0.5 else 1):  # noqa: PLR2004 - half of the axis
        y = frame.y(tenth / 10)
        _add(svg, "line", {"class": "grid", "x1": _LEFT, "x2": _WIDTH - _RIGHT, "y1": y, "y2": y})
        _write(svg, _percent(tenth / 10), {"class": "tick", "x": _LEFT - 8, "y": y + 4, "text-anchor": "end"})
    for column in columns:
        x, y = frame.x(column), _HEIGHT - _BOTTOM + 18
        _write(svg, words(column), {"class": "tick", "x": x, "y": y, "text-anchor": "middle"})


def _marks(svg: Element, frame: _Frame, places: Sequence[float], marks: Sequence[Mark]) -> None:
    for x, mark in zip(places, marks, strict=True):
        group = _add(svg, "g", {"class": "mark hollow" if mark.hollow else "mark"})
        _add(group, "title", {}).text = mark.said
        low, high = frame.y(max(mark.low, frame.ys[0])), frame.y(mark.high)
        _add(group, "path", {"class": "whisker", "d": _whisker(x, low, high)})
        _add(group, "circle", {"cx": x, "cy": frame.y(mark.y), "r": _DOT})


def _whisker(x: float, low: float, high: float) -> str:
    caps = " ".join(f"M{_n(x - _CAP)} {_n(y)}H{_n(x + _CAP)}" for y in (low, high))
    return f"M{_n(x)} {_n(low)}V{_n(high)} {caps}"


def _add(parent: Element, tag: str, attributes: dict[str, str | float]) -> Element:
    texts = {name: value if isinstance(value, str) else _n(value) for name, value in attributes.items()}
    return SubElement(parent, tag, texts)


def _write(parent: Element, words: str, attributes: dict[str, str | float]) -> None:
    _add(parent, "text", attributes).text = words


def _percent(share: float) -> str:
    return f"{share:.0%}"


def _n(value: float) -> str:
    return f"{value:.1f}".removesuffix(".0")
