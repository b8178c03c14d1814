"""Secondary labels: reading cells, and the labels and soft targets that they become."""

import pytest

from acoustic_kit.data.secondary import Secondary, read_label_list
from acoustic_kit.errors import DataError, UsageError

CLASSES = ["wren", "robin", "owl"]


@pytest.mark.parametrize(
    ("cell", "labels"),
    [
        ("['wren', 'robin']", ["wren", "robin"]),
        ('["wren", "robin"]', ["wren", "robin"]),
        ("""["Anna's hummingbird", 'a "quoted" one']""", ["Anna's hummingbird", 'a "quoted" one']),
        (r"['it\'s']", ["it's"]),
        ("['wren' 'robin']", ["wren", "robin"]),
        ("[wren, robin]", ["wren", "robin"]),
        ("wren;robin", ["wren", "robin"]),
        ("American robin, wren", ["American robin", "wren"]),
        ("['wren', 'wren']", ["wren"]),
        ("[]", []),
        ("['']", []),
        ("", []),
        (None, []),
    ],
)
def test_cell_of_labels(cell: str | None, labels: list[str]) -> None:
    assert read_label_list(cell) == labels


@pytest.mark.parametrize("cell", ["['wren'", "'wren']", "['wren', __import__('os')]", "['wren' + 'robin']"])
def test_damaged_list(cell: str) -> None:
    with pytest.raises(DataError, match="list of labels"):
        read_label_list(cell)


@pytest.mark.parametrize(
    ("option", "labels", "soft"),
    [
        ("positive", ["wren", "robin"], None),
        ("soft=0.3", ["wren"], [{"label": "robin", "target": 0.3}]),
        ("soft=.5", ["wren", "robin"], [{"label": "robin", "target": 0.5}]),
        ("mask", ["wren"], [{"label": "robin", "target": None}]),
        ("ignore", ["wren"], None),
    ],
)
def test_what_secondary_labels_become(option: str, labels: list[str], soft: list[dict] | None) -> None:
    found = Secondary.parse(option).targets(["wren"], ["robin", "wren", "robin", "no class"], CLASSES)
    assert found == (labels, soft)


@pytest.mark.parametrize("option", ["positive", "soft=0.3", "mask", "ignore"])
def test_clip_without_secondary_labels(option: str) -> None:
    assert Secondary.parse(option).targets(["wren"], [], CLASSES) == (["wren"], None)


@pytest.mark.parametrize("option", ["soft", "soft=0", "soft=1", "soft=x", "soft=nan", "mask=1", "none", ""])
def test_unknown_option(option: str) -> None:
    with pytest.raises(UsageError, match="soft=PROBABILITY"):
        Secondary.parse(option)
