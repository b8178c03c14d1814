"""Recipes: one file per solution, with its settings, features, training and prediction.

A recipe is a Python file that defines ``Settings`` (a sub-class of `Settings`), ``features(s)``, ``train(fold, s)``
and ``predict(model, clips, s)``; torch recipes also ``build_model(s, n_classes)``, which returns the bare network and
loads no pretrained weights: ``train`` does. If it has to look up the shape of such weights, ``backbone(s)`` returns
that shape, a run stores it, and ``build_model(s, n_classes, backbone)`` takes it. A torch recipe may define
``batches(s)`` instead of ``predict``: it then predicts by one forward pass over these batches. ``needs(s)`` returns the
`Needs` that are checked before features are built. ``FAST`` is the recipe's small form, for ``--fast``;
``search(trial)`` returns the settings that a trial of ``akit recipe tune`` tries; ``SEEDED = False`` states that its
result depends on no seed. The first line of its docstring is its title; the lines that begin with ``Source:``,
``Data:``, ``Published:`` and ``Differs:`` document its origin. ``WRITE_UP`` has the settings whose default is not the
published value, which ``akit recipe show`` prints.

A solution that was published with several settings is several recipes in one file: ``VARIANTS`` maps the name of each
to its own defaults, and the file's name is not a recipe. ``Published NAME:`` is about one variant only. Settings may
contain settings: ``augment.mixup`` names one of them.
"""

from __future__ import annotations

import difflib
import fnmatch
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from types import MappingProxyType, ModuleType
from typing import TYPE_CHECKING, Any

import numpy as np
from pydantic import ValidationError

from acoustic_kit.data.clips import Clips, FitResult, Fold
from acoustic_kit.errors import RecipeError, UsageError
from acoustic_kit.features import Feature, own_features
from acoustic_kit.recipe.catalog import documentation, find_recipes, first_line, labeled, recipe_folders
from acoustic_kit.recipe.needs import Needs
from acoustic_kit.recipe.recipe_file import RecipeFile, names_line
from acoustic_kit.recipe.settings import Fast, Settings, nested, read_lines, setting_fields

if TYPE_CHECKING:
    import optuna
    from pydantic.fields import FieldInfo


