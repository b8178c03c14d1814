"""Worker processes of scripts that guard against nothing, and of features that a script defines."""

import subprocess
import sys
from pathlib import Path

import pytest

from acoustic_kit.workspace.workspace import Workspace

BUILD = """
import sys
from pathlib import Path
import acoustic_kit as akit
from acoustic_kit.features import build_features
from acoustic_kit.workspace import Workspace
{feature}
print("begun")
{guard}workspace = Workspace.find(Path(sys.argv[1]))
{guard}(report, *_) = build_features(workspace.manifest, workspace.data_root, workspace.store(), [{name}], workers=1)
{guard}print(report.built, report.failures)
"""
OWN = """
from dataclasses import dataclass
@dataclass(frozen=True)
class Own(akit.Feature):
    name = "own"
    version = 1
    wave: akit.Wave = akit.Wave(sample_rate=9000)
    def compute(self, source): return source[:3]
"""
UNGUARDED = BUILD.format(feature="", guard="", name="akit.Wave(sample_rate=7000)")
OF_THE_SCRIPT = BUILD.format(feature=OWN, guard="if __name__ == '__main__': ", name="Own()")


@pytest.mark.parametrize("text", [UNGUARDED, OF_THE_SCRIPT], ids=["no guard", "a feature of its own"])
def test_a_script_builds_features_in_worker_processes(workspace: Workspace, tmp_path: Path, text: str) -> None:
    script = tmp_path / "script.py"
    script.write_text(text)
    command = [sys.executable, str(script), str(workspace.root)]
    done = subprocess.run(command, check=False, capture_output=True, text=True)
    assert f"{len(workspace.manifest)} {{}}" in done.stdout, done.stderr
    assert done.stdout.count("begun") == (1 if text == UNGUARDED else 2)
