"""A blend in a file."""

import json

import numpy as np
import pytest

from acoustic_kit import blending
from acoustic_kit.blending import Blend, choose, mean, plain_blend
from acoustic_kit.errors import AkitError, UsageError


@pytest.fixture(scope="module")
def data():
    rng = np.random.default_rng(0)
    targets = rng.integers(0, 4, 120)
    logits = rng.standard_normal((6, 120, 4)) + 1.5 * np.eye(4)[targets]
    p = np.exp(logits)
    return (p / p.sum(axis=2, keepdims=True)).astype(np.float32), targets


@pytest.mark.parametrize("task", ["single", "multi"])
@pytest.mark.parametrize("method", ["mean", "geometric", "rank", "power", "greedy", "weights", "stack", "auto"])
def test_a_blend_that_was_read_predicts_the_same_bits(data, method, task):
    p, targets = data
    targets = targets if task == "single" else np.eye(4, dtype=bool)[targets]
    blend = choose(p, targets, method=method, top=4, decision="tuned")
    again = Blend.from_dict(json.loads(json.dumps(blend.to_dict())))
    assert again.to_dict() == blend.to_dict()
    assert np.array_equal(again.predict(p), blend.predict(p))
    members = Blend.from_dict(json.loads(json.dumps(blend.of_members().to_dict())))
    assert np.array_equal(members.predict(p[list(blend.members)]), blend.predict(p))
    assert members.weights.sum() == pytest.approx(1)


def test_a_stack_of_many_classes_is_small(data, monkeypatch):
    monkeypatch.setattr("acoustic_kit.blending.stacking.FULL_CLASSES", 3)
    blend = choose(*data, method="auto")
    assert blend.parameters["coefficients"].shape == (6, 4)
    again = Blend.from_dict(json.loads(json.dumps(blend.to_dict())))
    assert np.array_equal(again.predict(data[0]), blend.predict(data[0]))


@pytest.mark.parametrize("decision", [None, [1.0, 2.0, 1.0, 1.0]])
def test_records_of_earlier_versions_are_read(data, decision):
    """`auto` took one method, among them the geometric mean of a stack and the mean, and factors of single labels."""
    p, targets = data
    stacked = choose(p, targets, method="stack")
    document = {**stacked.to_dict(), "method": "stack_mean", "asked": "auto", "decision": decision}
    product = np.sqrt(np.clip(stacked.predict(p), 1e-7, 1) * mean(p)) * (decision or 1.0)
    assert np.allclose(Blend.from_dict(document).predict(p), product / product.sum(axis=1, keepdims=True), atol=1e-6)


def test_auto_of_an_earlier_version_has_no_margin(data):
    p, targets = data
    document = choose(p, targets, method="auto").to_dict()
    fits = [blending.METHODS[name](p, targets).predict(p) for name in ("stack", "weights", "greedy")]
    assert document["parameters"]["margin"] == 16 / 120
    for margin in (-0.1, float("nan"), [0.1], "wide"):
        damaged = {**document, "parameters": {**document["parameters"], "margin": margin}}
        with pytest.raises(AkitError, match="not a blend that akit can read"):
            Blend.from_dict(damaged)
    del document["parameters"]["margin"]
    assert np.allclose(Blend.from_dict(document).predict(p), blending.geometric([mean(p), *fits]))


def test_a_plain_blend_has_no_score(data):
    blend = plain_blend(6, "mean", "single", members=[4, 1])
    assert np.array_equal(blend.predict(data[0]), mean(data[0][[4, 1]]))
    assert np.isnan(blend.nested_score)
    assert blend.beats_best_run is None
    assert Blend.from_dict(json.loads(json.dumps(blend.to_dict()))).members == (4, 1)
    with pytest.raises(UsageError, match="'stack' needs labels"):
        plain_blend(2, "stack", "single")


@pytest.mark.parametrize(
    "damage",
    [
        {"weights": [0.5, -0.5, 1, 0, 0, 0]},
        {"weights": [1]},
        {"weights": []},
        {"weights": "many"},
        {"weights": [[0.5]]},
        {"members": [0, 1, 2, 3, 4, 99]},
        {"members": [0.0]},
        {"members": None},
        {"method": "exec"},
        {"method": ["mean"]},
        {"task": "double"},
        {"parameters": {}},
        {"parameters": {"bias": [0, 0], "coefficients": [[[1, 0], [0, 1]]]}},
        {"parameters": {"bias": [0, 0, 0, float("nan")], "coefficients": [[[1]]]}},
        {"method": "auto"},  # lacks the shares of the two weighted means
        {"decision": [1, 1, -1, 1]},
        {"decision": [1, 1]},
        {"interval": [1]},
        {"score": "high"},
        {"score": True},
        {"considered": 3},
        {"single_best": None},
    ],
)
def test_damaged_documents_are_refused(data, damage):
    p, targets = data
    document = {**choose(p, targets, method="stack").to_dict(), **damage}
    with pytest.raises(AkitError, match="not a blend that akit can read"):
        Blend.from_dict(document)


@pytest.mark.parametrize("document", [None, [], "blend", {}, {"members": [0]}])
def test_other_documents_are_refused(document):
    with pytest.raises(AkitError, match="not a blend that akit can read"):
        Blend.from_dict(document)
