"""What a skops file from elsewhere may be built of, node by node."""

import json
import zipfile
from collections.abc import Callable
from itertools import count
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import skops.io
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.ensemble import (
    ExtraTreesClassifier,
    GradientBoostingClassifier,
    HistGradientBoostingClassifier,
    RandomForestClassifier,
    StackingClassifier,
)
from sklearn.feature_selection import SelectKBest
from sklearn.linear_model import LogisticRegression
from sklearn.neighbors import KNeighborsClassifier
from sklearn.neural_network import MLPClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer
from sklearn.svm import SVC

from acoustic_kit.errors import AkitError
from acoustic_kit.prediction.saved_models import check_model, load_model
from acoustic_kit.recipe.recipe import load_recipe

RECIPE = '''"""A recipe."""
import os
import numpy as np
from sklearn.linear_model import LogisticRegression
import acoustic_kit as akit

class Settings(akit.Settings): pass
class Mine(LogisticRegression): pass

def halved(x, path=None):
    if path is not None:
        open(path, "w").close()
    return x / 2

def features(s): return {}
def train(fold, s): return None
def predict(model, clips, s): return None
'''
RNG = np.random.default_rng(0)
X, Y = RNG.normal(size=(60, 6)), np.arange(60) % 3
Node = dict[str, Any]


@pytest.fixture
def recipe(tmp_path: Path) -> ModuleType:
    path = tmp_path / "owner.py"
    path.write_text(RECIPE)
    return load_recipe(path).module


def load(folder: Path, recipe: ModuleType, *, trusted: bool = False) -> Any:
    check_model(folder, recipe, trusted=trusted)
    return load_model(folder, lambda: None, "cpu", recipe, trusted=trusted)


FITTED = {
    "extra trees": ExtraTreesClassifier(5),
    "boosting": GradientBoostingClassifier(n_estimators=3),
    "histogram boosting": HistGradientBoostingClassifier(max_iter=3),
    "neighbors, k-d tree": KNeighborsClassifier(algorithm="kd_tree"),
    "neighbors, ball tree": KNeighborsClassifier(algorithm="ball_tree"),
    "network": MLPClassifier(8, max_iter=3),
    "kernel": SVC(),
    "stack": StackingClassifier([("forest", RandomForestClassifier(3)), ("linear", LogisticRegression())]),
    "pipeline": make_pipeline(SelectKBest(k=3), FunctionTransformer(np.clip), RandomForestClassifier(3)),
}


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", FITTED)
def test_scikit_learns_own_models_need_no_trust(tmp_path: Path, recipe: ModuleType, name: str) -> None:
    model = FITTED[name]
    if name == "pipeline":
        model.set_params(functiontransformer__kw_args={"a_min": -1, "a_max": 1})
    model.fit(X, Y)
    skops.io.dump(model, tmp_path / "model.skops")
    np.testing.assert_array_equal(load(tmp_path, recipe).predict(X), model.predict(X))


def test_what_the_recipe_defines_needs_no_trust(tmp_path: Path, recipe: ModuleType) -> None:
    model = make_pipeline(FunctionTransformer(recipe.halved), recipe.Mine()).fit(X, Y)
    skops.io.dump(model, tmp_path / "model.skops")
    found = load(tmp_path, recipe)
    assert found[0].func is recipe.halved
    assert type(found[1]) is recipe.Mine


_number = count(10**9)


def node(loader: str, name: str = "owner:halved", **content: Any) -> Node:
    module, _, attribute = name.rpartition(":")
    module = "_akit_recipe_owner" if module == "owner" else module
    return {
        "__module__": module,
        "__class__": attribute,
        "__loader__": loader,
        "__id__": next(_number),
        "content": content,
    }


def text(value: object) -> Node:
    return node("JsonNode", "builtins:str") | {"content": json.dumps(value), "is_json": True}


def items(loader: str, *values: Node) -> Node:
    return node(f"{loader.title()}Node", f"builtins:{loader}") | {"content": list(values)}


def function(name: str) -> Node:
    return node("FunctionNode", name)


def method(of: Node, name: str) -> Node:
    return of | {"__loader__": "MethodNode", "__id__": next(_number), "content": {"func": name, "obj": of}}


def partial(of: Node) -> Node:
    return node("PartialNode", "functools:partial", func=of, args=items("tuple"), kwds=keyed(), namespace=text(None))


def keyed(kind: Node | None = None, key: str = "k") -> Node:
    kinds = [] if kind is None else [kind]
    held = {} if kind is None else {key: text(1)}
    return node("DictNode", "builtins:dict") | {"content": held, "key_types": items("list", *kinds)}


def reduced(name: str, *arguments: Node) -> Node:
    return node("ConstructorFromReduceNode", name) | {"content": items("tuple", *arguments)}


def operator(name: str, *arguments: Node) -> Node:
    return node("OperatorFuncNode", f"operator:{name}") | {"attrs": items("tuple", *arguments)}


