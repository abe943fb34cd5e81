"""Charts of a class's pages: drawn by matplotlib, put into a page as SVG that takes the page's colours.

An `<svg>` of these has no style of its own, which the page's policy would not let in: every colour is a class
(`f-blue` fills, `s-blue` strokes), which the page's style sheet knows, light, dark and in print. Text stays text. Its
ids begin with the chart's name, so that several stand in one page. Nothing here touches pyplot, and no display is
needed.
"""

import io
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any
from xml.etree import ElementTree

import matplotlib as mpl
from markupsafe import Markup
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator

from lab._terminal import legible
from lab.grading.report import Report, Row
from lab.presets import Record

INK, QUIET, RULE, PAPER, BLUE, ORANGE, RED, TINT = (
    "#1b1d21", "#5d636e", "#d9dce1", "#ffffff", "#0072b2", "#e69f00", "#d55e00", "#e8f1f8",
)  # fmt: skip
CLASSES = {
    INK: "ink", QUIET: "quiet", RULE: "rule", PAPER: "paper", BLUE: "blue", ORANGE: "orange", RED: "red", TINT: "tint",
}  # fmt: skip
"""What a colour of a figure is called in the page's style sheet."""
SIZE = 11  # points of text; a figure is 400 wide at most, so that a phone shows it about as large
WIDTH = 5.4  # inches
_STYLE: dict[Any, Any] = {
    "svg.fonttype": "none",
    "svg.hashsalt": "lab994",
    "font.family": "sans-serif",
    "font.sans-serif": ["DejaVu Sans"],  # it comes with matplotlib, is wide, and leaves room for the page's own
    "font.size": SIZE,
    "axes.edgecolor": RULE,
    "axes.labelcolor": QUIET,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.facecolor": "none",
    "text.color": INK,
    "xtick.color": RULE,
    "ytick.color": RULE,
    "xtick.labelcolor": QUIET,
    "ytick.labelcolor": QUIET,
    "figure.facecolor": "none",
    "legend.frameon": False,
    "path.simplify": False,
    "text.parse_math": False,
}


# -- charts -----------------------------------------------------------------------------------------------------------


def distribution(report: Report) -> Markup:
    """How many students have how many points; the median as a line."""
    spread = report.spread
    with mpl.rc_context(_STYLE):
        figure = Figure((WIDTH, 4.1))
        axis = figure.subplots()
        figure.subplots_adjust(left=0.1, right=0.965, top=0.92, bottom=0.125)
        width = spread.bars[0].high - spread.bars[0].low
        titles = {}
        for place, bar in enumerate(spread.bars):
            if bar.students:
                patch = axis.bar(bar.low, bar.students, 0.9 * width, align="edge", color=BLUE)[0]
                patch.set_gid(f"bar{place}")
                last = "to" if bar is spread.bars[-1] else "to below"
                titles[f"bar{place}"] = [f"{bar.low:g} {last} {bar.high:g} points: {_students(bar.students)}"]
        if spread.median is not None:
            axis.axvline(spread.median, color=RED, linewidth=1.5, linestyle=(0, (4, 3)))
            right = spread.median > spread.bars[-1].high / 2
            axis.annotate(f"median {spread.median:.4g}", (spread.median, 1.02), xycoords=("data", "axes fraction"),
                          ha="right" if right else "left", va="bottom", color=RED, annotation_clip=False)  # fmt: skip
        axis.set_xlim(0, spread.bars[-1].high)
        axis.set_xlabel("points")
        axis.set_ylabel("students")
        axis.yaxis.set_major_locator(MaxNLocator(5, integer=True, min_n_ticks=1))
        _grid(axis)
        return inline(figure, "spread", _spread_words(report), titles)


