"""The options with which `akit init` read a data set, for reading it again."""

from __future__ import annotations

from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, ValidationError

from acoustic_kit.data.dataset import CsvOptions
from acoustic_kit.data.windows import Windows
from acoustic_kit.errors import AkitError
from acoustic_kit.files import read_regular, write_atomically

INIT_NAME = "init.json"


class InitOptions(BaseModel):
    """Options with which `akit init` read the data set; stored in `init.json`."""

    model_config = ConfigDict(frozen=True)

    test_folds: list[int] = []
    unofficial: bool = False
    extra: str | None = None  # absolute
    windows: Windows | None = None  # into which recordings were divided; None: a clip is a file
    options: dict[str, Any] = {}  # other fields of `CsvOptions` that differ from their defaults

    def write(self, root: Path) -> None:
        """Write the options into a workspace."""
        write_atomically(root / INIT_NAME, self.model_dump_json(indent=2) + "\n")


def given_options(options: CsvOptions, data: Path) -> dict[str, Any]:
    """Return the fields of `options`, without `windows`, that differ from their defaults.

    A table outside of `data` is an absolute path.
    """
    options = replace(
        options, train_csv=_found_again(options.train_csv, data), soft_targets=_found_again(options.soft_targets, data)
    )
    return {name: value for name, value in asdict(options).items() if name in options.given() - {"windows"}}


def _found_again(table: str | None, data: Path) -> str | None:
    """Return the path of a table, absolute if the table is not in the data set's folder."""
    return table if table is None or (data / table).is_file() else str(Path(table).resolve())


def read_init_options(root: Path) -> InitOptions | None:
    """Return the options of a workspace; None for one of an older version. Raises AkitError if they cannot be read."""
    path = root / INIT_NAME
    if not path.exists():
        return None
    try:
        return InitOptions.model_validate_json(read_regular(path))
    except (OSError, ValidationError) as error:
        raise AkitError(f"{path} cannot be read. Delete it: the data set is then read without options.") from error
