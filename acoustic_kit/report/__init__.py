"""Report of a workspace as one HTML file that opens from disk.

`build_report` collects the content as a tree of plain values, `render` makes a page of it, `write_report` does both.
"""

from acoustic_kit.report.build import build_report
from acoustic_kit.report.page import render, write_report

__all__ = ["build_report", "render", "write_report"]
