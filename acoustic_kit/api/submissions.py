"""Submissions of an open workspace."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from acoustic_kit.api.session import warn
from acoustic_kit.ensemble.blend_submission import rebuild
from acoustic_kit.ensemble.competition import score_predictions, submit
from acoustic_kit.ensemble.pick_submissions import PUBLIC_FRACTION, Pick, pick_submissions
from acoustic_kit.submission.record import annotate, list_records
from acoustic_kit.workspace.workspace import Workspace

if TYPE_CHECKING:
    import polars as pl

    from acoustic_kit.api.session import Session
    from acoustic_kit.submission.kaggle import HandIn


def score(
    path: str | Path, truth: str | Path, metric: str | None = None, *, folder: str | Path = "."
) -> dict[str, float]:
    """Score predictions against a table of labels; needs no workspace.

    >>> akit.score("predictions.csv", "labels.csv", "map")["map"]

    Parameters
    ----------
    path : a CSV of ids, then one column of probabilities per class, or a column of labels
    truth : a CSV of ids, then one column per class (1, 0, or empty if unknown), or a column of labels
    metric : one more, such as a weighted sum
    folder : if it is in a workspace, the classes and the task are the workspace's; else those of the files

    Returns all metrics that the files allow, by name.

    Raises UsageError for a missing file, or a metric that does not fit; AkitError for ids or classes that only one of
    the files has, and for content that is invalid.

    """
    return score_predictions(Workspace.around(Path(folder)), Path(path), metric, Path(truth))


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
        for name, record in list_records(self._session.files.submissions_path, warn).items():
            scores = (record.scores.out_of_fold, record.scores.nested) if record.scores else (None, None)
            rows.append((name, record.metric, *scores, record.public, record.last_submitted, record.note))
        numbers = dict.fromkeys(("out_of_fold", "nested", "public"), pl.Float64())
        schema = {"submission": pl.String(), "metric": pl.String(), **numbers, "submitted": pl.String()}
        return pl.DataFrame(rows, {**schema, "note": pl.String()}, orient="row")

    def note(self, name: str, text: str | None = None, *, public: float | None = None) -> None:
        """Record a remark on a submission, or its score on the public leaderboard. Raises UsageError."""
        annotate(self._session.files.submissions_path, name, text, public)

    def pick(self, n: int = 2, *, public_fraction: float = PUBLIC_FRACTION, test_clips: int | None = None) -> Pick:
        """Choose the submissions whose best one has the highest expected score on the private board.

        >>> ws.submissions.pick(2).names
        ('first', 'third')

        Parameters
        ----------
        n : how many to choose
        public_fraction : fraction of the test clips that the public board scores, above 0 and below 1
        test_clips : their number, if the competition scores others than those of the manifest

        Raises UsageError for options out of range, SubmissionError for fewer than `n` submissions with a nested
        estimate in the workspace's metric on the same clips.

        """
        workspace = self._session.files_with_runs()
        return pick_submissions(
            workspace, n, public_fraction=public_fraction, test_clips=test_clips, on_unreadable=warn
        )

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
