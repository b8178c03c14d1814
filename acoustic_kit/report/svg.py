"""SVG elements in which every value is escaped, and the ticks that all charts share."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from markupsafe import Markup


def svg(width: float, height: float, label: str, parts: Iterable[Markup], kind: str = "chart") -> Markup:
    """Return a picture with its own coordinates; `label` describes it for screen readers."""
    return Markup(
        '<svg class="{}" viewBox="0 0 {} {}" width="{}" height="{}" role="img" aria-label="{}">{}</svg>'
    ).format(kind, num(width), num(height), num(width), num(height), label, Markup("").join(parts))


def line(x1: float, y1: float, x2: float, y2: float, kind: str) -> Markup:
    """Return a straight line."""
    return Markup('<line x1="{}" y1="{}" x2="{}" y2="{}" class="{}"/>').format(num(x1), num(y1), num(x2), num(y2), kind)


def rect(x: float, y: float, width: float, height: float, kind: str, title: str = "", opacity: float = 1) -> Markup:
    """Return a rectangle; `title` is its tooltip."""
    return Markup('<rect x="{}" y="{}" width="{}" height="{}" class="{}"{}>{}</rect>').format(
        num(x),
        num(y),
        num(max(width, 0)),
        num(max(height, 0)),
        kind,
        Markup("") if opacity == 1 else Markup(' fill-opacity="{}"').format(num(opacity)),
        _title(title),
    )


def circle(x: float, y: float, radius: float, kind: str, title: str = "") -> Markup:
    """Return a circle."""
    return Markup('<circle cx="{}" cy="{}" r="{}" class="{}">{}</circle>').format(
        num(x), num(y), num(radius), kind, _title(title)
    )


def polyline(points: Sequence[tuple[float, float]], kind: str) -> Markup:
    """Return straight lines from point to point."""
    return Markup('<polyline points="{}" class="{}"/>').format(" ".join(f"{num(x)},{num(y)}" for x, y in points), kind)


def text(x: float, y: float, words: str, kind: str = "tick", anchor: str = "start", turn: float = 0) -> Markup:
    """Return text that starts at (x, y), rotated by `turn` degrees."""
    turned = Markup(' transform="rotate({} {} {})"').format(num(turn), num(x), num(y)) if turn else Markup("")
    return Markup('<text x="{}" y="{}" class="{}" text-anchor="{}"{}>{}</text>').format(
        num(x), num(y), kind, anchor, turned, words
    )


def label(x: float, y: float, words: str, most: int, anchor: str = "end", turn: float = 0) -> Markup:
    """Return a name, shortened to `most` characters, with the whole name as tooltip."""
    shown = shortened(words, most)
    named = text(x, y, shown, "name", anchor, turn)
    return named if shown == words else Markup("<g>{}{}</g>").format(_title(words), named)


def shortened(words: str, most: int) -> str:
    """Shorten a text to `most` characters: its beginning and its end, as names of runs differ at the end."""
    if len(words) <= most:
        return words
    tail = most // 3
    return f"{words[: most - tail - 1]}…{words[len(words) - tail :]}"


def _title(words: str) -> Markup:
    return Markup("<title>{}</title>").format(words) if words else Markup("")


def num(value: float) -> str:
    """Format a coordinate, as short as possible."""
    return f"{float(value):.2f}".rstrip("0").rstrip(".")


def ticks(low: float, high: float, most: int = 5) -> list[float]:
    """Return round numbers from `low` to `high`."""
    from matplotlib.ticker import MaxNLocator

    found = MaxNLocator(most, steps=[1, 2, 2.5, 5, 10]).tick_values(low, high)
    slack = 1e-9 * (high - low)
    return [float(value) for value in found if low - slack <= value <= high + slack]


def percent(share: float, decimals: int = 0) -> str:
    """Format a fraction as `25 %`, with a no-break space."""
    return f"{100 * share:.{decimals}f}\N{NO-BREAK SPACE}%"
