"""Windows of recordings, and their ids."""

import pytest

from acoustic_kit.data.windows import Windows
from acoustic_kit.errors import UsageError


@pytest.mark.parametrize(
    ("hop", "duration", "starts"),
    [
        (5, 60, [5.0 * k for k in range(12)]),
        (2.5, 60, [2.5 * k for k in range(23)]),
        (5, 12, [0, 5, 10]),
        (5, 3, [0]),
        (5, 0.01, [0]),
        (5, 10.2, [0, 5]),  # the padding of an MP3
        (2.5, 9, [0, 2.5, 5]),
        (10, 8, [0]),
        (10, 12, [0, 10]),
    ],
)
def test_windows_reach_the_end(hop: float, duration: float, starts: list[float]) -> None:
    spans = Windows(length=5, hop=hop).spans(duration)
    assert spans == [(start, start + 5) for start in starts]


def test_hop_with_many_digits_gives_short_ids() -> None:
    windows = Windows(length=0.3, hop=0.1)
    ids = [windows.id_of("a.wav", start, end) for start, end in windows.spans(0.6)]
    assert ids == ["a_0.3", "a_0.4", "a_0.5", "a_0.6"]


@pytest.mark.parametrize(
    ("id_format", "id", "parts"),
    [
        ("{stem}_{end}", "soundscape_1_5", ("soundscape_1", None, 5)),
        ("{path}-{start}-{end}", "x/dawn-2.5-7.5", ("x/dawn", 2.5, 7.5)),
        ("{start}@{stem}.wav", "0@dawn.wav", ("dawn", 0, None)),
    ],
)
def test_ids_are_parsed_as_they_are_formatted(id_format: str, id: str, parts: tuple) -> None:
    windows = Windows(length=5, hop=5, id_format=id_format)
    assert windows.parse(id) == parts
    recording, start, end = parts
    start = end - 5 if start is None else start
    assert windows.id_of(f"{recording}.ogg", start, start + 5) == id
    assert windows.parse("a") is None


@pytest.mark.parametrize(
    ("options", "names"),
    [
        ({"length": 0}, "--window 0"),
        ({"length": 5, "hop": -1}, "--hop -1"),
        ({"length": float("nan")}, "--window nan"),
        ({"length": 5, "id_format": "{stem}"}, "--id-format {stem}: write .*{start} or {end}"),
        ({"length": 5, "id_format": "{stem}{end}"}, "between two placeholders"),
        ({"length": 5, "id_format": "{stem}_{stop}"}, "at most once"),
        ({"length": 5, "id_format": "{stem}_{end}}"}, "at most once"),
    ],
)
def test_bad_options_are_named(options: dict, names: str) -> None:
    with pytest.raises(UsageError, match=names):
        Windows.checked(**options)
