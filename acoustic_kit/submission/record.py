"""Metadata of a submission, stored as JSON beside it: members and method of the blend, scores, hand-ins, public score.

`akit blend --from` reproduces the submission from it and the runs that it names. The file is untrusted: pydantic
validates it, and nothing in it is used as a path.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, FiniteFloat, ValidationError

from acoustic_kit.errors import SubmissionError, UsageError
from acoustic_kit.files import file_sha256, read_regular, write_atomically


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True)


class Member(_Frozen):
    """A run, or one fold's model of it, in a blend."""

    name: str = Field(pattern=r"^\w[\w.-]*$")  # of the run
    fold: str | None = Field(None, pattern=r"^\w[\w.-]*$")  # of the fold model; None for the whole run
    recipe: str
    weight: FiniteFloat = Field(ge=0)
    optimistic: list[str]
    test_sha256: str  # of the predictions that were blended; empty without test clips

    @property
    def label(self) -> str:
        """The run's name, or `run/fold`."""
        return self.name if self.fold is None else f"{self.name}/{self.fold}"


class BestRun(_Frozen):
    """The best candidate by its own score."""

    name: str
    score: FiniteFloat


class Scores(_Frozen):
    """Scores of a blend in its metric, on out-of-fold predictions."""

    out_of_fold: FiniteFloat  # on the predictions that chose it
    nested: FiniteFloat | None  # chosen on some folds, scored on the others; None if impossible
    interval: list[FiniteFloat | None]  # 95 % of the nested score
    best_run: BestRun
    mean_of_all: FiniteFloat
    scored_on: str = ""  # `fold 2, 9,981 of 94,824 training clips`; empty if all


class SubmissionRecord(_Frozen):
    """Content of `submissions/<name>.json`."""

    submission: str
    sha256: str  # of the CSV; of the blend, if there are no test clips
    metric: str
    method: str  # as requested
    by: Literal["run", "fold"] = "run"
    seed: int
    runs: list[Member] = Field(min_length=1)
    candidates: list[str]
    blend: dict[str, Any]  # see `blending.Blend.to_dict`
    scores: Scores | None
    template: str | None
    template_sha256: str | None
    akit: str
    created: str
    submitted: list[str] = []  # times of hand-in, ISO 8601
    public: FiniteFloat | None = None  # score on the public leaderboard
    note: str = ""

    @property
    def remark(self) -> str:
        """The user's note, and which training clips the scores are of if not of all."""
        part = self.scores.scored_on if self.scores else ""
        return "; ".join(filter(None, [self.note, part and f"scores are of {part}"]))

    @property
    def last_submitted(self) -> str | None:
        """The date of the last hand-in, ISO 8601."""
        return self.submitted[-1].partition("T")[0] if self.submitted else None

    def write(self, path: Path) -> None:
        """Write the record to `path` atomically."""
        write_atomically(path, self.model_dump_json(indent=2) + "\n")


def read_record(path: Path) -> SubmissionRecord:
    """Read a submission record. Raises SubmissionError if it is missing or invalid."""
    try:
        return SubmissionRecord.model_validate_json(read_regular(path))
    except OSError as error:
        raise SubmissionError(f"{path} cannot be read: {error.strerror}.") from error
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"])) or "the file"
        raise SubmissionError(f"{path} is not a valid submission record: {where}: {first['msg']}.") from error


def checked_name(name: str) -> str:
    """Return the name of a submission without `.csv`. Raises UsageError if it is no valid file name."""
    name = name.removesuffix(".csv")
    if not re.fullmatch(r"\w[\w.-]*", name):
        raise UsageError(f"--name {name!r}: use letters, digits, dots, dashes and underscores.")
    return name


class NameTakenError(SubmissionError):
    """Another submission has this name."""


