"""Features from text and from stored parameters."""

import pytest

from acoustic_kit.errors import AkitError, UsageError
from acoustic_kit.features import FEATURES, Feature, LogMel, Pca, Stats, Training, Wave, feature_from_parameters
from acoustic_kit.features.registry import feature_from_text


@pytest.mark.parametrize(
    ("text", "feature"),
    [
        ("logmel", LogMel()),
        ("logmel:n_mels=64", LogMel(n_mels=64)),
        ("logmel: n_mels=64, top_db=none ,mel_scale=htk", LogMel(n_mels=64, top_db=None, mel_scale="htk")),
        ("wave:seconds=4", Wave(seconds=4.0)),
        ("stats:wave.sample_rate=8000,hop_length=256", Stats(Wave(8000), hop_length=256)),
        ("pca:n_components=20", Pca(n_components=20)),
        ("pca:n_components=0.9,table.wave.sample_rate=8000", Pca(Stats(Wave(8000)), n_components=0.9)),
    ],
)
def test_a_feature_is_named_with_what_differs_from_its_defaults(text: str, feature: Feature) -> None:
    assert feature_from_text(text) == feature


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("logmell", "There is no feature 'logmell'. There are: .*logmel"),
        ("logmel:nmels=3", "Did you mean n_mels?"),
        ("logmel:xyz=3", "It has: wave, n_fft"),
        ("logmel:n_mels=many", "n_mels: .*integer.*'many'"),
        ("logmel:n_mels", "as key=value"),
        ("logmel:n_mels=0", "logmel:n_mels=0: n_mels is 0; it must be at least 1"),
        ("logmel:n_mels.x=1", "n_mels is no feature"),
        ("logmel:mel_scale=bark", "'slaney' or 'htk'"),
        ("pca:training=1", "has no parameter 'training'"),
    ],
)
def test_mistakes_are_named(text: str, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        feature_from_text(text)


@pytest.mark.parametrize("name", [name for name in FEATURES if name not in {"ast", "embed"}])
def test_every_family_comes_back_from_its_parameters(name: str) -> None:
    assert feature_from_parameters(FEATURES[name]().parameters()) == FEATURES[name]()


def test_the_training_clips_are_not_restored_from_parameters() -> None:
    fitted = Pca().for_fold(Training("1", (("a", "1"),)), Training("all", ()))
    assert feature_from_parameters(fitted.parameters()) == Pca()


def test_strange_parameters_are_refused() -> None:
    with pytest.raises(AkitError, match="unknown to this version"):
        feature_from_parameters({"name": "nothing"})