def networks(report: Report) -> Markup:
    """Accuracy against parameters: the class, its frontier, the lab's records, the assignment's limits.

    Both axes are those of ratios: half the parameters, a tenth of the errors. What lies far beyond the limits is drawn
    at the edge, so that it does not press the others together.
    """
    rows = [row for row in report.rows if row.accuracy is not None and row.parameters]
    window = _window(report, rows)
    with mpl.rc_context(_STYLE):
        figure = Figure((WIDTH, 4.1))
        axis = figure.subplots()
        figure.subplots_adjust(left=0.15, right=0.975, top=0.85, bottom=0.125)
        axis.set_xscale("log")
        axis.set_xlim(window.left, window.right)
        axis.set_ylim(window.low, window.high)
        _limits(axis, report.limits)
        inside = [row for row in rows if window.has(row)]
        looks: list[tuple[str, str, list[Row], dict[str, Any]]] = [
            ("kept", "keeps every rule", [row for row in inside if row.keeps_rules], _KEPT_RULES),
            ("others", "misses a rule", [row for row in inside if not row.keeps_rules], _OTHERS),
            ("beyond", "beyond the edge", [row for row in rows if not window.has(row)], _BEYOND),
        ]
        titles: dict[str, list[str]] = {}
        handles: list[Artist] = []
        for name, label, some, look in looks:
            if some:
                places = [window.place(row) for row in some]
                marks = axis.scatter(*zip(*places, strict=True), gid=name, label=label, **look)
                titles[name] = [_point_words(row) for row in some]
                handles.append(marks)
        frontier = [(_parameters(row), _nines(_accuracy(row))) for row in report.frontier]
        if len(frontier) > 1:
            handles += axis.step(*zip(*frontier, strict=True), where="post", color=BLUE, linewidth=1.6, zorder=2,
                                 label="frontier")  # fmt: skip
        if report.records:
            places = [(record.parameters, _nines(record.accuracy)) for record in report.records]
            marks = axis.scatter(*zip(*places, strict=True), gid="records", label="the lab's records", **_RECORDS)
            handles.append(marks)
            titles["records"] = [_record_words(record) for record in report.records]
            for record, place in zip(report.records, places, strict=True):
                axis.annotate(record.name, place, (0, 7), ha="center", textcoords="offset points", zorder=5)
        _ticks(axis, window)
        axis.set_xlabel("parameters")
        axis.set_ylabel("accuracy on the test images")
        figure.legend(handles=handles, loc="upper left", ncols=3, borderaxespad=0, columnspacing=1.5,
                      handletextpad=0.2, handlelength=1.2)  # fmt: skip
        _grid(axis)
        return inline(figure, "networks", _networks_words(report, rows), titles)


_OTHERS: dict[str, Any] = {
    "facecolors": "none",
    "edgecolors": QUIET,
    "marker": "s",
    "s": 18,
    "linewidths": 0.8,
    "zorder": 3,
}
_KEPT_RULES: dict[str, Any] = {
    "facecolors": BLUE,
    "edgecolors": PAPER,
    "marker": "o",
    "s": 34,
    "linewidths": 0.8,
    "zorder": 3,
}
_BEYOND: dict[str, Any] = {
    "facecolors": QUIET,
    "edgecolors": QUIET,
    "marker": "X",
    "s": 26,
    "linewidths": 0.4,
    "zorder": 3,
}
_RECORDS: dict[str, Any] = {
    "facecolors": ORANGE,
    "edgecolors": INK,
    "marker": "D",
    "s": 46,
    "linewidths": 0.8,
    "zorder": 4,
}


@dataclass(frozen=True)
class _Window:
    """What a chart of networks shows: parameters, and nines of accuracy."""

    left: float
    right: float
    low: float
    high: float

    def has(self, row: Row) -> bool:
        return self.left <= _parameters(row) <= self.right and _nines(_accuracy(row)) >= self.low

    def place(self, row: Row) -> tuple[float, float]:
        """A row's, at the edge where it lies beyond."""
        x = min(max(_parameters(row), self.left * 1.03), self.right / 1.03)
        return x, max(_nines(_accuracy(row)), self.low + 0.03 * (self.high - self.low))