@dataclass(frozen=True)
class Recipe:
    """A loaded recipe file."""

    name: str
    file: RecipeFile
    module: ModuleType
    named: bool  # found by name, not by path
    variant: Mapping[str, Any]  # its own defaults, if the file contains several recipes

    @property
    def path(self) -> Path:
        """The file."""
        return self.file.path

    @property
    def is_seeded(self) -> bool:
        """Whether the result depends on the seed, as it does unless the file defines `SEEDED = False`."""
        return bool(getattr(self.module, "SEEDED", True))

    @property
    def own_features(self) -> dict[str, type[Feature]]:
        """Feature families that the file defines, by name."""
        return own_features(self.module)

    @property
    def title(self) -> str:
        """The first line of the documentation."""
        return first_line(self.module.__doc__ or "")

    @property
    def doc(self) -> str:
        """The documentation: the solution, its source, its published score, and differences.

        A variant's leaves out the published scores of the others.
        """
        return documentation(self.module.__doc__ or "", self.name, getattr(self.module, "VARIANTS", {}))

    def note(self, name: str) -> str:
        """Return a labeled line of the documentation (`Source`, `Published`, `Differs`), or an empty string."""
        return labeled(self.doc, name, self.name)

    @property
    def settings_class(self) -> type[Settings]:
        """The recipe's typed settings."""
        settings: type[Settings] = self.module.Settings
        return settings

    @cached_property
    def fields(self) -> dict[str, FieldInfo]:
        """All settings by name; nested ones as `augment.mixup`."""
        return setting_fields(self.settings_class)

    @cached_property
    def fast(self) -> Fast:
        """The recipe's small form."""
        return getattr(self.module, "FAST", Fast())

    def settings(
        self, values: Mapping[str, Any] | Sequence[str] = MappingProxyType({}), fast: bool = False
    ) -> Settings:
        """Return the defaults, then the variant's, then the small form's if `fast`, then `values`, by name.

        A nested setting is named `augment.mixup`. Pydantic converts values: "7" is accepted for an int.
        Scripts for earlier versions pass `key=value` lines instead of a mapping.

        Raises UsageError for an unknown name (with the nearest known one), a value of the wrong type, a line without
        `=`, or `fast` if the recipe has no small form.
        """
        if fast and not hasattr(self.module, "FAST"):
            raise UsageError(f"{self.name} has no small form for --fast: define FAST in {self.path}, or omit --fast.")
        known = self.fields
        values = values if isinstance(values, Mapping) else read_lines(values, known)
        for name in values:
            if name not in known:
                near = [other for other in known if other.endswith(f".{name}")]
                near = near or difflib.get_close_matches(name, known, n=1)
                hint = f"Did you mean {near[0]}?" if near else f"It has: {', '.join(known) or 'none'}."
                raise UsageError(f"{self.name} has no setting {name!r}. {hint}")
        return self._settings({**(self.fast.settings if fast else {}), **values})

    def _settings(self, values: Mapping[str, Any]) -> Settings:
        """Return the settings with some values, by name, in place of the variant's defaults."""
        try:
            return self.settings_class(**nested({**self.variant, **values}))
        except ValidationError as error:
            first = error.errors()[0]
            at = ".".join(map(str, first["loc"]))
            setting = next((name for name in self.fields if f"{at}.".startswith(f"{name}.")), at)
            if not setting:  # settings that contradict each other
                raise UsageError(f"{self.name}: {first['msg'].removeprefix('Value error, ')}.") from error
            raise UsageError(f"{self.name}, setting {setting}: {first['msg']} (got {first['input']!r}).") from error

    def search(self, trial: optuna.Trial) -> dict[str, Any]:
        """Return the settings that one trial tries, by name.

        Raises UsageError for a recipe that has no search space, RecipeError if its `search` returns no dictionary.
        """
        if not hasattr(self.module, "search"):
            raise UsageError(
                f"{self.name} has no search space. Define it in {self.path}:\n"
                'def search(trial): return {"lr": trial.suggest_float("lr", 1e-4, 1e-2, log=True)}'
            )
        with names_line(self.file):
            found = self.module.search(trial)
        if not isinstance(found, Mapping):
            raise RecipeError(f"{self.name}: search must return a dictionary of settings, not {type(found).__name__}.")
        return dict(found)

    def features(self, settings: Settings) -> dict[str, Feature]:
        """Return the features that the recipe reads, by its own names.

        Raises RecipeError for an object that is not a feature, and for a family without a name and a version, or with
        a name of akit's own.
        """
        with names_line(self.file):
            found = dict(self.module.features(settings))
        _ = self.own_features
        for alias, feature in found.items():
            if not isinstance(feature, Feature) or not (hasattr(feature, "name") and hasattr(feature, "version")):
                raise RecipeError(
                    f"{self.path}: features returns a {type(feature).__name__} for {alias!r}, which is not a feature "
                    "with a name and a version: name: ClassVar[str] = …; version: ClassVar[int] = 1."
                )
        return found

    def needs(self, settings: Settings) -> Needs:
        """Return the requirements of the recipe other than features."""
        with names_line(self.file):
            found: Needs = self.module.needs(settings) if hasattr(self.module, "needs") else Needs()
        return found

    @property
    def has_network(self) -> bool:
        """Whether the recipe trains a network with torch."""
        return hasattr(self.module, "build_model")

    def build_model(self, n_classes: int, **settings: Any) -> Any:
        """Return the bare network of a torch recipe, untrained."""
        with names_line(self.file):
            return self.module.build_model(self._settings(settings), n_classes)

    def backbone(self, settings: Settings) -> dict[str, Any] | None:
        """Return what `build_model` looks up outside the settings, as JSON; None for recipes without `backbone(s)`.

        A run stores it, so that its network can be built without the pretrained weights.
        """
        with names_line(self.file):
            return self.module.backbone(settings) if hasattr(self.module, "backbone") else None

    def rebuild_model(self, settings: Settings, n_classes: int, backbone: dict[str, Any] | None) -> Any:
        """Return the bare network that a run trained, from its record: without pretrained weights or network access."""
        given = (settings, n_classes) if backbone is None else (settings, n_classes, backbone)
        with names_line(self.file):
            return self.module.build_model(*given)

    def train(self, fold: Fold, settings: Settings) -> FitResult:
        """Fit the model of one fold. The recipe's `train` returns a `FitResult`, or a bare model.

        The global generators of numpy and torch are seeded with the fold's seed first.
        """
        np.random.seed(fold.seed)  # for estimators without a random_state
        if self.has_network:
            import torch

            torch.manual_seed(fold.seed)
        with names_line(self.file):
            return FitResult.of(self.module.train(fold, settings))

    def predict(self, model: Any, clips: Clips, settings: Settings) -> np.ndarray:
        """Return the class probabilities of clips: float (clips, classes).

        A recipe without `predict` predicts by `acoustic_kit.training.forward` over its `batches(s)`.
        """
        with names_line(self.file):
            if hasattr(self.module, "predict"):
                return np.asarray(self.module.predict(model, clips, settings))
            batches = self.module.batches(settings)
        from acoustic_kit.training import forward

        return forward(model, clips, batches)


