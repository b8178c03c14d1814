"""Report as one HTML file without external resources; values from data are escaped, never markup."""

from __future__ import annotations

import base64
import datetime
import hashlib
from collections.abc import Sequence
from importlib.resources import files
from pathlib import Path

import numpy as np

from acoustic_kit.files import write_atomically
from acoustic_kit.metrics import get_metric
from acoustic_kit.report.build import build_report
from acoustic_kit.report.content import Correlation, Report
from acoustic_kit.workspace.workspace import Workspace

PLOTTED = 10  # range of the interval plots, in widths of the best row's interval
MARKS = {
    "fast": "a recipe's small settings, which test the code and not the method",
    "full": "trained on all clips, so it has no out-of-fold score",
    "imported": "predictions made elsewhere",
    "at chance": "a fold's predictions are constant, or no better than with shuffled labels",
    "optimistic": "training used the fold on which it is scored, or copies or recordings of its clips",
    "other labels": "trained before labels or clips of the data set changed; the score uses the current labels",
    "part": "some training clips have no prediction, so other rows are scored on other clips",
}


def write_report(workspace: Workspace, names: Sequence[str] = (), path: Path | None = None) -> Path:
    """Write the report of a workspace to `path`, by default its `reports/report.html`, and return the path.

    `names` are runs or submissions to analyze; see `build_report`, whose errors it raises.
    """
    target = path or workspace.output_folder("reports") / "report.html"
    write_atomically(target, render(build_report(workspace, names)), follow=path is not None)
    return target


def render(report: Report) -> str:
    """Return the page: HTML with style, script, pictures and audio embedded."""
    from jinja2 import Environment, PackageLoader, StrictUndefined
    from markupsafe import Markup

    from acoustic_kit.report import charts
    from acoustic_kit.report.svg import percent, shortened

    page = Environment(
        loader=PackageLoader(__package__, "page"), autoescape=True, undefined=StrictUndefined, trim_blocks=True
    )
    page.filters |= {
        "clock": lambda seconds: str(datetime.timedelta(seconds=round(seconds))),  # hours, minutes and seconds
        "day": lambda created: created[:16].replace("T", " "),  # to the minute
        "hundredths": "{:z.2f}".format,
        "percent": percent,
        "shortened": shortened,
    }
    style, script = ((files(__package__) / "page" / name).read_text("utf-8") for name in ("report.css", "report.js"))
    return page.get_template("report.html").render(
        report=report,
        policy=_policy(style, script),
        style=Markup(style),
        script=Markup(script),
        marks=MARKS,
        used_marks=[mark for mark in MARKS if any(mark in row.marks for row in report.rows)],
        n_runs=sum(len(row.names) for row in report.rows),
        places={(one.kind, one.name): i for i, one in enumerate(report.evaluations, start=1)},
        scale=_scale(report),
        alike=_alike(report.correlation),
        charts=charts,
    )


def _policy(style: str, script: str) -> str:
    """Return the content security policy: only embedded content, this style and this script."""

    def allowed(text: str) -> str:
        return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"

    return (
        f"default-src 'none'; img-src data:; media-src data:; style-src {allowed(style)}; "
        f"script-src {allowed(script)}; base-uri 'none'; form-action 'none'"
    )


def _scale(report: Report) -> tuple[float, float]:
    """Return the range of all intervals, limited to `PLOTTED` widths of the best one, so that most stay readable."""
    spans = [row.interval or (row.score, row.score) for row in report.rows if row.score is not None]
    if not spans:
        return 0.0, 1.0
    low, high = min(low for low, _ in spans), max(high for _, high in spans)
    width = PLOTTED * (spans[0][1] - spans[0][0])
    if width > 0 and get_metric(report.metric).greater_is_better:
        low = max(low, high - width)
    elif width > 0:
        high = min(high, low + width)
    return (low, high) if high > low else (low - 0.5, high + 0.5)


def _alike(found: Correlation | None) -> list[tuple[str, str, float]]:
    """Return the two runs with the most correlated errors and, of more than two runs, those with the least."""
    if found is None:
        return []
    pairs = [
        (found.names[i], found.names[j], float(found.values[i, j]))
        for i, j in zip(*np.triu_indices(len(found.names), 1), strict=True)
        if np.isfinite(found.values[i, j])
    ]
    pairs.sort(key=lambda pair: -pair[2])
    return [pairs[0], pairs[-1]] if len(pairs) > 1 else pairs
