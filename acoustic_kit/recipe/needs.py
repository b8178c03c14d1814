"""Requirements of a recipe other than features, checked before features are built."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from acoustic_kit.errors import AkitError, DataError, RecipeError


@dataclass(frozen=True)
class Needs:
    """Requirements of a recipe with its settings, returned by ``needs(s)``.

    >>> def needs(s):
    ...     return akit.Needs(columns=("salience",))

    Parameters
    ----------
    columns : the data set's own columns that the recipe reads; they are part of a run's name
    validation : whether a held-out fold decides which epoch is kept, or when training ends; excludes ``--full``
    weights : called to find or download pretrained weights; raises AkitError if that fails
    or_random : whether the recipe starts from random weights if its own are missing

    """

    columns: tuple[str, ...] = ()
    validation: bool = False
    weights: Callable[[], object] | None = None
    or_random: bool = False

    def check(self, columns: Sequence[str], *, full: bool) -> str | None:
        """Raise AkitError for the first unmet requirement, with what to do; return a warning, if there is one.

        Parameters
        ----------
        columns : of the manifest
        full : whether one model is fitted on all training clips

        """
        for column in self.columns:
            if column not in columns:
                raise DataError(missing_column(column))
        if full and self.validation:
            raise RecipeError(
                "These settings choose an epoch by a held-out fold, and --full has none; use --set checkpoint=last."
            )
        try:
            if self.weights is not None:
                self.weights()
        except AkitError as error:
            if not self.or_random:
                raise
            return f"Training starts from random weights: {error}"
        return None


def missing_column(column: str) -> str:
    """Return the message for clips that lack a column of the data set's own."""
    return (
        f"The clips have no column {column!r}, which this recipe reads in addition to the audio.\n"
        f"Train without it: --set {column}=none. For new clips to predict, pass it in a file: --table FILE.csv."
    )
