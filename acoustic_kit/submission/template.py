"""The form of a competition's submissions, as its sample submission shows it.

``classes``, everywhere here: class name → the data set's own index, in the class order of the workspace.
"""

import itertools
import re
from collections.abc import Collection, Container, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal, TypedDict

from acoustic_kit.errors import AkitError
from acoustic_kit.metrics import get_metric
from acoustic_kit.tables import Problem, Table, listed, problems, quoted, read_table, repeated

SEPARATORS = ",\t;"  # that a template may have between columns
BETWEEN = (" ", ",", ", ", ";", "; ", "|", " | ")  # labels of a cell
SHOWING = 1000  # cells are enough to tell how they are written

_INTEGERS = re.compile(r"-?\d+(?:[ ,;|]-?\d+)*", re.ASCII)  # one, or several of a multi-label or top-3 cell


class _CellForm(TypedDict):
    underscores: bool
    between: str | None
    quote: str


@dataclass(frozen=True)
class Template:
    """The form of a submission."""

    columns: tuple[str, ...]  # the first is the id
    ids: tuple[str, ...]  # in the order in which they are written
    form: Literal["labels", "indices", "probabilities"]
    underscores: bool = False  # class names are printed with underscores for their spaces
    separator: str = ","  # between columns: comma, semicolon or tab
    # How several labels of a cell are written. It is no part of the form, as cells of one label do not show it.
    between: str | None = field(default=None, compare=False)  # what separates them; None if no cell shows it
    quote: str = field(default="", compare=False)  # around those that have blanks or `between` in them

    def printed(self, classes: Mapping[str, int]) -> list[str]:
        """What stands in a cell for each class, in class order, without quotes.

        Raises AkitError for two classes that are printed alike.
        """
        if self.form == "indices":
            names = [str(index) for index in classes.values()]
        else:
            names = [name.replace(" ", "_") if self.underscores else name for name in classes]
        if len(set(names)) < len(names):
            raise AkitError("two classes are printed alike in the template's form; their names or indices must differ")
        return names

    def require_joinable(self, names: Sequence[str], between: str) -> None:
        """Raise AkitError for printed names that cannot share a cell: they would be torn apart where it is read."""
        between = self.between or between
        torn = [name for name in names if (self.quote or between) in name]
        if torn:
            raise AkitError(
                f"{self.quote or between!r} separates the labels of a cell but is part of class {listed(torn)}; rename "
                "the classes, or name as `template` in akit.toml a file whose cells of several labels show how they "
                "are written: with another separator, in quotes, or with underscores"
            )

    def join(self, names: Sequence[str], between: str) -> str:
        """A cell of labels, with the template's separator, else `between`."""
        between = self.between or between
        marked = (f"{self.quote}{n}{self.quote}" if " " in n or between in n else n for n in names)
        return between.join(names if len(names) == 1 else marked)

    def split(self, cell: str, known: Container[str], between: str) -> list[str]:
        """The labels of a cell."""
        return [cell] if cell in known else _split(cell, self.between or between, self.quote)


def read_template(path: Path, classes: Mapping[str, int]) -> Template:
    """The form that a competition's ``sample_submission.csv`` shows.

    One column beside the id holds labels or indices: labels where the values are class names (several may stand in a
    cell), indices where they are integers and the class names are not, labels where they are placeholders. Several
    columns hold probabilities and must be exactly the class names or exactly the own indices, in any order. Cells of
    several labels show how they are written: what separates them, and whether names have quotes or underscores.

    Blanks around a cell do not count. Raises AkitError for a file that cannot be read, columns that fit neither, and an
    id that is empty or there twice.
    """
    table = read_table(path, SEPARATORS)
    header, *rows = ([cell.strip() for cell in row] for row in (table.header, *table.rows))
    return template_of(path, replace(table, header=header, rows=rows), classes)


def default_template(ids: Sequence[str], metric: str, classes: Mapping[str, int]) -> Template:
    """The form where the competition gives none: ``id,label``; ``id`` and one column a class where ``map`` counts."""
    if get_metric(metric).needs_probabilities:
        return Template(("id", *classes), tuple(ids), "probabilities")
    return Template(("id", "label"), tuple(ids), "labels")