def _window(report: Report, rows: Sequence[Row]) -> _Window:
    """Where most networks lie, with the limits and the records in it."""
    most, least = report.limits.get("parameter_count"), report.limits.get("accuracy")
    xs = [_parameters(row) for row in rows] + [record.parameters for record in report.records]
    ys = [_nines(_accuracy(row)) for row in rows] + [_nines(record.accuracy) for record in report.records]
    right, low = max([*xs, most or 0]) * 1.15, min(ys)
    if most is not None:
        right = min(right, most * _FAR)
    if least is not None:
        low = min(max(low, _nines(least) - 1), _nines(least) - 0.1)
    return _Window(min([*xs, most or min(xs)]) / 1.3, right, low - 0.07, max([*ys, _nines(least or 0)]) + 0.1)


_FAR = 4  # times the limit


def curve(epochs: Sequence[Mapping[str, float]]) -> Markup:
    """Loss and training accuracy, an epoch each."""
    numbers = [float(one["epoch"]) for one in epochs]
    losses = [float(one["loss"]) for one in epochs]
    shares = [100 * float(one["train_accuracy"]) for one in epochs]
    with mpl.rc_context(_STYLE):
        figure, axes, lines = _frame()
        for axis, line, values in zip(axes, lines, (losses, shares), strict=True):
            line.set_data(numbers, values)
            axis.set_xlim(min(numbers) - 0.3, max(numbers) + 0.3)
            low, high = min(values), max(values)
            room = 0.08 * (high - low) or 0.5
            axis.set_ylim(low - room, high + room)
            axis.set_xticks(_round_ticks(min(numbers), max(numbers), whole=True))
            axis.set_yticks(_round_ticks(low, high))
        words = (
            f"Two lines over {len(numbers)} epochs: the loss from {losses[0]:.3g} to {losses[-1]:.3g}, the accuracy on "
            f"training images from {shares[0]:.2f} % to {shares[-1]:.2f} %."
        )
        return inline(figure, "curve", words, {})


@lru_cache(maxsize=1)
def _frame() -> tuple[Figure, Sequence[Axes], Sequence[Line2D]]:
    """What all curves share; making it anew for each of 300 students would take twice as long."""
    figure = Figure((WIDTH, 2.3))
    axes = figure.subplots(1, 2)
    figure.subplots_adjust(left=0.09, right=0.985, top=0.86, bottom=0.23, wspace=0.27)
    lines = []
    for axis, title, colour in zip(axes, ("loss", "training accuracy, %"), (RED, BLUE), strict=True):
        lines += axis.plot([], [], "o-", color=colour, linewidth=1.6, markersize=3)
        axis.set_title(title, fontsize=SIZE, loc="left", y=1.03)  # what has its place need not be placed each time
        axis.set_xlabel("epoch")
        axis.xaxis.set_label_coords(0.5, -0.17)
        _grid(axis)
    return figure, axes, lines


# -- parts of them ----------------------------------------------------------------------------------------------------


def _grid(axis: Axes) -> None:
    axis.grid(axis="y", color=RULE, linewidth=0.6)
    axis.set_axisbelow(True)
    axis.tick_params(length=0)
    axis.spines["left"].set_visible(False)


def _limits(axis: Axes, limits: Mapping[str, float]) -> None:
    """The assignment's: a dashed line each, and the part of the plane that both let in, tinted."""
    (left, right), top = axis.get_xlim(), axis.get_ylim()[1]
    most, least = limits.get("parameter_count"), limits.get("accuracy")
    if most is not None and least is not None:
        axis.fill_between([left, min(most, right)], _nines(least), top, color=TINT, linewidth=0, zorder=0)
    line: dict[str, Any] = {"color": QUIET, "linewidth": 1, "linestyle": (0, (4, 3)), "zorder": 1}
    if most is not None:
        axis.axvline(most, **line)
    if least is not None:
        axis.axhline(_nines(least), **line)


