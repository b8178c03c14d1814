"""Warnings of an open workspace: the notes of the command line, as Python warnings."""

from __future__ import annotations

import sys
import warnings
from pathlib import Path
from typing import TYPE_CHECKING

from acoustic_kit.data.leaks import leak_warnings
from acoustic_kit.errors import AkitWarning
from acoustic_kit.runs.data_update import describe_changes

if TYPE_CHECKING:
    from acoustic_kit.workspace.workspace import Workspace

_PACKAGE = str(Path(__file__).parents[1])


def warn(text: str) -> None:
    """Issue an AkitWarning for the line outside of akit that called it."""
    frame, level = sys._getframe(), 1
    while frame.f_back is not None and frame.f_code.co_filename.startswith(_PACKAGE):
        frame, level = frame.f_back, level + 1
    warnings.warn(text, AkitWarning, stacklevel=level)


def warn_of_missing_recipe(name: str) -> None:
    """Warn that `akit.toml` lists a recipe that does not exist."""
    warn(f"akit.toml lists the recipe {name} in `features`, which does not exist. It is ignored.")


def warn_of_leaks(workspace: Workspace) -> None:
    """Warn of clips that are used both for training and for scoring."""
    for text in leak_warnings(workspace.manifest):
        warn(text)


def warn_of_changes(workspace: Workspace) -> None:
    """Warn if the tables or folders of the data set have changed since the manifest was made."""
    if text := describe_changes(workspace):
        warn(text)
