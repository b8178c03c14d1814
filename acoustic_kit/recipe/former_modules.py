"""Modules that recipes of earlier versions import: runs hold copies of such recipes, and they go on loading."""

import re
import sys
from importlib import import_module

FORMER = {
    "acoustic_kit.fold": "acoustic_kit.training.fold",
    "acoustic_kit.needs": "acoustic_kit.recipe.needs",
    "acoustic_kit.side_inputs": "acoustic_kit.recipe.side_inputs",
    "acoustic_kit.training.wave_chain": "acoustic_kit.recipe.end_to_end_audio.wave_chain",
    "acoustic_kit.weights": "acoustic_kit.features.weights",
}
_IMPORTED = re.compile(r"^\s*(?:from|import)\s+(acoustic_kit[\w.]*)", re.MULTILINE)


def provide_former_modules(source: str) -> None:
    """Make the modules importable by their former names that the text of a recipe imports."""
    for name in FORMER.keys() & set(_IMPORTED.findall(source)):
        sys.modules[name] = import_module(FORMER[name])
