"""Charts of a report, as SVG. Colors are classes of the page's style sheet, so that they follow dark mode."""

from __future__ import annotations

import numpy as np
from markupsafe import Markup

from acoustic_kit.report.content import AudioPreview, Blended, Confusion, Correlation, Curve, Reliability, Row
from acoustic_kit.report.svg import circle, label, line, num, percent, polyline, rect, shortened, svg, text, ticks

NUMBERS_UP_TO = 14  # classes; cells of larger matrices are too small for a number
LONGEST_NAME = 24  # characters beside a chart; the tooltip has the whole name
WEIGHTS = 30  # bars; the number of other runs is stated in the text


def learning_curve(curve: Curve) -> Markup:
    """Draw one metric over epochs: folds as thin lines, their mean as a bold line."""
    width, height, left, bottom, top = 380, 210, 46, 34, 10
    drawn = [one for one in curve.lines if np.isfinite(one.y).any()]
    x, y = np.concatenate([one.x for one in drawn]), np.concatenate([one.y for one in drawn])
    (x0, x1), (y0, y1) = _span(x), _span(y, room=0.05)

    def at(px: float, py: float) -> tuple[float, float]:
        return left + (px - x0) / (x1 - x0) * (width - left - 8), top + (y1 - py) / (y1 - y0) * (height - top - bottom)

    parts = []
    for value in ticks(y0, y1):
        _, row = at(x0, value)
        parts += [line(left, row, width - 8, row, "grid"), text(left - 6, row + 4, f"{value:.4g}", anchor="end")]
    for value in ticks(x0, x1):
        if value == int(value):
            parts.append(text(at(value, y0)[0], height - bottom + 16, f"{int(value)}", anchor="middle"))
    parts.append(text((left + width) / 2, height - 3, "epoch", anchor="middle"))
    for one in drawn:
        kind = f"line {one.name}{' bold' if one.bold else ' thin'}"
        points = [at(px, py) for px, py in zip(one.x, one.y, strict=True) if np.isfinite(py)]
        parts.append(polyline(points, kind) if len(points) > 1 else circle(*points[0], 3, f"dot {one.name}"))
    ends = ", ".join(
        f"{one.name} from {one.y[np.isfinite(one.y)][0]:.4g} to {one.y[np.isfinite(one.y)][-1]:.4g}"
        for one in drawn
        if one.bold
    )
    return svg(width, height, f"{curve.figure} over epochs: {ends}", parts)


def _span(values: np.ndarray, room: float = 0.0) -> tuple[float, float]:
    low, high = float(np.nanmin(values)), float(np.nanmax(values))
    more = (high - low) * room if high > low else max(abs(high), 1.0) / 2
    return low - more, high + more


def reliability_diagram(found: Reliability) -> Markup:
    """Draw accuracy over confidence, and below it the number of predictions."""
    size, left, top, bars = 260, 44, 10, 46
    height = top + size + bars + 44

    def at(p: float, q: float) -> tuple[float, float]:
        return left + p * size, top + (1 - q) * size

    parts = []
    for value in (0.0, 0.25, 0.5, 0.75, 1.0):
        px, py = at(value, value)
        parts += [
            line(left, py, left + size, py, "grid"),
            text(left - 6, py + 4, f"{value:g}", anchor="end"),
            text(px, top + size + bars + 20, f"{value:g}", anchor="middle"),
        ]
    parts.append(line(*at(0, 0), *at(1, 1), "ideal"))
    most = max(int(found.counts.max()), 1)
    base, points = top + size + 4 + bars, []
    for low, n, confidence, accuracy in zip(found.edges, found.counts, found.confidence, found.accuracy, strict=False):
        if n:
            says = f"{n:,} predictions: confidence {percent(confidence, 1)}, accuracy {percent(accuracy, 1)}"
            tall = max(1.0, bars * n / most)
            parts.append(rect(at(low, 0)[0] + 1, base - tall, size / len(found.counts) - 2, tall, "bar", says))
            parts.append(line(*at(confidence, confidence), *at(confidence, accuracy), "gap"))
            points.append((at(confidence, accuracy), says))
    parts.append(polyline([point for point, _ in points], "line validation bold"))
    parts += [circle(*point, 4, "dot validation", says) for point, says in points]
    parts.append(text(left + size / 2, height - 4, "confidence", anchor="middle"))
    parts.append(text(12, top + size / 2, "accuracy", anchor="middle", turn=-90))
    return svg(left + size + 14, height, f"Reliability diagram; expected calibration error {found.ece:.3f}", parts)


