"""Fixtures that every test may use."""

import os
import shutil
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # as the command line sets it, before OpenMP is loaded

if TYPE_CHECKING:
    from acoustic_kit.workspace import Workspace

CHECKOUT = Path(__file__).parents[1]


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
def synthetic(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data set of generated sound in ESC-50's layout: 3 classes, 5 folds, 60 clips of half a second."""
    from acoustic_kit.datasets import make_synthetic

    folder = tmp_path_factory.mktemp("synthetic")
    make_synthetic(folder, n_classes=3, clips_per_class=20, seconds=0.5, sample_rate=8000)
    return folder


@pytest.fixture(scope="session")
def built(synthetic: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A workspace of `synthetic` with fold 5 kept aside and `stats` built; copy it before you change it."""
    from acoustic_kit.features import Stats, build_features
    from acoustic_kit.workspace import init_workspace

    workspace = init_workspace(tmp_path_factory.mktemp("built") / "work", synthetic, test_folds=[5])
    build_features(workspace.manifest, workspace.data_root, workspace.store(), [Stats()])
    return workspace.root


@pytest.fixture
def workspace(built: Path, tmp_path: Path) -> "Workspace":
    """A copy of `built`, to do with as one likes."""
    from acoustic_kit.workspace import Workspace

    return Workspace.find(shutil.copytree(built, tmp_path / "work"))
