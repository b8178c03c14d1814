"""A bundle predicts in an environment with the packages of the image, and with all connections refused."""

import csv
import os
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest

from acoustic_kit.ensemble.run_blend import blend_runs
from acoustic_kit.prediction import predict_clips
from acoustic_kit.prediction.bundle import make_bundle
from acoustic_kit.prediction.bundle.image import Image
from acoustic_kit.runs.run import list_runs
from acoustic_kit.workspace.workspace import Workspace

NO_SOCKETS = """
import socket
def refuse(*args, **kwargs): raise OSError("a connection was attempted")
socket.socket.connect = socket.socket.connect_ex = socket.getaddrinfo = refuse
"""


@pytest.fixture
def python(tmp_path: Path) -> Path:
    """Python of a new environment, above that of AKIT_IMAGE, which is made if it is missing: minutes and gigabytes."""
    if "AKIT_IMAGE" not in os.environ:
        pytest.skip("name a folder, for an environment of the packages of image.toml, in AKIT_IMAGE")
    below, image = Path(os.environ["AKIT_IMAGE"]), Image.listed()
    if not below.is_dir():
        subprocess.run([f"python{image.python}", "-m", "venv", below], check=True)
        packages = [f"{name}=={version}" for name, version in image.packages.items()]
        subprocess.run([below / "bin" / "pip", "install", "-q", *packages], check=True)
    above = tmp_path / "environment"
    subprocess.run([below / "bin" / "python", "-m", "venv", above], check=True)
    (packages_above,) = above.glob("lib/python*/site-packages")
    (packages_below,) = below.absolute().glob("lib/python*/site-packages")
    (packages_above / "image.pth").write_text(f"{packages_below}\n")
    return above / "bin" / "python"


@pytest.mark.slow
def test_the_csv_is_that_of_the_workspace(
    trained: Workspace, new_files: dict[str, Path], python: Path, tmp_path: Path
) -> None:
    workspace = Workspace.find(shutil.copytree(trained.root, tmp_path / "work"))
    blend_runs(workspace, runs=[run.name for run in list_runs(workspace.runs_path)], name="first")
    inputs = tmp_path / "input"
    made = make_bundle("first", inputs / "bundle", workspace.root)
    (inputs / "birds" / "test_audio").mkdir(parents=True)
    for path in new_files.values():
        shutil.copy(path, inputs / "birds" / "test_audio")
    classes = list(workspace.config.classes)
    with (inputs / "birds" / "sample_submission.csv").open("w", newline="") as file:
        names = [path.name for path in new_files.values()]
        csv.writer(file).writerows([["id", *classes], *([name, *([0.5] * len(classes))] for name in names)])
    script = made.path / "predict.py"
    script.write_text(script.read_text().replace('"/kaggle/input"', repr(str(inputs))))
    (tmp_path / "blocked").mkdir()
    (tmp_path / "blocked" / "sitecustomize.py").write_text(NO_SOCKETS)
    environment = {**os.environ, "PYTHONPATH": str(tmp_path / "blocked")}
    done = subprocess.run([python, script], cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    expected = predict_clips(workspace.submissions_path / "first.json", new_files, trust=True)
    with (tmp_path / "submission.csv").open(newline="") as file:
        header, *rows = csv.reader(file)
    assert header == ["id", *classes]
    assert [row[0] for row in rows] == names
    found = np.array([row[1:] for row in rows], dtype=float)
    np.testing.assert_allclose(found, expected.probabilities, rtol=0, atol=1e-6)