def refuse_other(csv: Path, sha256: str) -> None:
    """Raise NameTakenError if a submission with other content than `sha256` has the name of `csv`.

    Its record alone counts too, as it may contain a public score and a note.
    """
    record = _record_of(csv)
    contents = {file_sha256(csv)} if csv.is_file() else set()
    contents |= {record.sha256 if isinstance(record, SubmissionRecord) else ""} if record else set()
    if contents - {sha256}:
        known = []
        if isinstance(record, SubmissionRecord):
            known += [f"public score {record.public:g}"] if record.public is not None else []
            known += [f"handed in {record.submitted[-1][:10]}"] if record.submitted else []
        about = f" ({', '.join(known)})" if known else ""
        raise NameTakenError(f"{csv} exists and is another submission{about}; use another --name, or --overwrite")


def refuse_over_submission(out: Path) -> None:
    """Raise UsageError if `out` is a blend's CSV, as its record would then describe another file."""
    record = _record_of(out)
    if isinstance(record, SubmissionRecord) and record.submission == out.name:
        raise UsageError(f"{out} is a submission that {out.with_suffix('.json')} describes. Write to another file.")


def history_of(csv: Path, sha256: str) -> dict[str, Any]:
    """Return the hand-ins, public score and note in the record of a submission with this content; else nothing."""
    record = _record_of(csv)
    if not isinstance(record, SubmissionRecord) or record.sha256 != sha256:
        return {}
    return {"submitted": record.submitted, "public": record.public, "note": record.note}


def _record_of(csv: Path) -> SubmissionRecord | SubmissionError | None:
    """Return the record of a submission, the error if it cannot be read, or None if there is none."""
    path = csv.with_suffix(".json")
    try:
        return read_record(path) if path.is_file() else None
    except SubmissionError as error:
        return error


def list_records(folder: Path, on_unreadable: Callable[[str], None]) -> dict[str, SubmissionRecord]:
    """Return the records of all submissions of a workspace by name, oldest first.

    - `on_unreadable`: called with the reason why a record is left out
    """
    found = {}
    for path in sorted(folder.glob("*.json")):
        try:
            found[path.stem] = read_record(path)
        except SubmissionError as error:
            on_unreadable(str(error))
    return dict(sorted(found.items(), key=lambda pair: pair[1].created))


def find_record(folder: Path, name: str) -> Path:
    """Return the path of a record by the name of the submission, its CSV or its JSON. Raises UsageError if unknown."""
    stem = Path(name).name.removesuffix(".csv").removesuffix(".json")
    path = folder / f"{stem}.json"
    if not path.is_file():
        known = ", ".join(sorted(p.stem for p in folder.glob("*.json"))) or "none yet"
        raise UsageError(f"There is no submission {name!r}; known: {known}.")
    return path


def annotate(folder: Path, name: str, text: str | None = None, public: float | None = None) -> Path:
    """Record a remark on a submission, its public score, or both; return the JSON.

    Raises UsageError for an unknown name, neither of them, or a score that the metric cannot have.
    """
    from acoustic_kit.metrics.names import recorded_metric

    if text is None and public is None:
        raise UsageError("Nothing to record: give --public 0.913, a text, or both.")
    if public is not None and not math.isfinite(public):
        raise UsageError(f"--public {public}: write a finite number.")
    path = find_record(folder, name)
    record = read_record(path)
    metric = recorded_metric(record.metric)
    if public is not None and metric is not None and not metric.lowest <= public <= metric.highest:
        percent = f"; for a percentage, write --public {public / 100:.6g}" if 1 < public <= 100 else ""
        limits = f"between {metric.lowest:g} and {metric.highest:g}{percent if metric.highest == 1 else ''}"
        limits = f"at least {metric.lowest:g}" if math.isinf(metric.highest) else limits
        raise UsageError(f"--public {public:g}: {metric.name} is {limits}.")
    changes = {key: value for key, value in (("note", text), ("public", public)) if value is not None}
    record.model_copy(update=changes).write(path)
    return path
