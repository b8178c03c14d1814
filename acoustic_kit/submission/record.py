"""The JSON beside a submission: what was blended, how, what it scored, and what became of it.

With the runs that it names, `akit blend --from` makes the same file again. It is read as untrusted: pydantic checks it,
and nothing in it is a path.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, FiniteFloat, ValidationError

from acoustic_kit.errors import AkitError, UsageError
from acoustic_kit.files import file_sha256, read_regular, write_atomically


class _Record(BaseModel):
    model_config = ConfigDict(frozen=True)


class Member(_Record):
    """A run, or one fold's model of it, in a blend."""

    name: str = Field(pattern=r"^\w[\w.-]*$")  # of the run
    fold: str | None = Field(None, pattern=r"^\w[\w.-]*$")  # of the fold model; None for the whole run
    recipe: str
    weight: FiniteFloat = Field(ge=0)
    optimistic: list[str]
    test_sha256: str  # of the predictions that were blended

    @property
    def label(self) -> str:
        """How people name it."""
        return self.name if self.fold is None else f"{self.name}/{self.fold}"


class BestRun(_Record):
    """The best candidate by its own score."""

    name: str
    score: FiniteFloat


class Scores(_Record):
    """What a blend is worth in its metric, on out-of-fold predictions."""

    out_of_fold: FiniteFloat  # on the predictions that chose it
    nested: FiniteFloat | None  # chosen on some folds, scored on the others; None where that was impossible
    interval: list[FiniteFloat | None]  # 95 % of the nested score
    best_run: BestRun
    mean_of_all: FiniteFloat
    scored_on: str = ""  # `fold 2, 9,981 of 94,824 training clips`; empty if these are all


class Sidecar(_Record):
    """What `submissions/<name>.json` holds."""

    submission: str
    sha256: str  # of the CSV
    metric: str
    method: str  # that was asked for
    by: Literal["run", "fold"] = "run"
    seed: int
    runs: list[Member] = Field(min_length=1)
    candidates: list[str]
    blend: dict[str, Any]  # how the members are combined: `blending.Blend.to_dict`
    scores: Scores | None
    template: str | None
    template_sha256: str | None
    akit: str
    created: str
    submitted: list[str] = []  # when it was handed to the competition, ISO 8601
    public: FiniteFloat | None = None  # the leaderboard's score
    note: str = ""

    def write(self, path: Path) -> None:
        """Write it to `path`, at once or not at all."""
        write_atomically(path, self.model_dump_json(indent=2) + "\n")


def read_sidecar(path: Path) -> Sidecar:
    """Read what `Sidecar.write` wrote. Raises AkitError where it is not there or not such a file."""
    try:
        return Sidecar.model_validate_json(read_regular(path))
    except OSError as error:
        raise AkitError(f"{path} cannot be read: {error.strerror}.") from error
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"])) or "the file"
        raise AkitError(f"{path} says not how a submission was made: {where}: {first['msg']}.") from error


def checked_name(name: str) -> str:
    """Return the name of a submission without `.csv`. Raises UsageError for one that names no file."""
    name = name.removesuffix(".csv")
    if not re.fullmatch(r"\w[\w.-]*", name):
        raise UsageError(f"--name {name!r}: use letters, digits, dots, dashes and underscores.")
    return name


class NameTakenError(AkitError):
    """Another submission has this name."""


def refuse_other(csv: Path, sha256: str) -> None:
    """Raise NameTakenError if a submission of other content than `sha256` has the name of `csv`.

    Its JSON counts too: it may hold a public score and a remark.
    """
    there = _described(csv)
    contents = {file_sha256(csv)} if csv.is_file() else set()
    contents |= {there.sha256 if isinstance(there, Sidecar) else ""} if there else set()
    if contents - {sha256}:
        known = [f"public score {there.public:g}"] if isinstance(there, Sidecar) and there.public is not None else []
        known += [f"handed in {there.submitted[-1][:10]}"] if isinstance(there, Sidecar) and there.submitted else []
        about = f" ({', '.join(known)})" if known else ""
        raise NameTakenError(f"{csv} exists and is another submission{about}; take another --name, or --overwrite")


def refuse_over_submission(out: Path) -> None:
    """Raise UsageError if `out` is a blend's CSV: its JSON would describe another file."""
    record = _described(out)
    if isinstance(record, Sidecar) and record.submission == out.name:
        raise UsageError(f"{out} is a submission that {out.with_suffix('.json')} describes. Write to another file.")


def what_became_of(csv: Path, sha256: str) -> dict[str, Any]:
    """What the record of a submission with this content says of it: when it was handed in, its public score, a note."""
    there = _described(csv)
    if not isinstance(there, Sidecar) or there.sha256 != sha256:
        return {}
    return {"submitted": there.submitted, "public": there.public, "note": there.note}


def _described(csv: Path) -> Sidecar | AkitError | None:
    """The record beside a submission; why it cannot be read; None if there is none."""
    path = csv.with_suffix(".json")
    try:
        return read_sidecar(path) if path.is_file() else None
    except AkitError as error:
        return error


def list_sidecars(folder: Path) -> list[tuple[str, Sidecar | AkitError]]:
    """All submissions of a workspace by name, oldest first; for one whose JSON cannot be read, why."""
    found: list[tuple[str, Sidecar | AkitError]] = []
    for path in folder.glob("*.json"):
        try:
            found.append((path.stem, read_sidecar(path)))
        except AkitError as error:
            found.append((path.stem, error))
    return sorted(found, key=lambda pair: (pair[1].created if isinstance(pair[1], Sidecar) else "", pair[0]))


def find_sidecar(folder: Path, name: str) -> Path:
    """The JSON of a submission by its name, or by the name of its CSV or JSON. Raises UsageError for an unknown one."""
    stem = Path(name).name.removesuffix(".csv").removesuffix(".json")
    path = folder / f"{stem}.json"
    if not path.is_file():
        known = ", ".join(sorted(p.stem for p in folder.glob("*.json"))) or "none yet"
        raise UsageError(f"There is no submission {name!r}; there are: {known}.")
    return path
