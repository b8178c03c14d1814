"""What a classification task is: its classes, labels per clip, metric and label separator."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

Task = Literal["single", "multi"]  # one label per clip, or several
SUM_TOLERANCE = 0.01  # by which probabilities of one label may differ from a sum of 1, as many rounded ones do


@dataclass(frozen=True)
class TaskSpec:
    """A classification task, as a workspace or a run defines it."""

    classes: Mapping[str, int]  # class name → the data set's own index, in class order
    metric: str
    task: Task = "single"
    label_separator: str | None = None  # between several labels of one clip; None: a comma

    @property
    def names(self) -> tuple[str, ...]:
        """Class names, in class order."""
        return tuple(self.classes)

    @property
    def has_ordered_classes(self) -> bool:
        """Whether the classes are ascending numbers, as grades are."""
        try:
            numbers = [float(name) for name in self.classes]
        except ValueError:
            return False
        return all(map(math.isfinite, numbers)) and numbers == sorted(numbers)

    @property
    def cell_separator(self) -> str:
        """Separator of the labels in a cell of a submission if the template does not show one."""
        return " " if self.task == "single" else self.label_separator or ","
