"""Choosing, and the nested estimate against data whose truth is known."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import expit

from acoustic_kit import blending
from acoustic_kit.blending import METHODS, choose
from acoustic_kit.blending import nested as nesting
from acoustic_kit.blending.combine import AVERAGED, averaged
from acoustic_kit.blending.fitting import margin_of
from acoustic_kit.errors import UsageError
from acoustic_kit.metrics.scores import score

FIXED = ("mean", "geometric", "rank", "power")
FITTED = ("greedy", "weights", "stack")


def runs_of_skill(seed, skills, clips=200, classes=5):
    """Runs whose rows lean to the truth by ``skill``; with the targets."""
    rng = np.random.default_rng(seed)
    targets = rng.integers(0, classes, clips)
    truth = np.eye(classes)[targets]
    logits = rng.standard_normal((len(skills), clips, classes)) + np.array(skills)[:, None, None] * truth
    p = np.exp(logits)
    return p / p.sum(axis=2, keepdims=True), targets


@pytest.mark.parametrize("method", FIXED)
def test_choose_takes_the_best_runs(method):
    p, targets = runs_of_skill(1, [0.1, 3.0, 1.0, 2.0])
    before = p.copy()
    blend = choose(p, targets, metric="accuracy", method=method, top=2)
    assert blend.members == (1, 3)
    assert np.array_equal(blend.weights, [0, 0.5, 0, 0.5])
    assert blend.single_best == (1, score("accuracy", targets, p[1]))
    assert blend.score == score("accuracy", targets, METHODS[method](p[[1, 3]]))
    assert blend.interval[0] <= blend.nested_score <= blend.interval[1]
    assert np.array_equal(blend.predict(p), METHODS[method](p[[1, 3]]))
    assert blend.predict(p[:, :7]).shape == (7, 5)
    assert np.array_equal(p, before)


@pytest.mark.parametrize("metric", ["log_loss", "roc_auc", "kappa", "map5"])
def test_the_best_runs_are_those_of_the_metric_s_direction(metric):
    p, targets = runs_of_skill(1, [0.1, 3.0, 1.0, 2.0])
    blend = choose(p, targets, metric=metric, method="mean", top=2)
    assert blend.members == (1, 3)
    assert blend.single_best == (1, score(metric, targets, p[1]))
    assert blend.interval[0] <= blend.nested_score <= blend.interval[1]
    assert blend.gain_interval[0] <= blend.gain <= blend.gain_interval[1]
    alike, targets = runs_of_skill(2, [2.0] * 8, clips=600)
    blend = choose(alike, targets, metric=metric, method="greedy")
    assert blend.beats_best_run
    assert blend.gain > 0


def test_without_top_all_runs_are_members_in_order():
    p, targets = runs_of_skill(2, [1.0, 2.0])
    ties = np.concatenate([p, p + 1e-9])  # the same scores
    blend = choose(ties, targets, method="mean")
    assert blend.members == (1, 3, 0, 2)
    assert np.allclose(blend.predict(ties), blending.mean(ties))
    assert blend.nested_score == blend.score  # nothing was chosen and a mean needs no other clips
    assert choose(ties, targets, method="mean", top=1).members == (1,)
    assert choose(ties, targets, method="mean", top=99).members == blend.members


@pytest.mark.parametrize("method", ["auto", *FIXED, *FITTED])
def test_runs_with_equal_predictions_count_once(method):
    p, targets = runs_of_skill(2, [1.0, 2.0, 1.5], clips=100)
    copied = p[[0, 1, 0, 2, 1]]
    blend, alone = choose(copied, targets, method=method), choose(p, targets, method=method)
    assert np.array_equal(blend.predict(copied), alone.predict(p))
    assert blend.nested_score == alone.nested_score
    assert np.array_equal(blend.weights[[0, 1, 3]], alone.weights)
    assert blend.weights[[2, 4]].tolist() == [0, 0]
    assert blend.members == tuple([0, 1, 3][run] for run in alone.members)
    assert blending.first_of_equal(copied) == [0, 1, 0, 3, 1]


@pytest.mark.parametrize("method", ["auto", "mean", "greedy"])
def test_scores_are_those_of_the_precision_that_is_given(method):
    """Probabilities near 1 or nearly equal are ties in float32, where argmax and average precision see others."""
    p, targets = runs_of_skill(3, [1.0, 2.0], clips=80)
    nearly_uniform = 0.2 + 1e-9 * p
    sure = np.exp(60 * p - 60 * p.max(axis=2, keepdims=True))
    sure /= sure.sum(axis=2, keepdims=True)
    for metric, runs in (("f1", nearly_uniform), ("map", sure)):
        blend = choose(runs, targets, metric=metric, method=method)
        assert blend.single_best[1] == max(score(metric, targets, run) for run in runs)
        assert blend.single_best[1] != max(score(metric, targets, run.astype(np.float32)) for run in runs)
    assert choose(nearly_uniform, targets, method=method).score > 0.5
    assert np.array_equal(choose(list(p), targets).predict(list(p)), choose(p, targets).predict(p))


def test_auto_is_the_geometric_mean_beyond_a_margin():
    p, targets = runs_of_skill(3, [1.0, 2.0, 1.5], clips=120)
    groups = np.arange(120) // 2
    blend = choose(p, targets, groups)
    assert blend.parameters["margin"] == 5 * 5 / 120  # confusions per clip
    fits = [METHODS[name](p, targets, groups).predict(p) for name in ("stack", "weights", "greedy")]
    mean = blending.mean(p)
    logs = np.log(np.clip([mean, *fits], 1e-7, 1))
    label, rows = mean.argmax(axis=1), np.arange(120)
    departure = logs.mean(axis=0) - logs[0]
    departure -= departure[rows, label][:, None]
    small = abs(departure) <= 25 / 120
    kept = np.where(small, 0, departure - np.sign(departure) * 25 / 120)
    product = np.exp(logs[0] + kept)
    assert small.mean() > 0.1
    assert np.allclose(blend.predict(p), product / product.sum(axis=1, keepdims=True))


def test_auto_is_the_mean_if_there_is_little_to_fit_on():
    p, targets = runs_of_skill(3, [1.0, 2.0, 1.5, 0.5], clips=1000, classes=12)
    labels = blending.mean(p).argmax(axis=1)
    moved = []
    for clips, groups in ((1000, None), (200, None), (50, None), (1000, np.arange(1000) % 3)):
        blend = choose(p[:, :clips], targets[:clips], groups)
        moved.append((blend.predict(p).argmax(axis=1) != labels).mean())
    assert moved[0] > 0.05
    assert moved[0] > moved[1] > 0
    assert moved[2:] == [0, 0]


@pytest.mark.parametrize("task", ["single", "multi"])
def test_a_margin_leads_from_the_geometric_mean_to_the_mean(task):
    parts = dict(zip(AVERAGED, np.random.default_rng(0).dirichlet(np.ones(4), size=(4, 30)), strict=True))
    geometric = blending.geometric(list(parts.values()), task)
    assert np.array_equal(averaged(parts, 0, task), geometric)
    assert np.allclose(averaged(parts, 1e-12, task), geometric)
    assert np.allclose(averaged(parts, 50, task), parts["mean"])
    away = [abs(averaged(parts, margin, task) - parts["mean"]).sum() for margin in (0.1, 0.3, 1, 3)]
    assert away == sorted(away, reverse=True)
    own = parts["mean"].argmax(axis=1) if task == "single" else parts["mean"] >= 0.5
    other = geometric.argmax(axis=1) if task == "single" else geometric >= 0.5
    moved = averaged(parts, 0.3, task)
    moved = moved.argmax(axis=1) if task == "single" else moved >= 0.5
    assert ((moved == own) | (moved == other)).all()
    assert 0 < (moved != own).sum() < (other != own).sum()


def test_the_margin_narrows_with_clips_and_groups():
    clips, recordings = np.arange(500), np.arange(500) // 25
    matrix, diagonal = np.zeros((3, 10, 10)), np.zeros((3, 10))
    assert margin_of(matrix, clips, "single") == 100 / 500  # confusions per clip
    assert margin_of(matrix, recordings, "single") == 10 / 20  # classes per recording
    assert margin_of(diagonal, clips, "single") == 10 / 500
    assert margin_of(matrix, clips, "multi") == 10 / 500  # of one label
    assert margin_of(matrix, recordings, "multi") == 1 / 20


def test_the_same_seed_gives_the_same_estimate():
    p, targets = runs_of_skill(3, [0.3] * 12, clips=120)
    estimates = [choose(p, targets, method="mean", top=2, seed=seed) for seed in (0, 0, 1, 2, 3)]
    assert estimates[0].nested_score == estimates[1].nested_score
    assert estimates[0].interval == estimates[1].interval
    assert len({e.nested_score for e in estimates}) > 1
    assert len({e.score for e in estimates}) == 1


@pytest.mark.parametrize("top", [1, 5])
@pytest.mark.parametrize("grouped", [False, True])
def test_the_nested_estimate_of_noise_is_chance(grouped, top):
    """200 runs of pure noise: the best look skilled on the clips that chose them, and are not on others."""
    plain, nested, covered = [], [], []
    for seed in range(10):
        rng = np.random.default_rng(seed)
        targets = np.repeat(np.arange(10), 10)
        groups = np.arange(100) // 2 if grouped else None
        noise = rng.dirichlet(np.ones(10), size=(200, 100))
        blend = choose(noise, targets, groups, metric="accuracy", method="mean", top=top, seed=seed)
        plain.append(blend.score)
        nested.append(blend.nested_score)
        covered.append(blend.interval[0] <= 0.1 <= blend.interval[1])
    chance, deviation = 0.1, np.sqrt(0.1 * 0.9 / 100)
    assert np.mean(plain) > chance + 2 * deviation  # what one honest score in 40 reaches is reached on average
    assert abs(np.mean(nested) - chance) < 3 * deviation / np.sqrt(len(nested))
    assert sum(covered) >= 8


def test_groups_decide_the_folds():
    """A run that has memorised recordings looks good as long as clips of one recording lie on both sides.

    Each run is right on half of the recordings, by chance, and wrong on the others. With whole recordings held out,
    what chose the run says nothing about them.
    """
    clip_wise, group_wise = [], []
    for seed in range(5):
        rng = np.random.default_rng(seed)
        groups = np.repeat(np.arange(20), 10)
        targets = (np.arange(20) % 4)[groups]
        known = rng.random((60, 20)) < 0.5
        p = np.eye(4)[np.where(known[:, groups], targets, (targets + 1) % 4)]
        clip_wise.append(choose(p, targets, metric="accuracy", method="mean", top=1))
        group_wise.append(choose(p, targets, [f"rec{g}" for g in groups], metric="accuracy", method="mean", top=1))
    assert np.mean([b.nested_score for b in clip_wise]) > 0.65
    assert np.mean([b.nested_score for b in group_wise]) < 0.58
    # intervals over 20 recordings are wider than over 200 clips that pretend to be independent
    assert np.mean([np.ptp(b.interval) for b in group_wise]) > 2 * np.mean([np.ptp(b.interval) for b in clip_wise])


@settings(deadline=None, max_examples=25)
@given(st.data())
def test_any_small_data_has_an_estimate_or_says_that_it_has_none(data):
    clips, classes = data.draw(st.integers(1, 12)), data.draw(st.integers(1, 4))
    seed = data.draw(st.integers(0, 1000))
    rng = np.random.default_rng(seed)
    p = rng.random((3, clips, classes))
    multi = data.draw(st.booleans())
    targets = rng.random((clips, classes)) < 0.4 if multi else rng.integers(0, classes, clips)
    groups = rng.integers(0, data.draw(st.integers(1, 4)), clips) if data.draw(st.booleans()) else None
    method = data.draw(st.sampled_from(["auto", *FIXED, *FITTED]))
    blend = choose(p, targets, groups, method=method, top=data.draw(st.sampled_from([None, 1])), seed=seed)
    possible = clips > 1 if groups is None else len(np.unique(groups)) > 1
    assert np.isfinite(blend.score)
    assert np.isfinite(blend.nested_score) == possible
    assert possible or not np.isfinite(blend.interval).any()  # of very few clips there is none either


@pytest.mark.parametrize("metric", ["map", "f1", "0.5*map+0.5*f1"])
@pytest.mark.parametrize("method", FIXED)
def test_multi_label_tasks(metric, method):
    rng = np.random.default_rng(5)
    targets = rng.random((80, 6)) < 0.3
    skill = np.array([0.0, 3.0, 2.0])[:, None, None]
    p = expit(rng.standard_normal((3, 80, 6)) + skill * (targets - 0.5))
    blend = choose(p, targets, metric=metric, method=method, top=2)
    assert blend.members == (1, 2)
    assert blend.task == "multi"
    assert blend.interval[0] <= blend.nested_score <= blend.interval[1]
    assert blend.score == score(metric, targets, blend.predict(p))
    fitted = metric == "map" and method in ("rank", "power")  # with weights: only the order of clips counts
    assert np.array_equal(blend.predict(p), METHODS[method](p[[1, 2]], "multi")) is not fitted


def test_invalid_arguments_are_refused():
    p, targets = runs_of_skill(0, [1.0, 1.0], clips=20)
    with pytest.raises(UsageError, match=r"'median'.*auto, mean, geometric, rank"):
        choose(p, targets, method="median")
    with pytest.raises(UsageError, match="top must be at least 1"):
        choose(p, targets, top=0)
    with pytest.raises(UsageError, match="unknown metric"):
        choose(p, targets, metric="f2")
    with pytest.raises(ValueError, match="targets for 20 predicted"):
        choose(p, targets[1:])
    with pytest.raises(ValueError, match=r"groups must .*\(20,\); they are \(2,\)"):
        choose(p, targets, groups=[1, 2])
    with pytest.raises(ValueError, match="groups hold None"):
        choose(p, targets, groups=["a", None] * 10)
    with pytest.raises(ValueError, match="chosen among 2 runs; here are 1"):
        choose(p, targets).predict(p[:1])
    with pytest.raises(ValueError, match="read-only"):
        choose(p, targets).weights[0] = 1
    with pytest.raises(UsageError, match="unknown decision"):
        choose(p, targets, decision="best")
    with pytest.raises(UsageError, match="map3 does not use"):
        choose(p, targets, metric="map3", decision="tuned")


@pytest.mark.parametrize(
    ("method", "seeds"),
    [
        ("greedy", 1),
        ("weights", 1),
        ("stack", 1),
        *(pytest.param(m, 6, marks=pytest.mark.slow) for m in ("auto", *FITTED)),
    ],
)
def test_the_nested_estimate_of_fits_to_noise_is_chance(method, seeds):
    """300 runs of noise on 200 clips: what is fitted looks skilled on the clips that fitted it, and is not."""
    naive, nested = [], []
    for seed in range(seeds):
        rng = np.random.default_rng(seed)
        noise = rng.dirichlet(np.ones(5), size=(300, 200)).astype(np.float32)
        blend = choose(noise, np.arange(200) % 5, metric="accuracy", method=method, seed=seed)
        naive.append(blend.score)
        nested.append(blend.nested_score)
    deviation = np.sqrt(0.2 * 0.8 / (200 * seeds))
    assert abs(np.mean(nested) - 0.2) < 3 * deviation
    assert np.mean(naive) > 0.2 + 5 * deviation


@pytest.mark.parametrize("decision", ["argmax", "tuned"])
@pytest.mark.parametrize("method", ["auto", *FITTED])
def test_every_method_is_chosen_with_an_estimate(method, decision):
    p, targets = runs_of_skill(4, [1.0, 1.5, 0.0, 2.0, 1.8], clips=150)
    p, before = p.astype(np.float32), p.astype(np.float32)
    reported = []
    blend = choose(p, targets, method=method, decision=decision, on_progress=lambda *done: reported.append(done))
    assert np.array_equal(p, before)
    assert blend.asked == method
    assert blend.method in METHODS
    assert blend.weights.sum() == pytest.approx(1)
    assert (blend.weights >= 0).all()
    assert blend.score == score("f1", targets, blend.predict(p))
    assert blend.interval[0] <= blend.nested_score <= blend.interval[1]
    assert blend.gain_interval[0] <= blend.gain <= blend.gain_interval[1]
    assert blend.beats_best_run == (blend.gain_interval[0] > 0)
    assert (blend.decision, blend.decision_gain) == (None, None)  # a single label has no thresholds
    assert set(blend.considered) == (set(AVERAGED) if method == "auto" else set())
    done, total = zip(*reported, strict=True)
    assert list(done) == sorted(done)
    assert done[-1] == total[0] == total[-1]


@pytest.mark.parametrize(("method", "top", "fits"), [("auto", None, 3), ("weights", 2, 1), ("mean", 2, 0)])
def test_of_many_clips_a_part_is_fitted_to(monkeypatch, method, top, fits):
    p, targets = runs_of_skill(6, [0.3, 2.0, 0.5, 1.9], clips=1200)
    nested = choose(p, targets, method=method, top=top)
    monkeypatch.setattr(nesting, "MAX_NESTED", 1000)
    monkeypatch.setattr(nesting, "FITTING_CLIPS", 400)
    reported = []
    parted = choose(p, targets, method=method, top=top, on_progress=lambda *done: reported.append(done))
    assert reported == [(i + 1, fits) for i in range(fits)]
    part = nesting.fitting_part(targets, np.arange(1200), seed=0)
    assert parted.members == nested.members
    assert parted.nested_score == score("f1", targets[~part], parted.predict(p[:, ~part]))  # of this very blend
    assert parted.nested_score == pytest.approx(nested.nested_score, abs=0.03)
    assert parted.beats_best_run == nested.beats_best_run


def test_held_out_clips_are_not_fitted_to(monkeypatch):
    """Runs that are right on the clips that judge, and on no other, are not chosen, and chance judges the rest."""
    monkeypatch.setattr(nesting, "MAX_NESTED", 1000)
    monkeypatch.setattr(nesting, "FITTING_CLIPS", 400)
    rng = np.random.default_rng(0)
    targets, groups = np.arange(1200) % 5, np.arange(1200) // 4
    part = nesting.fitting_part(targets, groups, seed=0)
    assert 300 < part.sum() < 500
    assert not set(groups[part]) & set(groups[~part])
    p = rng.dirichlet(np.ones(5), size=(6, 1200))
    p[3, ~part] = np.eye(5)[targets[~part]] * 0.9 + 0.02
    for method in ("mean", "weights"):
        blend = choose(p, targets, groups, "accuracy", method, top=1)
        assert blend.members == (3,)  # best on all clips
        assert blend.nested_score < 0.3
    assert nesting.fitting_part(targets, np.arange(1200) // 30, seed=0).all()  # too few groups in a part


def test_the_best_run_too_is_chosen_on_other_folds():
    """Among 100 runs of noise the best one on all clips is not the peer: its own score is luck."""
    targets = np.arange(150) % 5
    noise = [np.random.default_rng(seed).dirichlet(np.ones(5), size=(100, 150)) for seed in range(8)]
    blends = [choose(p, targets, metric="accuracy", method="mean") for p in noise]
    assert all(blend.single_best[1] > 0.26 for blend in blends)
    assert np.mean([blend.nested_score - blend.gain for blend in blends]) < 0.22
    assert sum(blend.beats_best_run for blend in blends) <= 2
    good, targets = runs_of_skill(0, [1.0] * 12)
    assert choose(good, targets, method="mean").beats_best_run is True


def test_top_is_chosen_within_every_fold_for_fitted_methods_too():
    p, targets = runs_of_skill(5, [0.2, 2.0, 0.1, 1.9, 1.8, 0.0])
    for method in ("greedy", "stack", "auto"):
        blend = choose(p, targets, method=method, top=3)
        assert set(blend.members) <= {1, 3, 4}
        assert blend.predict(p).shape == (200, 5)


@pytest.mark.parametrize("method", ["auto", *FITTED])
def test_a_single_run_is_not_modified(method, monkeypatch):
    monkeypatch.setattr("acoustic_kit.blending.fitting.Fitter._fit_one", lambda *_: pytest.fail("fitted"))
    p, targets = runs_of_skill(6, [1.5, 1.0])
    for runs, top in ((p[:1], None), (p[[0, 0]], None), (p, 1)):
        blend = choose(runs, targets, method=method, top=top)
        assert blend.members == (0,)
        assert np.array_equal(blend.predict(runs), p[0])
        assert blend.nested_score == blend.score


@pytest.mark.parametrize("method", ["auto", *FITTED])
def test_fitted_methods_use_the_best_of_many_runs(method, monkeypatch):
    monkeypatch.setattr("acoustic_kit.blending.fitting.MAX_FITTED", 3)
    p, targets = runs_of_skill(5, [0.2, 2.0, 0.1, 1.9, 1.8, 0.0])
    blend = choose(p, targets, method=method)
    assert set(blend.members) <= {1, 3, 4}
    assert np.array_equal(blend.predict(p), choose(p, targets, method=method, top=3).predict(p))
    assert len(choose(p, targets, method="mean").members) == 6


def test_hard_zeros_and_ones_are_taken():
    p, targets = runs_of_skill(7, [2.0, 1.0, 1.5])
    hard = np.eye(5)[p.argmax(axis=2)]
    for method in FITTED:
        assert np.isfinite(choose(hard, targets, method=method).predict(hard)).all()


def test_classes_of_one_clip_do_not_stop_anything():
    p, targets = runs_of_skill(8, [2.0, 1.0, 1.5], clips=60, classes=6)
    targets[targets == 5] = 0
    targets[3] = 5
    targets[targets == 4] = 1  # a class that no clip has
    for method in ("auto", *FITTED):
        assert np.isfinite(choose(p, targets, method=method).nested_score)


@pytest.mark.slow
@pytest.mark.parametrize("metric", ["f1", "map"])
def test_fitted_methods_on_several_labels(metric):
    rng = np.random.default_rng(5)
    targets = rng.random((120, 4)) < 0.3
    skill = np.array([0.0, 3.0, 2.0, 2.5])[:, None, None]
    p = expit(rng.standard_normal((4, 120, 4)) + skill * (targets - 0.5))
    for method in ("auto", *FITTED):
        blend = choose(p, targets, metric=metric, method=method)
        assert blend.task == "multi"
        assert blend.nested_score > score(metric, targets, p[2])


def with_unknown_targets(seed):
    """Two runs of several labels, their targets, and which negative ones are unknown."""
    rng = np.random.default_rng(seed)
    targets = rng.random((150, 3)) < 0.4
    p = expit(np.array([3.0, 1.5])[:, None, None] * (targets - 0.5) + rng.standard_normal((2, 150, 3)))
    return p, targets, ~targets & (rng.random(targets.shape) < 0.5)


@pytest.mark.parametrize(("method", "metric"), [("weights", "f1"), ("weights", "map"), ("greedy", "f1")])
def test_weights_ignore_predictions_of_unknown_targets(method, metric):
    p, targets, unknown = with_unknown_targets(0)
    masked = np.where(unknown, np.nan, targets)
    before = METHODS[method](p, masked, None, metric).weights
    p[0][unknown] = 0.95
    assert np.allclose(METHODS[method](p, masked, None, metric).weights, before)
    assert before.min() < 0.45


def test_a_stack_leaves_unknown_targets_out():
    p, targets, unknown = with_unknown_targets(0)
    p[:, unknown] = 0.8
    masked = blending.stack(p, np.where(unknown, np.nan, targets)).predict(p)
    assert masked[unknown].mean() > blending.stack(p, targets).predict(p)[unknown].mean() + 0.2


@pytest.mark.parametrize("metric", ["f1", "roc_auc", "lwlrap"])
def test_auto_blends_with_unknown_targets(metric):
    rng = np.random.default_rng(0)
    targets = np.where(rng.random((120, 3)) < 0.2, np.nan, rng.random((120, 3)) < 0.4)
    p = expit(2 * np.nan_to_num(targets) + rng.standard_normal((3, 120, 3)))
    for diverse in (False, True):
        blend = choose(p, targets, metric=metric, top=2, diverse=diverse)
        assert np.isfinite(blend.nested_score)
        assert blend.score == score(metric, targets, blend.predict(p))