def load_recipe(name_or_path: str | Path, workspace_recipes: Path | None = None, *, called: str = "") -> Recipe:
    """Load a recipe by name, from the folders of `recipe_folders`, or by the path of its file. This executes the file.

    >>> net = load_recipe("my_recipe").build_model(n_classes=10)

    If loaded by path, a file of several recipes has the defaults of its `Settings`, and its name is `called`, or the
    file's.

    Raises
    ------
    UsageError : the recipe does not exist
    RecipeError : the file fails to load or lacks a part of the contract

    """
    path = Path(name_or_path)
    named = path.suffix != ".py"
    if named:
        known = find_recipes(recipe_folders(workspace_recipes))
        if str(name_or_path) not in known:
            near = difflib.get_close_matches(str(name_or_path), known, n=1)
            hint = f"Did you mean {near[0]}?" if near else "`akit recipe list` shows all recipes."
            if "=" in str(name_or_path):
                hint = f"Each setting needs its own --set: --set {name_or_path}."
            raise UsageError(f"There is no recipe {str(name_or_path)!r}. {hint}")
        path = known[str(name_or_path)]
    elif not path.is_file():
        raise UsageError(f"There is no recipe file {path}.")
    called = re.sub(r"[^\w.-]+", "_", called or path.stem)  # it becomes part of the names of runs
    file = RecipeFile.read(path.resolve(), called)
    module = file.load()
    predicts = "batches" if hasattr(module, "build_model") and hasattr(module, "batches") else "predict"
    if missing := [part for part in ("Settings", "features", "train", predicts) if not hasattr(module, part)]:
        raise RecipeError(
            f"{path} is not a recipe: it lacks {', '.join(missing)}. `akit recipe new` writes one that runs."
        )
    required = [name for name, field in module.Settings.model_fields.items() if field.is_required()]
    if required:
        raise RecipeError(f"{path}: every setting needs a default: {', '.join(required)}.")
    variants = getattr(module, "VARIANTS", {}) if named else {}
    name = str(name_or_path) if variants else called
    return Recipe(name, file, module, named, variants.get(name, {}))


def match_recipes(names: Sequence[str], workspace_recipes: Path | None = None) -> list[Recipe]:
    """Return the recipes of these names, patterns (`resnet34_*`) or paths, each once. Raises as `load_recipe` does."""
    known = find_recipes(recipe_folders(workspace_recipes))
    wanted = (match for name in names for match in (fnmatch.filter(known, name) or [name]))
    return [load_recipe(name, workspace_recipes) for name in dict.fromkeys(wanted)]
