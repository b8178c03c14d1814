"""Recipes as files: the modules beside them, their errors, and features of their own on their way elsewhere."""

import pickle
import shutil
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from acoustic_kit.errors import AkitError
from acoustic_kit.recipe.recipe import Recipe, load_recipe

HEADER = '''"""A recipe."""
import os, sys
sys.path.insert(0, os.path.dirname(__file__))
import numpy as np
import acoustic_kit as akit
'''
BODY = """
class Settings(akit.Settings):
    n: int = 3
def features(s): return {}
def train(fold, s): return 1
def predict(model, clips, s): return np.zeros((1, 2))
"""


def write(folder: Path, text: str = BODY, name: str = "mine", **helpers: str) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for helper, content in helpers.items():
        (folder / f"{helper}.py").write_text(content)
    path = folder / f"{name}.py"
    path.write_text(HEADER + text)
    return path


# Modules beside a recipe


def test_what_a_recipe_imports_from_beside_it_belongs_to_it(tmp_path: Path) -> None:
    path = write(
        tmp_path, "import _akit_one\n" + BODY, _akit_one="from _akit_two import X", _akit_two="X = 1", unused="Y = 2"
    )
    before = load_recipe(path)
    assert set(before.file.helper_digests) == {"_akit_one.py", "_akit_two.py"}
    (tmp_path / "_akit_two.py").write_text("X = 2")
    after = load_recipe(path)
    assert after.file.helper_digests["_akit_one.py"] == before.file.helper_digests["_akit_one.py"]
    assert after.file.helper_digests["_akit_two.py"] != before.file.helper_digests["_akit_two.py"]
    assert (before.module._akit_one.X, after.module._akit_one.X) == (1, 2)


def test_recipes_in_two_folders_have_helpers_of_their_own(tmp_path: Path) -> None:
    found = [
        load_recipe(write(tmp_path / name, "import _akit_three\n" + BODY, _akit_three=f"X = {name!r}"))
        for name in ("a", "b")
    ]
    assert [recipe.module._akit_three.X for recipe in found] == ["a", "b"]


# Errors


def failing(tmp_path: Path, part: str) -> Recipe:
    return load_recipe(write(tmp_path, BODY + f"def {part}: return np.zeros(2)[5]\n"))


@pytest.mark.parametrize(
    "part", ["features(s)", "train(fold, s)", "predict(model, clips, s)", "build_model(s, n)", "search(trial)"]
)
def test_an_error_in_a_recipe_names_its_file_and_line(tmp_path: Path, part: str) -> None:
    recipe = failing(tmp_path, part)
    line = len((HEADER + BODY).splitlines()) + 1
    settings = recipe.settings()
    calls = {
        "features": lambda: recipe.features(settings),
        "train": lambda: recipe.train(SimpleNamespace(seed=0), settings),  # type: ignore[arg-type]
        "predict": lambda: recipe.predict(None, None, settings),  # type: ignore[arg-type]
        "build_model": lambda: recipe.build_model(2),
        "search": lambda: recipe.search(None),  # type: ignore[arg-type]
    }
    with pytest.raises(AkitError, match=rf"mine\.py, line {line}: IndexError: index 5"):
        calls[part.partition("(")[0]]()


def test_an_error_in_a_helper_names_the_helper(tmp_path: Path) -> None:
    path = write(
        tmp_path,
        BODY + "def train(fold, s):\n    import _akit_four\n    return _akit_four.f()",
        _akit_four="def f():\n    return {}['no']",
    )
    recipe = load_recipe(path)
    with pytest.raises(AkitError, match=r"_akit_four\.py, line 2: KeyError: 'no'"):
        recipe.train(SimpleNamespace(seed=0), recipe.settings())  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "call", ["raise MemoryError", "raise akit.errors.AkitError('why')", "read_parquet(Path('no'))"]
)
def test_errors_that_akit_knows_are_left_alone(tmp_path: Path, call: str) -> None:
    header = "import acoustic_kit.errors\nfrom acoustic_kit.tables import read_parquet\nfrom pathlib import Path\n"
    recipe = load_recipe(write(tmp_path, f"{header}{BODY}\ndef train(fold, s): {call}\n"))
    with pytest.raises((OSError, MemoryError, AkitError)) as raised:
        recipe.train(SimpleNamespace(seed=0), recipe.settings())  # type: ignore[arg-type]
    assert "mine.py" not in str(raised.value)