def confusion_matrix(found: Confusion) -> Markup:
    """Draw true classes as rows and predicted ones as columns; opacity is the fraction of the row."""
    n = len(found.classes)
    cell = 36.0 if n <= NUMBERS_UP_TO else 17.0
    longest = max(len(shortened(name, LONGEST_NAME)) for name in found.classes)
    side = 14 + longest * 6.6
    shares = found.counts / np.maximum(found.counts.sum(axis=1, keepdims=True), 1)
    parts = [rect(side, side, n * cell, n * cell, "ground")]
    for i, name in enumerate(found.classes):
        middle = side + (i + 0.5) * cell + 4
        parts += [
            label(side - 6, middle, name, LONGEST_NAME),
            label(middle, side - 6, name, LONGEST_NAME, "start", -90),
        ]
    for i, j in np.argwhere(found.counts > 0):
        count, share = int(found.counts[i, j]), float(shares[i, j])
        total = int(found.counts[i].sum())
        verb = "correctly" if i == j else f"as {found.classes[j]}"
        says = f"{found.classes[i]}, predicted {verb}: {count:,} of {total:,} ({percent(share)})"
        x, y = side + j * cell, side + i * cell
        parts.append(rect(x, y, cell - 1, cell - 1, "hit" if i == j else "miss", says, round(0.25 + 0.75 * share, 2)))
        if n <= NUMBERS_UP_TO:
            parts.append(text(x + cell / 2 - 0.5, y + cell / 2 + 4, f"{100 * share:.0f}", "cell", "middle"))
    right = int(np.trace(found.counts))
    says = f"Confusion matrix of {n} classes: {right:,} of {int(found.counts.sum()):,} clips on the diagonal"
    return svg(side + n * cell + 4, side + n * cell + 4, says, parts, "chart matrix")


def correlation_matrix(found: Correlation) -> Markup:
    """Draw the correlation of errors between each two runs."""
    n, cell, most = len(found.names), 44.0, 34
    side = 40 + max(len(shortened(name, most)) for name in found.names) * 6.6
    top, parts = 26.0, []
    for i, name in enumerate(found.names):
        parts.append(label(side - 26, top + (i + 0.5) * cell + 4, name, most))
        parts.append(text(side - 6, top + (i + 0.5) * cell + 4, str(i + 1), anchor="end"))
        parts.append(text(side + (i + 0.5) * cell, top - 8, str(i + 1), anchor="middle"))
        for j, other in enumerate(found.names):
            value = float(found.values[i, j])
            x, y = side + j * cell, top + i * cell
            if i == j or not np.isfinite(value):
                parts.append(rect(x, y, cell - 1, cell - 1, "ground"))
                continue
            strength = round(min(max(value, 0.0), 1.0), 2)
            parts.append(
                rect(x, y, cell - 1, cell - 1, "miss", f"{name} and {other}: {value:z.3f}", 0.1 + 0.9 * strength)
            )
            parts.append(text(x + cell / 2 - 0.5, y + cell / 2 + 4, f"{value:z.2f}", "cell", "middle"))
    says = f"Correlation of the errors of {n} runs"
    return svg(side + n * cell + 4, top + n * cell + 4, says, parts, "chart matrix")


def weight_bars(blend: Blended) -> Markup:
    """Draw the weight of each run in a blend."""
    shown, row, most = blend.weights[:WEIGHTS], 24.0, 38
    left = 14 + max(len(shortened(weight.name, most)) for weight in shown) * 6.6
    widest, scale = max(weight.share for weight in shown) or 1.0, 220
    parts = []
    for i, weight in enumerate(shown):
        y, wide = i * row, max(1.0, scale * weight.share / widest)
        own = "" if weight.score is None else f", its own {blend.metric} {weight.score:.4f}"
        parts += [
            label(left - 8, y + 16, weight.name, most),
            rect(left, y + 4, wide, row - 8, "bar", f"{weight.name}: {percent(weight.share, 1)}{own}"),
            text(left + wide + 6, y + 16, percent(weight.share, 1)),
        ]
    says = f"Weights of {len(blend.weights)} runs in {blend.name}"
    return svg(left + scale + 56, len(shown) * row + 2, says, parts, "chart bars")


def interval_plot(row: Row, low: float, high: float) -> Markup:
    """Draw a row's score and interval on the scale from `low` to `high`, which all rows share."""
    if row.score is None:
        return Markup("")
    width, middle = 150, 9

    def at(score: float) -> float:
        return 6 + (min(max(score, low), high) - low) / (high - low) * (width - 12)

    parts, says = [line(6, middle, width - 6, middle, "grid")], f"{row.score:.4f}"
    if row.interval:
        parts.append(line(at(row.interval[0]), middle, at(row.interval[1]), middle, "span"))
        says += f", 95 % interval {row.interval[0]:.4f} to {row.interval[1]:.4f}"
    if not low <= row.score <= high:  # an arrow: the score is further to that side
        tip, end = (6, 12) if row.score < low else (width - 6, width - 12)
        parts.append(polyline([(end, middle - 4), (tip, middle), (end, middle + 4)], "off"))
    else:
        parts.append(circle(at(row.score), middle, 4, "dot validation"))
    return svg(width, 18, says, parts, "spark")


def waveform(sound: AudioPreview) -> Markup:
    """Draw the waveform between its lowest and highest samples."""
    low, high = sound.peaks
    n, height = len(low), 60
    upper = [(i, height / 2 * (1 - value)) for i, value in enumerate(high)]
    lower = [(i, height / 2 * (1 - value)) for i, value in enumerate(low)]
    outline = " ".join(f"{num(x)},{num(y)}" for x, y in [*upper, *reversed(lower)])
    return Markup(
        '<svg class="wave" viewBox="0 0 {} {}" preserveAspectRatio="none" role="img" aria-label="waveform, {:.1f} s">'
        '<polygon points="{}"/></svg>'
    ).format(max(n - 1, 1), height, sound.seconds, outline)
