import subprocess
import sys

import numpy as np
import pytest
import soundfile

from acoustic_kit.data import make_manifest, make_synthetic, read_dataset, summarize
from acoustic_kit.errors import AkitError, UsageError


def test_it_is_a_data_set_like_any_other(tmp_path):
    make_synthetic(tmp_path / "new", n_classes=3, clips_per_class=12, n_folds=4, seconds=0.5, sample_rate=8000)
    dataset = read_dataset(tmp_path / "new")
    manifest, _ = make_manifest(dataset)
    summary = summarize(manifest, dataset.classes)
    assert dataset.layout == "esc50"
    assert dataset.classes == {"sound_00": 0, "sound_01": 1, "sound_02": 2}
    assert summary.classes["train"].to_list() == [12, 12, 12]
    assert set(summary.folds) == {1, 2, 3, 4}
    assert summary.sample_rates == {8000: 36}
    assert set(manifest["duration"]) == {0.5}
    assert summary.problems == []
    assert manifest["content"].is_unique().all()


def test_output_depends_on_arguments_and_seed_only(tmp_path):
    for name, seed in (("a", 0), ("b", 0), ("c", 1)):
        make_synthetic(tmp_path / name, n_classes=2, clips_per_class=2, n_folds=2, seconds=0.1, seed=seed)
    a, b, c = (
        {path.relative_to(tmp_path / name): path.read_bytes() for path in sorted((tmp_path / name).rglob("*.*"))}
        for name in "abc"
    )
    assert a == b
    assert a.keys() == c.keys()
    assert sum(a[name] == c[name] for name in a) == 1  # the table


def test_it_is_learnable_but_not_trivial(tmp_path):
    librosa = pytest.importorskip("librosa")
    from sklearn.linear_model import LogisticRegression
    from sklearn.model_selection import LeaveOneGroupOut, cross_val_score
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    make_synthetic(tmp_path / "new")
    dataset = read_dataset(tmp_path / "new")
    rows = []
    for path in dataset.clips["path"]:
        wave, rate = soundfile.read(dataset.root / path)
        mfcc = librosa.feature.mfcc(y=wave, sr=rate, n_mfcc=20)
        rows.append(np.concatenate([mfcc.mean(axis=1), mfcc.std(axis=1)]))
    model = make_pipeline(StandardScaler(), LogisticRegression(max_iter=500))
    labels, folds = dataset.clips["label"].list.first().to_numpy(), dataset.clips["fold"].to_numpy()
    accuracy = cross_val_score(model, np.array(rows), labels, groups=folds, cv=LeaveOneGroupOut()).mean()
    assert 0.7 < accuracy < 0.95  # chance is 0.2


def test_it_writes_into_no_folder_that_holds_something(tmp_path):
    (tmp_path / "mine.txt").write_text("keep")
    with pytest.raises(AkitError, match="is not empty"):
        make_synthetic(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["mine.txt"]


def test_too_few_clips_for_the_folds(tmp_path):
    with pytest.raises(UsageError, match=r"3 clips per class .* 5 folds"):
        make_synthetic(tmp_path / "new", clips_per_class=3)


def test_importing_the_package_is_cheap():
    code = "import sys, acoustic_kit.data; print({'polars', 'sklearn', 'soundfile', 'numpy'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "set()\n"