def test_a_file_that_a_recipe_lacks_is_told_with_the_line(tmp_path: Path) -> None:
    recipe = load_recipe(write(tmp_path, BODY + "def train(fold, s): return np.load('nothing.npy')\n"))
    with pytest.raises(AkitError, match=r"mine\.py, line \d+: FileNotFoundError: .*nothing\.npy"):
        recipe.train(SimpleNamespace(seed=0), recipe.settings())  # type: ignore[arg-type]


def test_a_file_that_is_no_text_is_told(tmp_path: Path) -> None:
    path = tmp_path / "mine.py"
    path.write_bytes(b"x = '\xff'")
    with pytest.raises(AkitError, match=r"mine\.py"):
        load_recipe(path)


# Features of their own

FEATURE = """
from dataclasses import dataclass
from typing import ClassVar
@dataclass(frozen=True)
class Own(akit.Feature):
    name: ClassVar[str] = "own"
    version: ClassVar[int] = 1
    wave: akit.Wave = akit.Wave()
    n: int = 3
    def compute(self, source): return source[: self.n] * {factor}
def features(s): return {{"x": Own(n=s.n)}}
"""


def test_recipe_feature_unpickles_without_loading_the_recipe(tmp_path: Path) -> None:
    recipe = load_recipe(write(tmp_path / "here", BODY + FEATURE.format(factor=2)))
    (tmp_path / "feature").write_bytes(pickle.dumps(recipe.features(recipe.settings({"n": 2}))["x"]))
    shutil.rmtree(tmp_path / "here")  # as on another machine
    code = (
        "import pickle, sys, numpy as np; f = pickle.load(open(sys.argv[1], 'rb')); print(f.key, f.compute(np.ones(9)))"
    )
    command = [sys.executable, "-c", code, str(tmp_path / "feature")]
    done = subprocess.run(command, check=False, capture_output=True, text=True)
    assert done.stdout.split("\n")[0] == f"{recipe.features(recipe.settings({'n': 2}))['x'].key} [2. 2.]", done.stderr


def test_its_helpers_travel_with_it(tmp_path: Path) -> None:
    text = "from _akit_five import FACTOR\n" + BODY + FEATURE.format(factor="FACTOR")
    recipe = load_recipe(write(tmp_path / "here", text, _akit_five="FACTOR = 7"))
    (tmp_path / "feature").write_bytes(pickle.dumps(recipe.features(recipe.settings())["x"]))
    shutil.rmtree(tmp_path / "here")
    code = "import pickle, sys, numpy as np; print(pickle.load(open(sys.argv[1], 'rb')).compute(np.ones(1)))"
    command = [sys.executable, "-c", code, str(tmp_path / "feature")]
    done = subprocess.run(command, check=False, capture_output=True, text=True)
    assert done.stdout.strip() == "[7.]", done.stderr


def test_two_versions_of_a_recipe_keep_their_own_features(tmp_path: Path) -> None:
    one = load_recipe(write(tmp_path / "one", BODY + FEATURE.format(factor=2)))
    two = load_recipe(write(tmp_path / "two", BODY + FEATURE.format(factor=5)))
    for recipe, factor in ((one, 2), (two, 5), (one, 2)):
        again = pickle.loads(pickle.dumps(recipe.features(recipe.settings())["x"]))
        assert again.compute(np.ones(1)).tolist() == [factor]


@pytest.mark.parametrize(
    ("old", "new"), [('"own"', '"stats"'), ("    version: ClassVar[int] = 1\n", ""), ('{"x": Own(n=s.n)}', '{"x": 3}')]
)
def test_a_feature_without_a_name_of_its_own_is_refused(tmp_path: Path, old: str, new: str) -> None:
    text = FEATURE.format(factor=1)
    assert old in text
    recipe = load_recipe(write(tmp_path, BODY + text.replace(old, new)))
    with pytest.raises(AkitError, match=r"mine\.py"):
        recipe.features(recipe.settings())
