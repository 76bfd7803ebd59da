"""Bar charts as SVG, one bar a line, readable on a light and on a dark page."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape

WIDTH, LEFT, RIGHT, LINE, HEAD = 760, 250, 90, 26, 46
COLORS = ("#4477aa", "#ee6677", "#228833", "#ccbb44", "#66ccee", "#aa3377", "#999999",
          "#e08214", "#5e3c99", "#1b9e77", "#a6761d", "#e7298a")  # fmt: skip
_STYLE = (
    "text{font:13px sans-serif;fill:#555}.title{font-weight:bold}"
    "@media(prefers-color-scheme:dark){text{fill:#bbb}}"
)


@dataclass(frozen=True, kw_only=True, slots=True)
class Bar:
    """One line of a chart: parts that follow each other, and a range around their end."""

    name: str
    parts: Sequence[tuple[str, float]]
    low: float | None = None
    high: float | None = None
    label: str | None = None  # instead of the sum

    @property
    def total(self) -> float:
        return sum(size for _, size in self.parts)


def bars(title: str, lines: Sequence[Bar], *, unit: str = "", goal: float | None = None) -> str:
    """Return a chart. `goal` is a line across it; parts of one name have one colour."""
    largest = max([*(max(line.total, line.high or 0) for line in lines), goal or 0]) or 1.0
    scale = (WIDTH - LEFT - RIGHT) / largest
    names = list(dict.fromkeys(name for line in lines for name, _ in line.parts if name))
    colors = {name: COLORS[at % len(COLORS)] for at, name in enumerate(names)}
    bottom = HEAD + len(lines) * LINE
    drawn = [_text(10, 22, title, kind="title")]
    for at, line in enumerate(lines):
        drawn += _line(line, HEAD + at * LINE, scale, colors, unit)
    if goal is not None:
        drawn += _goal(LEFT + goal * scale, bottom, f"{goal:g}{unit}")
        bottom += 18
    drawn += _legend(colors, bottom + 8)
    height = bottom + 14 + 20 * (-(-len(colors) // 4))
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" '
        f'width="{WIDTH}" height="{height}" role="img" aria-label="{escape(title)}">\n'
        f"<style>{_STYLE}</style>\n" + "\n".join(drawn) + "\n</svg>\n"
    )


def _line(line: Bar, top: float, scale: float, colors: Mapping[str, str], unit: str) -> list[str]:
    middle = top + LINE / 2
    drawn = [_text(LEFT - 8, middle + 4, line.name, anchor="end")]
    left = float(LEFT)
    for name, size in line.parts:
        width = size * scale
        hint = f"{name or line.name}: {size:.3g}{unit}"
        drawn.append(
            f'<rect x="{left:.1f}" y="{top + 4}" width="{width:.1f}" height="{LINE - 8}" '
            f'fill="{colors.get(name, COLORS[0])}"><title>{escape(hint)}</title></rect>'
        )
        left += width
    right = left
    if line.low is not None and line.high is not None:
        low, right = LEFT + line.low * scale, LEFT + line.high * scale
        drawn.append(
            f'<path d="M{low:.1f} {middle}H{right:.1f}M{low:.1f} {middle - 4}v8'
            f'M{right:.1f} {middle - 4}v8" stroke="#222" fill="none"/>'
        )
    label = line.label if line.label is not None else f"{line.total:.3g}{unit}"
    drawn.append(_text(max(left, right) + 6, middle + 4, label))
    return drawn


def _goal(x: float, bottom: float, label: str) -> list[str]:
    line = (
        f'<path d="M{x:.1f} {HEAD - 6}V{bottom + 2}" stroke="#cc3311" stroke-dasharray="4 3" '
        'fill="none"/>'
    )
    return [line, _text(x, bottom + 15, f"goal {label}", anchor="middle")]


def _legend(colors: Mapping[str, str], top: float) -> list[str]:
    drawn = []
    for at, (name, color) in enumerate(colors.items()):
        x, y = 10 + (at % 4) * 185, top + (at // 4) * 20
        drawn.append(f'<rect x="{x}" y="{y}" width="12" height="12" fill="{color}"/>')
        drawn.append(_text(x + 18, y + 11, name))
    return drawn


def _text(x: float, y: float, text: str, *, anchor: str = "start", kind: str = "") -> str:
    style = f' class="{kind}"' if kind else ""
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}"{style}>{escape(text)}</text>'
