"""Submissions of an open workspace."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from acoustic_kit.api.akit_warnings import warn
from acoustic_kit.ensemble.blend_submission import rebuild
from acoustic_kit.ensemble.competition import submit
from acoustic_kit.errors import AkitError
from acoustic_kit.submission.record import annotate, list_records

if TYPE_CHECKING:
    import polars as pl

    from acoustic_kit.api.session import Session
    from acoustic_kit.submission.kaggle import HandIn


class WorkspaceSubmissions:
    """The submissions that blends of a workspace wrote.

    >>> ws.submissions.note("first", public=0.913)
    """

    def __init__(self, session: Session) -> None:
        self._session = session

    def submit(self, path: str | Path, message: str, *, competition: str | None = None) -> HandIn:
        """Check a submission and submit it with the `kaggle` command.

        - `competition`: Kaggle's short name; default: `competition` in `akit.toml`

        Raises SubmissionError if it would be rejected, or is.
        """
        return submit(self._session.files, Path(path), message, competition)

    def list(self) -> pl.DataFrame:
        """Return all submissions, oldest first.

        The columns are `submission`, `metric`, `out_of_fold`, `nested` and `public` (scores), `submitted` and `note`.
        Those whose record cannot be read are left out with a warning.
        """
        import polars as pl

        rows = []
        for name, record in list_records(self._session.files.submissions_path):
            if isinstance(record, AkitError):
                warn(str(record))
                continue
            scores = (record.scores.out_of_fold, record.scores.nested) if record.scores else (None, None)
            submitted = record.submitted[-1].partition("T")[0] if record.submitted else None
            rows.append((name, record.metric, *scores, record.public, submitted, record.note))
        numbers = dict.fromkeys(("out_of_fold", "nested", "public"), pl.Float64())
        schema = {"submission": pl.String(), "metric": pl.String(), **numbers, "submitted": pl.String()}
        return pl.DataFrame(rows, {**schema, "note": pl.String()}, orient="row")

    def note(self, name: str, text: str | None = None, *, public: float | None = None) -> None:
        """Record a remark on a submission, or its score on the public leaderboard. Raises UsageError."""
        annotate(self._session.files.submissions_path, name, text, public)

    def rebuild(self, path: str | Path, name: str | None = None, *, overwrite: bool = False) -> Path:
        """Write the submission that a record (JSON) describes again, with the same bytes, and return the CSV.

        Parameters
        ----------
        path : the JSON
        name : of the new file; default: the name it had
        overwrite : replace another submission of this name

        Raises UsageError for a run that is missing, AkitError if its predictions are not those that were blended.

        """
        return rebuild(self._session.files_with_runs(), Path(path), name, overwrite=overwrite)