def template_of(path: Path, table: Table, classes: Mapping[str, int]) -> Template:
    """Return the form of a table that was read, see `read_template`."""
    if not table.rows:
        raise AkitError(f"{path} has no rows, and so no ids")
    columns = tuple(table.header)
    if len(columns) < 2:
        raise AkitError(f"{path} has one column, {quoted(columns[0])}; an id and a label column are needed")
    if twice := repeated(columns):
        raise AkitError(f"{path} has more than one column of a name: {listed(twice)}")
    ids = dict.fromkeys(row[0] for row in table.rows)
    if "" in ids or len(ids) < len(table.rows):
        refuse(path, id_problems(table, [clip_id for clip_id in ids if clip_id]))
    if len(columns) > 2:
        class_positions(str(path), columns[1:], classes)
        return Template(columns, tuple(ids), "probabilities", separator=table.separator)
    values = {row[1] for row in table.rows}
    if all(_INTEGERS.fullmatch(value) for value in values) and not any(map(_INTEGERS.fullmatch, classes)):
        between = next((mark for mark in BETWEEN if any(mark in value for value in values)), None)
        return Template(columns, tuple(ids), "indices", separator=table.separator, between=between)
    return Template(columns, tuple(ids), "labels", separator=table.separator, **_cell_form(values, classes))


def _cell_form(values: Collection[str], classes: Mapping[str, int]) -> _CellForm:
    """How label cells are written: the form that explains most of the cells with several labels.

    A cell that is one class's name is no such cell. If there is none, only underscores can be told.
    """
    values = list(itertools.islice(values, SHOWING))
    best, most = _CellForm(underscores=_shows_underscores(values, classes), between=None, quote=""), 0
    for underscores in (False, True):
        known = {name.replace(" ", "_") if underscores else name for name in classes}
        for quote, between in itertools.product(("", '"', "'"), BETWEEN):
            cells = [_split(value, between, quote) for value in values if value not in known]
            explained = sum(len(labels) > 1 and known.issuperset(labels) for labels in cells)
            if explained > most:
                best, most = _CellForm(underscores=underscores, between=between, quote=quote), explained
    return best


def _shows_underscores(values: Collection[str], classes: Mapping[str, int]) -> bool:
    """Whether class names are printed with underscores for their spaces."""
    tokens = {token for value in values for token in (value, *re.split(r"[ ,;|]", value))}
    return not tokens.isdisjoint({name.replace(" ", "_") for name in classes} - set(classes))


def _split(cell: str, between: str, quote: str) -> list[str]:
    """The labels of a cell; those in quotes may have the separator in them."""
    if not quote:
        return cell.split(between)
    label = rf"{quote}([^{quote}]*){quote}|((?:(?!{re.escape(between)})[^{quote}])+)"
    if not re.fullmatch(rf"(?:{label})(?:{re.escape(between)}(?:{label}))*", cell):
        return [cell]
    return [quoted or bare for quoted, bare in re.findall(label, cell)]


def class_positions(
    where: str, columns: Sequence[str], classes: Mapping[str, int], *, underscores: bool = False
) -> list[int]:
    """The class position of each probability column, which is named by the class or by its own index.

    With `underscores` a name may have them for its spaces. Raises AkitError, which begins with `where`, for columns
    that are neither, or there twice.
    """
    if twice := repeated(columns):
        raise AkitError(f"{where} has more than one column of a name: {listed(twice)}")
    names = list(classes)
    spellings = [names, [str(index) for index in classes.values()]]
    spellings += [[name.replace(" ", "_") for name in names]] if underscores else []
    for printed in spellings:
        if sorted(columns) == sorted(printed):
            return [printed.index(column) for column in columns]
    missing = [name for name in classes if name not in columns]
    unknown = [column for column in columns if column not in classes]
    raise AkitError(
        f"{where}: {len(columns)} columns after the id are neither the {len(classes)} class names nor their indices: "
        f"not there: {listed(missing)}; unknown: {listed(unknown)}"
    )


def id_problems(table: Table, ids: Sequence[str]) -> list[Problem]:
    """Return what is wrong with the ids of a table that is to have these."""
    expected, seen = set(ids), set[str]()
    unknown, repeated, moved = [], [], []
    for place, (row, line) in enumerate(zip(table.rows, table.lines, strict=True)):
        clip_id = row[0]
        if clip_id not in expected:
            unknown.append((line, quoted(clip_id)))
        elif clip_id in seen:
            repeated.append((line, quoted(clip_id)))
        elif place < len(ids) and clip_id != ids[place]:
            moved.append((line, quoted(clip_id)))
        seen.add(clip_id)
    found = problems({"unknown id": unknown, "id that is already there": repeated})
    missing = [clip_id for clip_id in ids if clip_id not in seen]
    if missing:
        found.append(Problem(f"{len(missing)} of {len(ids)} ids are missing: {listed(missing)}"))
    return found or [
        replace(problem, harmless=True) for problem in problems({"id in another place than in the template": moved})
    ]


def refuse(path: Path, found: list[Problem]) -> None:
    """Raise AkitError that names the first problem of a file, if there is one."""
    if found:
        raise AkitError(f"{path}: {found[0]}")
