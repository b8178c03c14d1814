"""Principal components against scikit-learn, and what they are fitted on."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.decomposition import PCA
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from acoustic_kit.data.folds import FULL, training_rows
from acoustic_kit.errors import AkitError, UsageError
from acoustic_kit.features import LogMel, Pca, Training, build_features, for_folds, pca
from acoustic_kit.features.pca import fit_pca, solver_for
from acoustic_kit.workspace.workspace import Workspace


def table(n: int, columns: int, seed: int = 0) -> np.ndarray:
    """Rows whose columns are correlated, and of very different size."""
    rng = np.random.default_rng(seed)
    mixed = rng.standard_normal((n, columns)) @ (rng.standard_normal((columns, columns)) * 0.8 ** np.arange(columns))
    return (mixed * 10.0 ** rng.uniform(-2, 3, columns) + rng.standard_normal(columns)).astype(np.float32)


@pytest.mark.parametrize("shape", [(30, 8), (12, 40)])
@pytest.mark.parametrize("n_components", [5, 0.9, 0.999])
@pytest.mark.parametrize("scale", [True, False])
def test_scores_are_scikit_learns(shape: tuple[int, int], n_components: float, scale: bool) -> None:
    rows = table(*shape)
    theirs = make_pipeline(StandardScaler(with_std=scale), PCA(n_components, svd_solver="full")).fit(rows)
    fit = fit_pca(rows, n_components, scale)
    ours, reference = fit.transform(rows), theirs.transform(rows)
    np.testing.assert_allclose(np.abs(ours), np.abs(reference), atol=2e-5 * np.abs(reference).max())
    np.testing.assert_allclose(fit.explained_variance_ratio, theirs[1].explained_variance_ratio_, atol=1e-6)


def test_a_large_wide_table_takes_the_randomized_solver(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    n = 300
    monkeypatch.setattr(pca, "MIN_RANDOMIZED", n)
    assert solver_for((n, 5 * n), 20) == "randomized"
    assert solver_for((n, 5 * n), 0.9) == "full"  # a share of variance needs all components
    assert solver_for((n, 100), 20) == "covariance_eigh"
    assert solver_for((1000, 1133), 0.9) == "covariance_eigh"
    rng = np.random.default_rng(0)
    rows = (rng.standard_normal((n, 3)) @ rng.standard_normal((3, 2 * n)) * 10).astype(np.float32)
    rows += rng.standard_normal(rows.shape, dtype=np.float32)
    found, exact = (
        fit_pca(rows, 3).explained_variance_ratio,
        np.linalg.svd((rows - rows.mean(0)) / rows.std(0), compute_uv=False)[:3],
    )
    np.testing.assert_allclose(found, exact**2 / rows.size, rtol=1e-3)


@given(seed=st.integers(0, 20), n_components=st.integers(1, 6))
@settings(deadline=None, max_examples=20)
def test_components_are_orthonormal_and_the_first_explain_most(seed: int, n_components: int) -> None:
    fit = fit_pca(table(20, 6, seed), n_components)
    np.testing.assert_allclose(fit.components @ fit.components.T, np.eye(n_components), atol=1e-5)
    assert (np.diff(fit.explained_variance_ratio) <= 0).all()
    assert fit.explained_variance_ratio.sum() <= 1 + 1e-5


def test_a_constant_column_does_no_harm() -> None:
    rows = table(10, 4)
    rows[:, 2] = 7
    assert np.isfinite(fit_pca(rows, 3).transform(rows)).all()


@pytest.mark.parametrize("n_components", [0, -1, 1.5, float("nan")])
def test_senseless_numbers_of_components_are_refused(n_components: float) -> None:
    with pytest.raises(UsageError, match="n_components"):
        Pca(n_components=n_components)


def test_there_are_no_more_components_than_clips_or_columns() -> None:
    assert fit_pca(table(10, 30), 11).components.shape == (10, 30)
    assert fit_pca(table(30, 10), 11).components.shape == (10, 10)


# In the store


def built_for(workspace: Workspace, pca: Pca, folds: list[str]) -> dict[str, Pca]:
    features = for_folds([pca], workspace.manifest, workspace.data_root, folds)
    wanted = [feature for found in features.values() for feature in found]
    build_features(workspace.manifest, workspace.data_root, workspace.store(), wanted)
    return {fold: found[0] for fold, found in features.items()}  # type: ignore[misc]


def test_each_fold_has_a_pca_that_never_saw_its_validation_clips(workspace: Workspace) -> None:
    store, folds = workspace.store(), ["1", "2"]
    features = built_for(workspace, Pca(n_components=4), folds)
    assert features["1"].key != features["2"].key
    for fold, feature in features.items():
        train = training_rows(workspace.manifest, fold).train
        rows = store[feature.table.key].stack(sorted(train["id"]))
        fit = fit_pca(rows, 4)
        stored = store[feature.key]
        assert sorted(stored.ids) == sorted(workspace.manifest["id"])  # validation and test clips too
        everyone = store[feature.table.key].stack(stored.ids)
        np.testing.assert_allclose(np.abs(stored.stack(stored.ids)), np.abs(fit.transform(everyone)), atol=1e-3)
        assert stored.attributes["training"]["fold"] == fold
        share = store[feature.fit_key].read("explained_variance_ratio")
        np.testing.assert_allclose(share, fit.explained_variance_ratio, atol=1e-6)


def test_fitted_on_all_there_is_one_for_all_folds(workspace: Workspace) -> None:
    features = built_for(workspace, Pca(n_components=4, fit_on="all"), ["1", "2", FULL])
    assert len({feature.key for feature in features.values()}) == 1
    assert features["1"].sees_validation


def test_what_was_fitted_is_read_and_a_damaged_fit_is_made_again(workspace: Workspace) -> None:
    feature = built_for(workspace, Pca(n_components=4), ["1"])["1"]
    store = workspace.store()
    first = feature.ready(store).fit
    chunk = store.path / feature.fit_key / "000000" / "c.0"
    damaged = bytearray(chunk.read_bytes())
    damaged[100] ^= 255
    chunk.write_bytes(bytes(damaged))
    again = feature.ready(workspace.store()).fit
    assert first is not None
    assert again is not None
    np.testing.assert_array_equal(first.components, again.components)
    assert workspace.store()[feature.fit_key].verify() == []


def test_other_training_clips_are_another_key(workspace: Workspace) -> None:
    everything = Training("all", (("a", "1"), ("b", "2")))
    one, other = (Pca().for_fold(Training("1", clips), everything) for clips in [(("a", "1"),), (("a", "2"),)])
    assert len({one.key, other.key, Pca().key}) == 3
    assert Training("1", (("a", "1"), ("b", "2"))).digest == Training("1", (("b", "2"), ("a", "1"))).digest


def test_what_cannot_be_fitted_says_why(workspace: Workspace) -> None:
    store = workspace.store()
    with pytest.raises(AkitError, match="for_fold"):
        Pca().ready(store)
    with pytest.raises(AkitError, match="one row of numbers a clip; logmel has shape"):
        built_for(workspace, Pca(LogMel()), ["1"])
    with pytest.raises(AkitError, match="fewer"):
        Pca().for_fold(Training("1", ()), Training("all", ())).ready(store)
    with pytest.raises(AkitError, match="not fitted"):
        Pca().compute(np.zeros(3, np.float32))
    with pytest.raises(UsageError, match="cannot be a pca"):
        replace(Pca(), table=Pca())


def test_a_tenth_of_real_columns_holds_most_of_the_variance(esc10: Path, tmp_path: Path) -> None:
    from acoustic_kit.features import Stats, Wave

    paths = sorted((esc10 / "audio").iterdir())[::10]
    rows = np.stack([Stats().compute(Wave().compute(path)) for path in paths])
    fit = fit_pca(rows, 0.9)
    assert len(fit.components) < len(paths)
    assert fit.explained_variance_ratio.sum() >= 0.9
