"""Arrays that features learnt are stored beside a fold's model, and restored bit for bit."""

from pathlib import Path

import numpy as np
import pytest

from acoustic_kit.errors import AkitError
from acoustic_kit.features import Pca, Stats, build_features, for_folds
from acoustic_kit.features.learnt import LEARNT_NAME, save_learnt, with_learnt
from acoustic_kit.workspace.workspace import Workspace


def test_a_fit_comes_back_and_computes_the_same(workspace: Workspace, tmp_path: Path) -> None:
    features = {"pca": Pca(Stats(), 5), "x": Stats()}
    fitted = for_folds(list(features.values()), workspace.manifest, workspace.data_root, ["2"])["2"]
    store = workspace.store()
    build_features(workspace.manifest, workspace.data_root, store, fitted)
    stored = {name: store[feature.key] for name, feature in zip(features, fitted, strict=True)}
    save_learnt(tmp_path, features, stored, store)
    back = with_learnt(tmp_path, features, "run/2")
    assert back["x"] is features["x"]
    ids = stored["x"].ids[:64]
    computed = back["pca"].compute_batch([stored["x"].read(id) for id in ids])
    np.testing.assert_allclose(computed, stored["pca"].stack(ids), rtol=0, atol=1e-5)
    assert back["pca"].ready(store) is back["pca"]  # nothing is learnt again
    (tmp_path / LEARNT_NAME).write_bytes(b"damaged")
    with pytest.raises(AkitError, match=f"{LEARNT_NAME} cannot be read"):
        with_learnt(tmp_path, features, "run/2")


def test_features_that_learn_nothing_leave_no_file(workspace: Workspace, tmp_path: Path) -> None:
    store = workspace.store()
    features = {"x": Stats()}
    save_learnt(tmp_path, features, {"x": store[Stats().key]}, store)
    assert not (tmp_path / LEARNT_NAME).exists()
    assert with_learnt(tmp_path, features, "run/2") == features