def disguised(path: str) -> Node:
    """A dictionary whose key types are one thing by their text, and another by their number."""
    called = function("owner:halved")
    alias = node("TypeNode", "builtins:str") | {"__id__": called["__id__"]}
    return items("list", called, keyed(alias, path))


HOSTILE: dict[str, Callable[[str], Node]] = {
    "an import of the recipe's": lambda _: function("owner:os"),
    "a module, as a class": lambda _: node("ObjectNode", "owner:akit") | {"content": text(None)},
    "a function of an import": lambda _: method(function("owner:os"), "system"),
    "a chain of attributes": lambda _: method(method(function("owner:akit"), "atomic_write"), "os"),
    "the module of a function": lambda _: method(function("owner:halved"), "__globals__"),
    "a method of an instance": lambda _: method(node("ObjectNode", "owner:Mine") | {"content": keyed()}, "fit"),
    "a class that the recipe imports": lambda _: node("ObjectNode", "owner:LogisticRegression") | {"content": keyed()},
    "a call of the recipe's function": lambda path: reduced("owner:halved", text(2), text(path)),
    "a call of the recipe's class": lambda _: reduced("owner:Mine"),
    "the recipe's function for keys": lambda path: keyed(function("owner:halved"), path),
    "the recipe's class for keys": lambda path: keyed(node("TypeNode", "owner:Mine"), path),
    "a method for keys": lambda path: keyed(method(text("x"), "format"), path),
    "two kinds of one number": disguised,
    "a reference": lambda _: node("CachedNode", "owner:halved"),
    "a builtin": lambda _: node("TypeNode", "builtins:eval"),
    "a function of the system": lambda _: function("os:system"),
    "a function of this toolkit": lambda _: function("acoustic_kit.files:write_atomically"),
    "a partial": lambda _: partial(function("owner:halved")),
    "a partial of the system": lambda _: partial(function("os:system")),
    "an operator": lambda _: operator("methodcaller", text("fit")),
    "an attribute": lambda _: operator("attrgetter", text("__class__")),
    "a call of a foreign class": lambda path: reduced("pathlib:PosixPath", text(path)),
    "an unknown node": lambda _: node("EvilNode", "os:system"),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_nothing_else_of_a_file_is_built(tmp_path: Path, recipe: ModuleType, name: str) -> None:
    touched = tmp_path / "touched"
    schema = HOSTILE[name](str(touched)) | {"protocol": 2, "_skops_version": "0"}
    with zipfile.ZipFile(tmp_path / "model.skops", "w") as file:
        file.writestr("schema.json", json.dumps(schema))
    with pytest.raises(AkitError, match=r"model\.skops (contains types that|cannot be read)"):
        load(tmp_path, recipe)
    assert not touched.exists()


class Crafted(ClassifierMixin, BaseEstimator):
    """Stands for nothing; its type is foreign."""


def test_foreign_types_are_loaded_where_they_are_trusted(tmp_path: Path, recipe: ModuleType) -> None:
    skops.io.dump(Crafted(), tmp_path / "model.skops")
    with pytest.raises(AkitError, match=r"Crafted(.|\n)*--trust"):
        load(tmp_path, recipe)
    assert type(load(tmp_path, recipe, trusted=True)).__name__ == "Crafted"


def crafted_forest(column: int = 0, left: int = 1, columns: int = 6) -> RandomForestClassifier:
    """A forest with one number of its last tree replaced."""
    forest = RandomForestClassifier(2, random_state=0).fit(X, Y)
    tree = forest.estimators_[1].tree_
    state = tree.__getstate__()
    state["nodes"]["feature"][0], state["nodes"]["left_child"][0] = column, left
    tree.__setstate__(state)
    forest.estimators_[1].n_features_in_ = columns
    return forest


def crafted_boosting() -> HistGradientBoostingClassifier:
    model = HistGradientBoostingClassifier(max_iter=1).fit(np.tile(X, (3, 1)), np.tile(Y, 3))
    model._predictors[0][0].nodes["left"][0] = 10**6
    return model


def crafted_neighbors() -> KNeighborsClassifier:
    model = KNeighborsClassifier(algorithm="kd_tree").fit(X, Y)
    state = list(model._tree.__getstate__())
    state[1] = np.full_like(state[1], 10**6)
    model._tree.__setstate__(tuple(state))
    return model


@pytest.mark.parametrize(
    "model",
    [
        crafted_forest(column=10**6),
        crafted_forest(column=10**6, columns=10**7),
        crafted_forest(left=10**6),
        crafted_forest(left=0),
        crafted_boosting(),
        crafted_neighbors(),
    ],
    ids=["column", "column of a wide tree", "child", "circle", "boosting", "neighbors"],
)
def test_trees_that_point_outside_of_themselves_are_refused(tmp_path: Path, recipe: ModuleType, model: Any) -> None:
    skops.io.dump(model, tmp_path / "model.skops")
    with pytest.raises(AkitError, match=r"model\.skops .*tree with indices out of range"):
        load(tmp_path, recipe)
