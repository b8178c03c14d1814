"""Files from elsewhere never run code: pickles in the place of weights, models, tables and settings; lying headers."""

import json
import pickle
import shutil
import struct
from collections.abc import Callable
from pathlib import Path

import pytest
import skops.io
import torch
from sklearn.preprocessing import FunctionTransformer
from torchvision.models import ResNet34_Weights
from typer.testing import CliRunner

from acoustic_kit.cli.app import app
from acoustic_kit.errors import AkitError
from acoustic_kit.nn import load_imagenet, resnet34
from acoustic_kit.prediction import predict_clips
from acoustic_kit.recipe.recipe import load_recipe
from acoustic_kit.runs.runner import run_recipe
from acoustic_kit.training.checkpoint import load_state, load_tensors
from acoustic_kit.workspace.config import CONFIG_NAME
from acoustic_kit.workspace.workspace import Workspace


class Trap:
    """Leaves a file when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple:
        return (Path.touch, (self.path,))


@pytest.fixture
def trap(tmp_path: Path) -> Path:
    """A pickle that leaves `trapped` behind when it is loaded."""
    path = tmp_path / "trap"
    path.write_bytes(pickle.dumps(Trap(tmp_path / "trapped")))
    pickle.loads(path.read_bytes())
    (tmp_path / "trapped").unlink()  # it works
    return path


@pytest.fixture
def untouched(tmp_path: Path, trap: Path) -> Callable[[], None]:
    def check() -> None:
        assert not (tmp_path / "trapped").exists()

    return check


def header(document: object, tail: bytes = b"") -> bytes:
    text = json.dumps(document).encode()
    return struct.pack("<Q", len(text)) + text + tail


TENSOR = {"dtype": "F32", "shape": [4], "data_offsets": [0, 16]}
LYING = {
    "empty": b"",
    "a length beyond the file": struct.pack("<Q", 2**62) + b"{}",
    "no JSON": struct.pack("<Q", 4) + b"oops",
    "offsets beyond the file": header({"a": TENSOR | {"data_offsets": [0, 2**40]}}, b"\0" * 16),
    "a shape of more than there is": header({"a": TENSOR | {"shape": [2**40, 2**40]}}, b"\0" * 16),
    "negative": header({"a": TENSOR | {"shape": [-4]}}, b"\0" * 16),
    "two tensors in one place": header({"a": TENSOR, "b": TENSOR}, b"\0" * 16),
    "an unknown type": header({"a": TENSOR | {"dtype": "OBJECT"}}, b"\0" * 16),
}


@pytest.mark.parametrize("content", LYING.values(), ids=LYING.keys())
def test_tensors_with_a_lying_header_are_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "model.safetensors"
    path.write_bytes(content)
    for read in (load_tensors, load_state):
        with pytest.raises(AkitError, match=r"model\.safetensors"):
            read(path)


def test_a_pickle_in_the_place_of_weights_is_not_loaded(trap: Path, untouched: Callable[[], None]) -> None:
    for read in (load_tensors, load_state):
        with pytest.raises(AkitError, match=r"cannot be read as weights|holds no training state"):
            read(trap)
    untouched()


def test_pickle_in_place_of_imagenet_weights_is_not_loaded(
    tmp_path: Path, trap: Path, untouched: Callable[[], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path))
    weights = ResNet34_Weights.IMAGENET1K_V1
    cached = tmp_path / "checkpoints" / weights.url.rpartition("/")[2]
    cached.parent.mkdir()
    checkpoint = tmp_path / "checkpoint.pth"
    torch.save({"conv1.weight": Trap(tmp_path / "trapped")}, checkpoint)
    for bad in (trap, checkpoint):
        shutil.copy(bad, cached)
        with pytest.raises(AkitError, match=r"ImageNet weights .*\.pth"):
            load_imagenet(resnet34(), weights)
    untouched()


@pytest.fixture
def run_folder(workspace: Workspace) -> Path:
    run, _ = run_recipe(workspace, load_recipe("stats_pca_linear"), folds=["1"])
    return run.path


@pytest.mark.parametrize("what", ["a pickle", "a foreign type", "a zip of a pickle"])
def test_a_hostile_model_in_a_run_is_not_loaded(
    workspace: Workspace, run_folder: Path, tmp_path: Path, trap: Path, untouched: Callable[[], None], what: str
) -> None:
    model = run_folder / "folds" / "1" / "model.skops"
    if what == "a pickle":
        shutil.copy(trap, model)
    elif what == "a foreign type":
        skops.io.dump(FunctionTransformer(Path.touch, kw_args={"self": tmp_path / "trapped"}), model)
    else:
        torch.save(Trap(tmp_path / "trapped"), model)
    clip = next((workspace.data_root / "audio").iterdir())
    with pytest.raises(AkitError, match=r"model\.skops (cannot be read as|contains types)"):
        predict_clips(run_folder, {"clip": clip})
    untouched()


@pytest.mark.parametrize("name", ["run.json", "oof.parquet", "folds/1/fold.json"])
def test_a_pickle_in_the_place_of_a_record_is_not_loaded(
    workspace: Workspace, run_folder: Path, trap: Path, untouched: Callable[[], None], name: str
) -> None:
    shutil.copy(trap, run_folder / name)
    result = CliRunner().invoke(app, ["-C", str(workspace.root), "runs", "list"])
    assert "defect" not in result.stderr
    assert name.rpartition("/")[2] in result.stderr or "cannot be read" in result.stderr
    untouched()


def test_yaml_that_makes_objects_is_no_configuration(workspace: Workspace, untouched: Callable[[], None]) -> None:
    path = workspace.root / CONFIG_NAME
    path.write_text('!!python/object/apply:pathlib.Path.touch ["trapped"]\n')
    with pytest.raises(AkitError, match="is not valid TOML"):
        Workspace.find(workspace.root)
    untouched()


def test_a_recipe_from_outside_is_said_to_be_a_program(workspace: Workspace, tmp_path: Path) -> None:
    outside, inside = tmp_path / "foreign.py", workspace.root / "mine.py"
    for path in (outside, inside):
        shutil.copy(load_recipe("stats_pca_linear").path, path)
    said = {}
    for name in (str(outside), str(inside), "stats_pca_linear"):
        command = ["-C", str(workspace.root), "recipe", "run", name, "--set", "nothing=1"]  # stops before any work
        result = CliRunner().invoke(app, command)
        assert "has no setting 'nothing'" in result.stderr
        said[name] = result.stderr.count("comes from outside this workspace. A recipe is a program")
    assert list(said.values()) == [1, 0, 0]
