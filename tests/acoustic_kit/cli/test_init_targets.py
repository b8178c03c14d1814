"""Options of `akit init` about targets, and what it and `akit data inspect` say of them."""

import json
import shutil
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from acoustic_kit.cli import app


def akit(*arguments: object, code: int = 0) -> Result:
    result = CliRunner().invoke(app, list(map(str, arguments)))
    assert result.exit_code == code, result.output
    return result


@pytest.fixture
def data(synthetic: Path, tmp_path: Path) -> Path:
    """Twelve clips of the classes a and b, with weights and lists of secondary labels, and `soft.csv` beside them."""
    (tmp_path / "data").mkdir()
    for i, path in enumerate(sorted(synthetic.rglob("*.wav"))[:12]):
        shutil.copyfile(path, tmp_path / "data" / f"{i}.wav")
    rows = [f"{i},{'ab'[i % 2]},{1 + i % 3},\"['b', 'x']\"" for i in range(12)]
    (tmp_path / "data" / "train.csv").write_text("\n".join(["id,primary_label,weight,secondary_labels", *rows, ""]))
    (tmp_path / "soft.csv").write_text("id,a\n1,0.7\n3,\n")
    return tmp_path / "data"


def test_init_and_inspect_show_targets(data: Path, tmp_path: Path) -> None:
    options = ["--secondary", "soft=0.3", "--soft-targets", tmp_path / "soft.csv", "--n-folds", 2]
    printed = akit("init", tmp_path / "work", "--data", data, *options).output
    for text in ("7 in 7 clips", "1 in 1 clips", "1 – 3", "soft targets", "unknown targets"):
        assert text in printed
    targets = json.loads(akit("-C", tmp_path / "work", "data", "inspect", "--json").stdout)["targets"]
    assert (targets["soft"], targets["unknown"], targets["weights"]) == (7, 1, [1.0, 3.0])


def test_invalid_use_of_secondary_labels(data: Path, tmp_path: Path) -> None:
    assert "soft" in akit("init", tmp_path / "work", "--data", data, "--secondary", "soft", code=2).stderr
    assert not (tmp_path / "work").exists()
