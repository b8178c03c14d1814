"""Fixtures that every test may use."""

import hashlib
import io
import json
import logging
import os
import shutil
import urllib.request
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # as the command line sets it, before OpenMP is loaded

if TYPE_CHECKING:
    from acoustic_kit.workspace.workspace import Workspace

CHECKOUT = Path(__file__).parents[1]
# In JSON: what no two runs have in common. `combined_from` has digests of records that hold seconds.
VOLATILE = {"created", "seconds", "train_seconds", "combined_from"}


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Tests marked `gpu` need a CUDA device."""
    if item.get_closest_marker("gpu"):
        import torch

        if not torch.cuda.is_available():
            pytest.skip("there is no CUDA device")


@pytest.fixture(scope="session")
def esc10() -> Path:
    """The folder of the 400 real clips of ESC-10, in ESC-50's layout; the test is skipped where it is missing."""
    folder = Path(os.environ.get("AKIT_ESC10", CHECKOUT.parent / "shared" / "data" / "esc10"))
    if not (folder / "meta" / "esc50.csv").is_file():
        pytest.skip(f"ESC-10 is not at {folder}; name its folder in AKIT_ESC10")
    return folder


@pytest.fixture(scope="session")
def originals() -> Callable[[str], dict[str, Any]]:
    """A function that reads figures of an original solution by file name; the test is skipped if they are missing."""
    folder = Path(os.environ.get("AKIT_SPECS", CHECKOUT.parent / "shared" / "specs" / "reference"))

    def read(name: str) -> dict[str, Any]:
        path = folder / name
        if not path.is_file():
            pytest.skip(f"{path} is missing; name the folder of the reference figures in AKIT_SPECS")
        if path.suffix == ".json":
            figures: dict[str, Any] = json.loads(path.read_text("utf-8"))
            return figures
        import numpy as np

        return dict(np.load(path))

    return read


@pytest.fixture(scope="session")
def synthetic(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data set of generated sound in ESC-50's layout: 3 classes, 5 folds, 60 clips of half a second."""
    from acoustic_kit.data import make_synthetic

    folder = tmp_path_factory.mktemp("synthetic")
    make_synthetic(folder, n_classes=3, clips_per_class=20, seconds=0.5, sample_rate=8000)
    return folder


@pytest.fixture(scope="session")
def built(synthetic: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A workspace of `synthetic` with fold 5 kept aside and `stats` built; copy it before you change it."""
    from acoustic_kit.features import Stats, build_features
    from acoustic_kit.workspace.init import init_workspace

    workspace = init_workspace(tmp_path_factory.mktemp("built") / "work", synthetic, test_folds=[5])
    build_features(workspace.manifest, workspace.data_root, workspace.store(), [Stats()])
    return workspace.root


@pytest.fixture
def workspace(built: Path, tmp_path: Path) -> "Workspace":
    """A copy of `built`, to do with as one likes."""
    from acoustic_kit.workspace.workspace import Workspace

    return Workspace.find(shutil.copytree(built, tmp_path / "work"))


@pytest.fixture(scope="session")
def tiny_ast(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkpoint of ASTForAudioClassification for inputs of (64, 32), 32 wide, two layers. Copy it to change it."""
    import torch
    from transformers import ASTConfig, ASTFeatureExtractor, ASTForAudioClassification

    torch.manual_seed(0)
    shape = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 64}
    model = ASTForAudioClassification(ASTConfig(**shape, max_length=64, num_mel_bins=32))
    with torch.no_grad():
        for parameter in model.parameters():  # transformers starts tokens and biases at 0: too easy to get right
            parameter.add_(0.1 * torch.randn_like(parameter))
    folder = tmp_path_factory.mktemp("tiny_ast")
    model.save_pretrained(folder)
    ASTFeatureExtractor(num_mel_bins=32, max_length=64).save_pretrained(folder)
    return folder


def _lasting(path: Path) -> object:
    """What of a file is the same each time that it is made."""
    content = path.read_bytes()
    if path.suffix == ".json" and path.parent.name != "features.zarr" and "features.zarr" not in path.parts:
        return _without_times(json.loads(content))
    if path.suffix == ".jsonl":
        return [_without_times(json.loads(line)) for line in content.splitlines()]
    if path.suffix == ".skops":  # names and references are addresses in memory: the arrays are what there is to compare
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            return sorted(hashlib.sha256(archive.read(n)).hexdigest() for n in archive.namelist() if n.endswith(".npy"))
    return hashlib.sha256(content).hexdigest()


def _without_times(value: object) -> object:
    if isinstance(value, dict):
        return {key: _without_times(held) for key, held in value.items() if key not in VOLATILE}
    return [_without_times(item) for item in value] if isinstance(value, list) else value


@pytest.fixture(scope="session")
def tree() -> Callable[[Path], dict[str, object]]:
    """Every file and folder below one, with what lasts of its content: bytes, but for times and memory addresses."""

    def found(root: Path) -> dict[str, object]:
        paths = sorted(root.rglob("*"))
        return {str(path.relative_to(root)): None if path.is_dir() else _lasting(path) for path in paths}

    return found


@pytest.fixture(scope="session")
def bucket() -> Iterator[str]:
    """A bucket on a server of this process; its endpoint and credentials are in the environment."""
    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    from moto.server import ThreadedMotoServer

    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("AWS_ENDPOINT_URL", f"http://{host}:{port}")
        patch.setenv("AWS_ACCESS_KEY_ID", "id")
        patch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
        patch.setenv("AWS_REGION", "us-east-1")
        with urllib.request.urlopen(urllib.request.Request(f"http://{host}:{port}/clips", method="PUT")):
            pass
        yield "clips"
    server.stop()