def _ticks(axis: Axes, window: _Window) -> None:
    """Labels that say accuracy and parameters, in place of their logarithms."""
    shown: list[float] = []
    for share in (0.99, 0.9, 0.995, 0.5, 0.98, 0.95, 0.997, 0.998, 0.999, 0.994, 0.993, 0.996, 0.0, 0.8, 0.992):
        apart = 0.1 * (window.high - window.low)
        if window.low <= _nines(share) <= window.high and all(abs(_nines(share) - _nines(o)) > apart for o in shown):
            shown.append(share)
    axis.set_yticks([_nines(share) for share in shown], [f"{100 * share:.4g} %" for share in shown])
    steps = (1, 2, 5) if window.right / window.left < 1e3 else (1,)
    places = [step * 10**power for power in range(10) for step in steps]
    places = [place for place in places if window.left <= place <= window.right]
    axis.set_xticks(places, [_short(place) for place in places])
    axis.set_xticks([], minor=True)


def _short(number: int) -> str:
    for size, letter in ((10**6, "M"), (10**3, "k")):
        if number >= size:
            return f"{number / size:g}{letter}"
    return str(number)


def _round_ticks(low: float, high: float, whole: bool = False) -> list[float]:
    """Three to five round numbers from `low` to `high`."""
    step = 10 ** math.floor(math.log10(max(high - low, 1e-9)))
    for factor in (0.2, 0.25, 0.5, 1, 2, 2.5, 5, 10):
        size = max(1.0, math.ceil(factor * step)) if whole else factor * step
        if (high - low) / size <= 4.5:
            break
    first = math.ceil(low / size - 1e-9)
    found = [round(place * size, 10) for place in range(first, math.floor(high / size + 1e-9) + 1)]
    return found or [low]


def _nines(share: float) -> float:
    """The scale of accuracies: a tenth of the errors is one step up. All right is drawn as one error in 20,000."""
    return -math.log10(max(1 - share, 5e-5))


def _parameters(row: Row) -> int:
    return row.parameters or 1


def _accuracy(row: Row) -> float:
    return row.accuracy or 0.0


# -- in words ---------------------------------------------------------------------------------------------------------


def _students(number: int) -> str:
    return "1 student" if number == 1 else f"{number} students"


def _spread_words(report: Report) -> str:
    spread = report.spread
    most = max(spread.bars, key=lambda bar: bar.students)
    return (
        f"Bars: how many of {_students(spread.counted)} have how many points. Median {spread.median:.4g}, mean "
        f"{spread.mean:.4g}; most, {most.students}, have {most.low:g} to {most.high:g}."
    )


def _networks_words(report: Report, rows: Sequence[Row]) -> str:
    ends = [report.frontier[0], report.frontier[-1]] if report.frontier else []
    told = " to ".join(f"{_accuracy(row):.2%} with {_parameters(row):,} parameters" for row in ends)
    records = ", ".join(f"{one.name} {one.accuracy:.2%} with {one.parameters:,}" for one in report.records)
    words = f"A dot for each of {len(rows)} networks: accuracy against parameters."
    return " ".join(
        filter(None, [words, told and f"The frontier goes from {told}.", records and f"The lab's records: {records}."])
    )


def _record_words(record: Record) -> str:
    return (
        f"The lab's {record.name}: {record.accuracy:.2%}, {record.parameters:,} parameters, the mean of {record.seeds} "
        "seeds"
    )


def _point_words(row: Row) -> str:
    return f"{row.who.name}: {_accuracy(row):.2%}, {_parameters(row):,} parameters"


# -- into the page ----------------------------------------------------------------------------------------------------


