"""Windows: the clips that a recording is divided into, and their ids."""

from __future__ import annotations

import math
import re
from functools import lru_cache
from pathlib import PurePosixPath
from typing import NamedTuple, Self

from pydantic import BaseModel, ConfigDict, Field, FiniteFloat, ValidationError, field_validator

from acoustic_kit.errors import UsageError

ID_FORMAT = "{stem}_{end}"  # BirdCLEF's row_id

_SLIVER = 0.05  # of a window; a shorter rest of a recording, such as the padding of an MP3, is no window of its own
_PLACES = {"stem": "[^/]+", "path": ".+", "start": r"\d+(?:\.\d+)?", "end": r"\d+(?:\.\d+)?"}
_PLACE = re.compile(r"\{(\w*)\}")


class WindowId(NamedTuple):
    """The parts of a window's id."""

    recording: str  # its stem, or its path without extension
    start: float | None  # s; None if the format does not contain it
    end: float | None


class Windows(BaseModel):
    """How recordings are divided into windows.

    >>> windows = Windows(length=5, hop=2.5)
    >>> windows.spans(9)
    [(0.0, 5.0), (2.5, 7.5), (5.0, 10.0)]
    >>> windows.id_of("audio/dawn.ogg", 2.5, 7.5)
    'dawn_7.5'

    Parameters
    ----------
    length : s
    hop : from the start of a window to that of the next one, s
    id_format : text with `{stem}` (name of the file without extension) or `{path}` (path without extension), and
        `{start}` or `{end}` (s)

    """

    model_config = ConfigDict(frozen=True)

    length: FiniteFloat = Field(gt=0)
    hop: FiniteFloat = Field(gt=0)
    id_format: str = ID_FORMAT

    @classmethod
    def checked(cls, length: float, hop: float | None = None, id_format: str = ID_FORMAT) -> Self:
        """Return windows as a user asks for them; `hop` is `length` by default. Raises UsageError for bad values."""
        try:
            return cls(length=length, hop=length if hop is None else hop, id_format=id_format)
        except ValidationError as error:
            first = error.errors()[0]
            option = {"length": "--window", "hop": "--hop", "id_format": "--id-format"}[str(first["loc"][0])]
            reason = first["msg"].removeprefix("Value error, ")
            raise UsageError(f"{option} {first['input']}: {reason}.") from error

    @field_validator("id_format")
    @classmethod
    def _tells_windows_apart(cls, text: str) -> str:
        names = _PLACE.findall(text)
        if not set(names) <= _PLACES.keys() or len(set(names)) < len(names) or re.search(r"[{}]", _PLACE.sub("", text)):
            raise ValueError(f"write each of {', '.join(f'{{{name}}}' for name in _PLACES)} at most once")
        if len({"stem", "path"} & set(names)) != 1 or not {"start", "end"} & set(names):
            raise ValueError("write {stem} or {path}, and {start} or {end}")
        if "}{" in text:
            raise ValueError("write a character between two placeholders")
        return text

    def spans(self, duration: float) -> list[tuple[float, float]]:
        """Return start and end (s) of the windows of a recording of `duration` seconds, in order.

        A window begins at each multiple of `hop` until one reaches the end of the recording. So the last one may end
        after the recording does. A rest shorter than a twentieth of a window is left out.
        """
        rest = self.length * _SLIVER
        to_the_end = 1 + math.ceil((duration - self.length - rest) / self.hop)
        n = max(1, min(to_the_end, math.ceil((duration - rest) / self.hop)))  # with gaps, none begins after the end
        return [self._span(k) for k in range(n)]

    def _span(self, k: int) -> tuple[float, float]:
        start = k * self.hop
        return round(start, 9), round(start + self.length, 9)

    def id_of(self, path: str, start: float, end: float) -> str:
        """Return the id of a window of the recording at `path`, with /."""
        values = {**_names(path), "start": _seconds(start), "end": _seconds(end)}
        return _PLACE.sub(lambda place: values[place[1]], self.id_format)

    def parse(self, id: str) -> WindowId | None:
        """Return the parts of an id; None if it does not have the format."""
        parts = _PLACE.split(self.id_format)  # text, name, text, name, …, text
        pattern = "".join(f"(?P<{part}>{_PLACES[part]})" if i % 2 else re.escape(part) for i, part in enumerate(parts))
        if not (match := re.fullmatch(pattern, id)):
            return None
        found = match.groupdict()
        start, end = (float(found[name]) if name in found else None for name in ("start", "end"))
        return WindowId(found.get("stem") or found["path"], start, end)


@lru_cache(maxsize=1)
def _names(path: str) -> dict[str, str]:
    plain = PurePosixPath(path).with_suffix("")
    return {"stem": plain.name, "path": plain.as_posix()}


def _seconds(value: float) -> str:
    """Return seconds as ids have them: 5, 7.5."""
    return f"{value:.6f}".rstrip("0").rstrip(".")
