"""What a recipe needs beside its features, checked before they are built."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from acoustic_kit.errors import AkitError


@dataclass(frozen=True)
class Needs:
    """Needs of a recipe with its settings, which ``needs(s)`` returns.

    Parameters
    ----------
    columns : of the data set's own, which the recipe reads; they are part of what a run is named by
    validation : a held-out fold decides which epoch is kept, or when training ends; excludes ``--full``
    weights : finds or downloads pretrained weights, and raises AkitError if that fails
    or_random : without its weights, the recipe starts from random ones

    """

    columns: tuple[str, ...] = ()
    validation: bool = False
    weights: Callable[[], object] | None = None
    or_random: bool = False

    def check(self, columns: Sequence[str], *, full: bool) -> str | None:
        """Raise AkitError for the first need that is not met, with what to do; return what to warn of, if anything.

        Parameters
        ----------
        columns : of the manifest
        full : one model is fitted on all training clips

        """
        for column in self.columns:
            if column not in columns:
                raise AkitError(missing_column(column))
        if full and self.validation:
            raise AkitError(
                "These settings choose by a held-out fold, which --full has not; use --set checkpoint=last."
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
    """Return what to say if clips lack a column of the data set's own."""
    return (
        f"The clips have no column {column!r}, which this recipe looks at beside the sound.\n"
        f"Train it without: --set {column}=none. New clips to predict get it from a file: --table FILE.csv."
    )
