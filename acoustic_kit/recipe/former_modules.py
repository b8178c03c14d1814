"""Former names of modules and of what they export, for the copies of earlier recipes that runs have."""

import re
import sys
from importlib import import_module

FORMER = {
    "acoustic_kit.fold": "acoustic_kit.training.fold",
    "acoustic_kit.needs": "acoustic_kit.recipe.needs",
    "acoustic_kit.side_inputs": "acoustic_kit.recipe.side_inputs",
    "acoustic_kit.training.draws": "acoustic_kit.training.clip_rng",
    "acoustic_kit.training.wave_chain": "acoustic_kit.recipe.end_to_end_audio.wave_chain",
    "acoustic_kit.weights": "acoustic_kit.features.weights",
}
FORMER_NAMES = {  # module → former name → name
    "acoustic_kit.training": {"BatchDraws": "BatchRng", "Draws": "ClipRng", "warm_up": "warmup"},
    "acoustic_kit.training.batches": {"BatchDraws": "BatchRng"},
    "acoustic_kit.training.clip_rng": {"Draws": "ClipRng"},
    "acoustic_kit.training.schedules": {"warm_up": "warmup"},
}
_IMPORTED = re.compile(r"^\s*(?:from|import)\s+(acoustic_kit[\w.]*)", re.MULTILINE)


def provide_former_modules(source: str) -> None:
    """Make the former names available that the text of a recipe imports."""
    imported = set(_IMPORTED.findall(source))
    for name in FORMER.keys() & imported:
        sys.modules[name] = import_module(FORMER[name])
    for name in FORMER_NAMES.keys() & {FORMER.get(name, name) for name in imported}:
        module = import_module(name)
        for former, current in FORMER_NAMES[name].items():
            if re.search(rf"\b{former}\b", source):
                setattr(module, former, getattr(module, current))
