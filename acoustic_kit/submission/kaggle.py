"""Hand in submissions with the `kaggle` command, and look up their status.

Its exit code is unreliable: versions before 2.2 print "Could not find competition …", "Could not submit to competition"
or "403 - Forbidden" and exit with 0. A submission counts as handed in if the server's answer says so or the
competition's list shows it.
"""

from __future__ import annotations

import csv
import datetime
import re
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path

from acoustic_kit.errors import SubmissionError

CONFIRMED = re.compile(r"successfully submitted|submission ref: *\d", re.IGNORECASE)
REFUSED = re.compile(
    r"could not|unsuccessful|unauthorized|forbidden|denied|limit|deadline|not found|accept .*rules|^error|^[45]\d\d\b",
    re.IGNORECASE | re.MULTILINE,
)
LOOKUP_DELAYS = (0.0, 3.0, 6.0)  # seconds to wait before each look-up of the list, which may be delayed
CLOCK_TOLERANCE = datetime.timedelta(minutes=10)  # largest difference between Kaggle's clock and this machine's
LOOKUP_TIMEOUT = 60.0  # timeout of the look-up


@dataclass(frozen=True)
class HandIn:
    """Output of the `kaggle` command for a submission, and its row in the competition's list."""

    said: str
    status: str | None  # pending, complete, error, …; None if the list cannot be read or does not show it
    public: float | None  # score


def hand_in(kaggle: str, path: Path, message: str, competition: str | None) -> HandIn:
    """Hand in a file with the command `kaggle`.

    `competition` is Kaggle's short name for it; None is the command's own default. Raises SubmissionError, with the
    command's output, if it failed, printed a refusal, or if nothing shows that the file was accepted.
    """
    started = datetime.datetime.now(datetime.UTC)
    named = [competition] if competition else []
    # with =, as a message may begin with a dash
    command = [kaggle, "competitions", "submit", *named, f"--file={path.resolve()}", f"--message={message}"]
    done = subprocess.run(command, capture_output=True, text=True, errors="replace", check=False)
    said = _readable(done.stdout + done.stderr)
    if done.returncode:
        raise SubmissionError(f"The kaggle command failed with exit code {done.returncode}: {said or 'no output'}")
    confirmed = CONFIRMED.search(said)
    if not confirmed and REFUSED.search(said):
        raise SubmissionError(f"{path} was not submitted. Output of the kaggle command: {said}")
    row = _look_up([kaggle, "competitions", "submissions", *named, "-v"], path.name, message, started)
    if not confirmed and row is None:
        raise SubmissionError(
            f"Nothing shows that {path} was submitted. Output of the kaggle command: {said or 'none'}\n"
            "Check the competition's page before you submit it again."
        )
    status = (row or {}).get("status", "").rpartition(".")[2].lower() or None
    return HandIn(said, status, _number((row or {}).get("publicScore", "")))


def _look_up(command: list[str], name: str, message: str, started: datetime.datetime) -> dict[str, str] | None:
    """Return the newest row of the competition's list with this file and message, unless it is older than `started`."""
    for wait in LOOKUP_DELAYS:
        time.sleep(wait)
        rows = _listed(command)
        if rows is None:
            return None
        for row in rows:  # newest first
            when = _time(row.get("date", ""))
            if (
                row.get("fileName") == name
                and row.get("description", "") == message
                and when
                and (when > started - CLOCK_TOLERANCE)
            ):
                return row
    return None


def _listed(command: list[str]) -> list[dict[str, str]] | None:
    """Return the rows of the competition's list; None if the command does not print one."""
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, errors="replace", check=False, timeout=LOOKUP_TIMEOUT
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    lines = done.stdout.splitlines()
    header = next((i for i, line in enumerate(lines) if "fileName" in line.split(",")), None)
    if done.returncode or header is None:
        return None
    return [{key: value or "" for key, value in row.items() if key} for row in csv.DictReader(lines[header:])]


def _time(text: str) -> datetime.datetime | None:
    try:
        found = datetime.datetime.fromisoformat(text)
    except ValueError:
        return None
    return found if found.tzinfo else found.replace(tzinfo=datetime.UTC)


def _number(text: str) -> float | None:
    return float(text) if re.fullmatch(r"-?\d+(\.\d+)?", text) else None


def _readable(text: str) -> str:
    """Return the printed text without the intermediate states of a progress bar."""
    lines = (line.rpartition("\r")[2].strip() for line in text.replace("\r\n", "\n").split("\n"))
    return "\n".join(filter(None, lines))
