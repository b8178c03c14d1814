import ast
import subprocess
import sys
from pathlib import Path

import pytest

import acoustic_store

PACKAGE = Path(acoustic_store.__file__).parent
ALLOWED = set(sys.stdlib_module_names) | {"numpy", "zarr", "google_crc32c", "acoustic_store"}


@pytest.mark.parametrize("path", sorted(PACKAGE.rglob("*.py")), ids=lambda path: path.name)
def test_the_store_imports_only_its_few_dependencies(path):
    imported = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            imported |= {alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.level == 0:
            imported.add((node.module or "").partition(".")[0])
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 1, f"{path.name} imports from outside its package"
    assert imported <= ALLOWED | ({"obstore"} if path.name in {"object_files.py", "lease.py"} else set())


def test_importing_the_store_imports_neither_zarr_nor_obstore():
    code = "import sys, acoustic_store; sys.exit(bool({'zarr', 'obstore'} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", code], cwd=PACKAGE.parent, check=False).returncode == 0


def test_without_obstore_the_error_names_the_extra():
    code = """
import sys
sys.modules["obstore"] = None
from acoustic_store import FeatureStore, StoreError
try:
    FeatureStore.open("s3://clips/features.zarr")
except StoreError as error:
    print(error)
"""
    process = subprocess.run(
        [sys.executable, "-c", code], cwd=PACKAGE.parent, capture_output=True, text=True, check=True
    )
    assert "pip install 'acoustic-kit[s3]'" in process.stdout
