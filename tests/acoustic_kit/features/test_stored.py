"""Stored features by the names that people write."""

from pathlib import Path

import numpy as np
import pytest

from acoustic_kit.errors import AkitError, UsageError
from acoustic_kit.features import LogMel, Pca, Stats, Wave, build_features, for_folds, open_feature
from acoustic_kit.workspace.workspace import Workspace


def test_a_feature_is_read_by_its_text_or_key(workspace: Workspace) -> None:
    store, clips = workspace.store(), workspace.manifest.head(3)
    mel = LogMel(Wave(8000), n_mels=20)
    build_features(clips, workspace.data_root, store, [mel])
    found = open_feature(store, "logmel:n_mels=20,wave.sample_rate=8000")
    assert found.key == mel.key
    np.testing.assert_array_equal(open_feature(store, mel.key).read(found.ids[0]), found.read(found.ids[0]))
    assert found.stack(found.ids[:1]).shape[:2] == (1, 20)


def test_the_channels_are_those_of_the_build(workspace: Workspace) -> None:
    store = workspace.store()
    left = Wave(8000).with_mono("left")
    build_features(workspace.manifest.head(2), workspace.data_root, store, [left])
    assert open_feature(store, "wave:sample_rate=8000", mono="left").key == left.key
    with pytest.raises(AkitError, match="features build wave:sample_rate=8000"):
        open_feature(store, "wave:sample_rate=8000")


def test_a_fitted_feature_is_named_with_its_fold(workspace: Workspace) -> None:
    store = workspace.store()
    by_fold = for_folds([Pca(n_components=3)], workspace.manifest, workspace.data_root, ["1", "2"])
    with pytest.raises(AkitError, match="pca:n_components=3"):
        open_feature(store, "pca:n_components=3")
    build_features(workspace.manifest, workspace.data_root, store, by_fold["1"])
    assert open_feature(store, "pca:n_components=3").key == by_fold["1"][0].key
    build_features(workspace.manifest, workspace.data_root, store, by_fold["2"])
    with pytest.raises(UsageError, match=by_fold["2"][0].key):
        open_feature(store, "pca:n_components=3")
    assert open_feature(store, "pca:n_components=3", fold="2").key == by_fold["2"][0].key
    with pytest.raises(AkitError, match="fold 3"):
        open_feature(store, "pca:n_components=3", fold="3")


@pytest.mark.parametrize("text", ["logmell", "logmel:nmels=3"])
def test_unknown_names_are_refused(workspace: Workspace, text: str) -> None:
    with pytest.raises(UsageError):
        open_feature(workspace.store(), text)


def test_the_command_that_builds_it_is_quoted(workspace: Workspace) -> None:
    with pytest.raises(AkitError, match=r"build 'pcen:n_fft=\[2048,1024\]'"):
        open_feature(workspace.store(), "pcen:n_fft=[2048,1024]")


def test_an_empty_place_is_no_error_of_another_kind(tmp_path: Path) -> None:
    from acoustic_store import FeatureStore

    with pytest.raises(AkitError, match=Stats.name):
        open_feature(FeatureStore.open(tmp_path / "store", create=True), "stats")
