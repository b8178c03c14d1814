"""Data sets: one adapter a layout found in the wild, all read into one manifest.

`read_dataset` finds what lies on disk, `make_manifest` draws the folds, keeps test folds aside and looks at every file
once. A new layout is one module with `LOOKS_FOR`, `found` and `read`, and one line in `layouts.py`. Importing this
package is cheap: polars, scikit-learn and soundfile are loaded when they are used.
"""

from acoustic_kit.data.dataset import CsvOptions, Dataset
from acoustic_kit.data.inspection import Durations, Summary, odd_clips, summarize
from acoustic_kit.data.layouts.detect import LAYOUTS, detect_layout, read_dataset
from acoustic_kit.data.manifest import check_manifest, make_manifest
from acoustic_kit.data.scan import file_digest
from acoustic_kit.data.synthetic import make_synthetic

__all__ = [
    "LAYOUTS",
    "CsvOptions",
    "Dataset",
    "Durations",
    "Summary",
    "check_manifest",
    "detect_layout",
    "file_digest",
    "make_manifest",
    "make_synthetic",
    "odd_clips",
    "read_dataset",
    "summarize",
]
