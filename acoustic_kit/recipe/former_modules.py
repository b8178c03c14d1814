"""Former names of modules and of what they export, for recipes in older runs, and for scripts."""

import importlib
import re
from importlib.abc import Loader
from importlib.machinery import ModuleSpec
from types import ModuleType

FORMER = {
    "acoustic_kit.atomic_write": "acoustic_kit.files",
    "acoustic_kit.bootstrap": "acoustic_kit.metrics.bootstrap",
    "acoustic_kit.fold": "acoustic_kit.data.clips",
    "acoustic_kit.needs": "acoustic_kit.recipe.needs",
    "acoustic_kit.side_inputs": "acoustic_kit.recipe.side_inputs",
    "acoustic_kit.training.draws": "acoustic_kit.training.clip_rng",
    "acoustic_kit.training.fold": "acoustic_kit.data.clips",
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


def former_spec(name: str) -> ModuleSpec | None:
    """Return how to import a module by its former name; None if nothing had this name."""
    return ModuleSpec(name, _Alias()) if name in FORMER else None


class _Alias(Loader):
    """Loads the current module, which keeps its own name and spec."""

    def create_module(self, spec: ModuleSpec) -> ModuleType:
        module = importlib.import_module(FORMER[spec.name])
        self._own_spec = module.__spec__
        return module

    def exec_module(self, module: ModuleType) -> None:
        module.__spec__ = self._own_spec


def provide_former_names(source: str) -> None:
    """Make what modules export available by the former names that the text of a recipe imports."""
    for name in FORMER_NAMES.keys() & {FORMER.get(found, found) for found in _IMPORTED.findall(source)}:
        module = importlib.import_module(name)
        for former, current in FORMER_NAMES[name].items():
            if re.search(rf"\b{former}\b", source):
                setattr(module, former, getattr(module, current))
