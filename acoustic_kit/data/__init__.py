"""Data sets: one adapter per layout, all read into one manifest.

`read_dataset` reads the tables and finds the files, `make_manifest` draws folds, holds out test folds and scans every
file once. A new layout is one module with `LOOKS_FOR`, `found` and `read`, and one line in `layouts/detect.py`.
Importing this package is cheap: polars, scikit-learn and soundfile are loaded on first use.
"""

from acoustic_kit.data.dataset import CsvOptions, Dataset
from acoustic_kit.data.inspection import Durations, Summary, odd_clips, summarize
from acoustic_kit.data.layouts.detect import LAYOUTS, detect_layout, read_dataset
from acoustic_kit.data.manifest import check_manifest, make_manifest
from acoustic_kit.data.scan import file_digest
from acoustic_kit.data.soundscapes import Soundscapes, make_soundscapes
from acoustic_kit.data.split_comparison import Comparison
from acoustic_kit.data.synthetic import make_synthetic

__all__ = [
    "LAYOUTS",
    "Comparison",
    "CsvOptions",
    "Dataset",
    "Durations",
    "Soundscapes",
    "Summary",
    "check_manifest",
    "detect_layout",
    "file_digest",
    "make_manifest",
    "make_soundscapes",
    "make_synthetic",
    "odd_clips",
    "read_dataset",
    "summarize",
]
