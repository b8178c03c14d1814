"""A worker process that dies is told with the clip it was on, and the build goes on."""

import json
import os
import shutil
import signal
import subprocess
import sys
from multiprocessing import active_children
from pathlib import Path

import pytest

from acoustic_kit.features import Feature, Wave, build_features
from acoustic_kit.workspace.workspace import Workspace
from acoustic_store import FeatureStore

# A feature that kills its process, as often as there are files in a folder, at the clip that `at` says.
SCRIPT = """
import json, os, signal, sys
from dataclasses import dataclass, field
from pathlib import Path
import numpy as np
from acoustic_kit.features import Feature, Wave, build_features
from acoustic_kit.workspace import Workspace
from acoustic_store import FeatureStore

@dataclass(frozen=True)
class Deadly(Feature):
    name, version = "deadly", 1
    wave: Wave = Wave()
    at: float = 0.0

    def compute(self, source):
        if float(source[100]) == self.at:
            for charge in Path(os.environ["CHARGES"]).iterdir():
                charge.unlink()
                if charge.name == "memory":
                    raise MemoryError
                os.kill(os.getpid(), signal.SIGKILL)
        return source[:3]

def build(workers, *charges):
    for name in charges:
        (Path(os.environ["CHARGES"]) / name).touch()
    report = build_features(workspace.manifest, workspace.data_root, store, [feature], workers=workers)[-1]
    print(json.dumps([report.built, report.retried, report.failures]))

if __name__ == "__main__":
    workspace = Workspace.find(Path(sys.argv[1]))
    wave = workspace.store()[Wave().key].read(sys.argv[2])
    feature = Deadly(at=float(wave[100]))
    store = workspace.store()
    build(1, "a", "b")
    build(1)
    store.delete(feature.key)
    build(1, "memory")
"""

# Workers that die before they compute a clip: they execute the script, in which the feature is defined.
STARVED = """
import os, sys
from pathlib import Path
from acoustic_kit.errors import AkitError
from acoustic_kit.features import Wave, build_features
from acoustic_kit.workspace import Workspace

class Own(Wave):
    name = "own"

if __name__ == "__main__":
    workspace = Workspace.find(Path(sys.argv[1]))
    try:
        build_features(workspace.manifest, workspace.data_root, workspace.store(), [Own()], workers=2)
    except AkitError as error:
        print(error)
else:
    os._exit(3)
"""


@pytest.mark.slow
def test_clip_that_kills_two_workers_is_skipped_then_retried(built: Path, tmp_path: Path) -> None:
    copy = shutil.copytree(built, tmp_path / "work")
    id = Workspace.find(copy).manifest["id"][17]
    script, charges = tmp_path / "deadly.py", tmp_path / "charges"
    script.write_text(SCRIPT)
    charges.mkdir()
    found = subprocess.run(
        [sys.executable, script, copy, id],
        env={**os.environ, "CHARGES": str(charges)},
        capture_output=True,
        text=True,
        check=True,
    )
    twice, next_build, once = map(json.loads, found.stdout.splitlines())
    assert twice[0] == 60
    assert list(twice[2]) == [id]
    assert "was killed (SIGKILL)" in twice[2][id]
    assert next_build == [1, {}, {}]
    assert once == [60, {id: "ran out of memory"}, {}]


@pytest.mark.slow
def test_a_build_whose_worker_is_killed_ends_as_any_other(roomy: Path, tmp_path: Path) -> None:
    workspace = Workspace.find(roomy)
    whole, hit = (FeatureStore.open(tmp_path / name, create=True) for name in ("whole.zarr", "hit.zarr"))
    build_features(workspace.manifest, workspace.data_root, whole, [Wave()])
    victims = []

    def on_progress(feature: Feature, done: int, total: int) -> None:
        if not victims:
            processes = [process.pid for process in active_children()]
            for process in processes:
                os.kill(process, signal.SIGSTOP)
            if any(chunk.stat().st_size for chunk in hit.path.glob(f"{feature.key}/.partial/*/*/c.0")):
                victims.extend(processes)  # one has stored a row of its block, and so was at a clip
            for process in processes:
                os.kill(process, signal.SIGKILL if victims else signal.SIGCONT)

    (report,) = build_features(
        workspace.manifest, workspace.data_root, hit, [Wave()], workers=2, on_progress=on_progress
    )
    assert len(victims) == 2
    assert report.built == 600
    assert report.failures == {}
    assert 1 <= len(report.retried) <= 2
    assert set(report.retried) <= set(workspace.manifest["id"])
    files = [
        {path.relative_to(store.path): path.read_bytes() for path in store.path.rglob("*") if path.is_file()}
        for store in (whole, hit)
    ]
    assert files[0] == files[1]


@pytest.mark.slow
def test_repeated_worker_deaths_end_the_build_with_a_message(roomy: Path, tmp_path: Path) -> None:
    workspace = Workspace.find(roomy)
    script = tmp_path / "starved.py"
    script.write_text(STARVED)
    found = subprocess.run([sys.executable, script, roomy], capture_output=True, text=True, check=True)
    assert found.stdout.startswith("10 worker processes died one after another; the last ended with exit code 3")
    assert "fewer --workers" in found.stdout
    store = workspace.store()
    assert [len(store[key]) for key in store.keys() if key.startswith("own-")] == [0]  # noqa: SIM118