def inline(figure: Figure, name: str, words: str, titles: Mapping[str, Sequence[str]]) -> Markup:
    """The figure as an `<svg>` of the page. words: for who can't see it.

    titles: what is shown of a mark that is pointed at; by the id of its artist, one for each mark of it, in order.
    """
    written = io.StringIO()
    figure.savefig(written, format="svg")
    root = ElementTree.fromstring(written.getvalue())
    for parent in [*root.iter()]:
        for child in [*parent]:
            if _local(child.tag) in ("metadata", "style"):
                parent.remove(child)
    used = set(re.findall(r'(?:href="|url\()#([^")]+)', written.getvalue()))
    for element in root.iter():
        _label(element, titles)
        _plain(element, name, used)
    width, height = (float(root.attrib.pop(side).removesuffix("pt")) for side in ("width", "height"))
    root.attrib.pop("version", None)
    root.attrib |= {
        "class": "chart",
        "role": "img",
        "aria-label": legible(words),
        "viewBox": f"0 0 {width:g} {height:g}",
    }
    _without_shells(root)
    return Markup(re.sub(r"\n\s*", "\n", ElementTree.tostring(root, encoding="unicode")))


def _local(tag: str) -> str:
    return tag.rpartition("}")[2]


def _label(element: ElementTree.Element, titles: Mapping[str, Sequence[str]]) -> None:
    """A title for each mark of an artist that has some."""
    told = titles.get(element.get("id", ""), ())
    if not told:
        return
    marks = [one for one in element.iter() if _local(one.tag) == "use"]
    marks = marks or [one for one in element.iter() if _local(one.tag) == "path"]  # few marks are written out
    if len(marks) != len(told):  # rather none than another's
        return
    for mark, text in zip(marks, told, strict=True):
        title = ElementTree.Element("title")
        title.text = legible(text)
        mark.insert(0, title)


def _plain(element: ElementTree.Element, name: str, used: set[str]) -> None:
    """The element without a namespace and without a style: classes and attributes in its place."""
    element.tag = _local(element.tag)
    attributes = {_local(key): value for key, value in element.attrib.items()}
    classes = [*attributes.pop("class", "").split()]
    for declaration in filter(str.strip, attributes.pop("style", "").split(";")):
        key, _, value = (part.strip() for part in declaration.partition(":"))
        if key in ("fill", "stroke") and value != "none":
            classes.append(f"{key[0]}-{CLASSES.get(value, CLASSES[INK])}")
        elif key in ("font", "font-size"):
            attributes["font-size"] = re.findall(r"([\d.]+)px", value)[0]
        elif key in _KEPT:
            attributes[key] = value
    if attributes.get("id") not in used:
        attributes.pop("id", None)
    for key in ("id", "href", "clip-path"):
        if key in attributes:
            attributes[key] = (
                re.sub(r"(^|#)(?=\w)", rf"\1{name}-", attributes[key], count=1)
                if key != "clip-path"
                else (attributes[key].replace("url(#", f"url(#{name}-"))
            )
    if attributes.get("transform", "").startswith("rotate(-0 "):
        del attributes["transform"]
    for key in ("d", "x", "y"):
        if key in attributes:
            attributes[key] = re.sub(r"-?\d+\.\d+", lambda found: f"{float(found[0]):.2f}".rstrip("0").rstrip("."),
                                     attributes[key].replace("\n", ""))  # fmt: skip
    element.attrib.clear()
    element.attrib |= attributes | ({"class": " ".join(classes)} if classes else {})


_KEPT = {
    "fill", "stroke", "stroke-width", "stroke-dasharray", "stroke-dashoffset", "opacity", "fill-opacity",
    "stroke-opacity", "text-anchor",
}  # fmt: skip


def _without_shells(root: ElementTree.Element) -> None:
    """Groups that say nothing are taken away, what is in them stays."""
    for parent in reversed([*root.iter()]):
        children: list[ElementTree.Element] = []
        for child in parent:
            children += [*child] if child.tag == "g" and not child.attrib and child.find("title") is None else [child]
        parent[:] = children
