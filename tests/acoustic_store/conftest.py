"""What the store's tests share."""

import importlib.util
import json
import os
import secrets
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

import acoustic_store
from acoustic_store import FeatureStore, StoredFeature, Writer
from acoustic_store.files import open_files

SCRIPT = Path(__file__).with_name("build_script.py")


@pytest.fixture(scope="session")
def script() -> ModuleType:
    """build_script.py as a module: the same clips, in this process."""
    spec = importlib.util.spec_from_file_location("build_script", SCRIPT)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="session")
def start() -> Callable[..., subprocess.Popen]:
    """Start build_script.py, or the code after ``-c``, in a process (and a process group) of its own."""
    package = str(Path(acoustic_store.__file__).parents[1])

    def started(*arguments: object) -> subprocess.Popen:
        command = map(str, arguments if arguments[0] == "-c" else (SCRIPT, *arguments))
        return subprocess.Popen(
            [sys.executable, *command],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env=os.environ | {"PYTHONPATH": package},
            start_new_session=True,
        )

    return started


@pytest.fixture(scope="session")
def tree() -> Callable[[Path | str], dict[str, bytes | None]]:
    """Every file below a folder, or ``s3://…``, with its bytes; every folder with None."""

    def listed(place: Path | str) -> dict[str, bytes | None]:
        if str(place).startswith("s3://"):
            files = open_files(place)
            return {name: files.read(name) for name in files.sizes()}
        folder = Path(place)
        return {
            str(path.relative_to(folder)): path.read_bytes() if path.is_file() else None for path in folder.rglob("*")
        }

    return listed


@pytest.fixture
def store(tmp_path: Path) -> FeatureStore:
    return FeatureStore.open(tmp_path / "features.zarr", create=True)


@pytest.fixture
def object_url(bucket: str) -> str:
    """Where nothing is yet."""
    return f"s3://{bucket}/{secrets.token_hex(4)}/features.zarr"


@pytest.fixture
def object_store(object_url: str) -> FeatureStore:
    return FeatureStore.open(object_url, create=True)


@pytest.fixture(params=["local", "object"])
def any_store(request: pytest.FixtureRequest) -> FeatureStore:
    """A store in a folder, then one in object storage: what one can do, the other can."""
    return request.getfixturevalue("store" if request.param == "local" else "object_store")


@pytest.fixture(scope="session")
def lose_block() -> Callable[[FeatureStore, str, int], None]:
    """Remove a block without the store."""

    def lost(store: FeatureStore, key: str, number: int) -> None:
        files = open_files(store.url) / key
        if store.url.startswith("s3://"):
            files.remove_block(number)
        else:
            shutil.rmtree(store.path / key / f"{number:06d}")

    return lost


@pytest.fixture(scope="session")
def expire_lease() -> Callable[[FeatureStore, str], None]:
    """Expire the lease of a writer that may have been killed; do nothing for local stores."""

    def expired(store: FeatureStore, key: str) -> None:
        files = open_files(store.url) / key
        if "://" not in store.url or ".lock" not in files.sizes():
            return
        files.write(".lock", json.dumps(json.loads(files.read(".lock")) | {"expires": 0}).encode())

    return expired


@pytest.fixture(scope="session")
def build() -> Callable[..., StoredFeature]:
    """Build clips (id → array or Failure) into a key and open it; ``fingerprints`` names those that are not "1"."""

    def built(store: FeatureStore, rows: dict, dtype: str = "float32", key: str = "x-1", **options) -> StoredFeature:
        fingerprints = options.pop("fingerprints", {})
        with store.writer(key, dtype, {}) as writer:
            write_all(writer, rows, fingerprints, options)
        return store[key]

    def write_all(writer: Writer, rows: dict[str, np.ndarray], fingerprints: dict[str, str], options: dict) -> None:
        clips = [(clip_id, fingerprints.get(clip_id, "1")) for clip_id in rows]
        for block in writer.plan(clips, **options):
            block.write(rows[clip_id] for clip_id, _ in block.clips)

    return built
