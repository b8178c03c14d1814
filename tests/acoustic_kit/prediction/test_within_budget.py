"""A blend is reduced to the members that predict within a budget, by made timings; the choice outlives a stop."""

import shutil
from pathlib import Path

import numpy as np
import pytest

from acoustic_kit.device import AUTO
from acoustic_kit.ensemble.run_blend import blend_runs
from acoustic_kit.errors import RunError
from acoustic_kit.features import with_sources
from acoustic_kit.features.build.worker import Workers
from acoustic_kit.prediction import open_predictor, predict, predict_rows
from acoustic_kit.prediction.budget import Budget, Costs
from acoustic_kit.prediction.forecast import Seconds, costs_of_all, features_of, measure_costs, spread_sample
from acoustic_kit.prediction.models import Predictor
from acoustic_kit.prediction.new_clips import NewClip
from acoustic_kit.prediction.rows import RowPlan
from acoustic_kit.prediction.slices import FinishedSlices
from acoustic_kit.prediction.within_budget import Forecast, fit_budget
from acoustic_kit.workspace.workspace import Workspace


@pytest.fixture(scope="module")
def kit(trained: Workspace, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with the runs and the submission `pair` of two of them, outside of any workspace."""
    folder = tmp_path_factory.mktemp("kit")
    work = Workspace.find(shutil.copytree(trained.root, folder / "work"))
    names = [path.name for path in work.runs_path.iterdir() if not path.name.startswith("logmel")]
    blend_runs(work, runs=names, method="mean", name="pair")
    shutil.move(work.runs_path, folder / "runs")
    shutil.move(work.submissions_path, folder / "submissions")
    shutil.rmtree(work.root)
    return folder


@pytest.fixture
def pair(kit: Path) -> Predictor:
    return open_predictor(kit / "submissions" / "pair.json", trust=True)


def made_costs(*models: float) -> Costs:
    return Costs(1.0, {}, models, tuple(frozenset[str]() for _ in models))


def fitted(
    predictor: Predictor,
    files: dict[str, Path],
    costs: Costs,
    seconds: float,
    finished: FinishedSlices | None = None,
) -> tuple[Predictor, list[Forecast]]:
    """Return the predictor that fits a budget by made costs, and the forecasts that were told."""
    told: list[Forecast] = []
    plan, budget = RowPlan.of_files(files), Budget(seconds)
    found, _ = fit_budget(predictor, plan, budget, lambda _: costs, finished=finished, on_forecast=told.append)
    return found, told


def test_a_blend_that_fits_stays_as_it_is(pair: Predictor, new_files: dict[str, Path]) -> None:
    found, (told,) = fitted(pair, new_files, made_costs(10, 20), 1000)
    assert found is pair
    assert told.kept == [0, 1]
    assert 31 <= told.seconds < 1000


@pytest.mark.parametrize("slow", [0, 1])
def test_the_member_that_does_not_fit_is_dropped(pair: Predictor, new_files: dict[str, Path], slow: int) -> None:
    costs = made_costs(*(5000.0 if member == slow else 10.0 for member in range(2)))
    found, (told,) = fitted(pair, new_files, costs, 1000)
    assert found.members == (pair.members[1 - slow],)
    assert [one.is_kept for one in told.judged] == [slow == 1, slow == 0]
    assert all(one.without is not None and 0 <= one.without <= 1 for one in told.judged)
    assert told.nested[1] == told.judged[slow].without
    rows = predict_rows(found, RowPlan.of_files(new_files))
    alone = predict_rows(open_predictor(found.members[0].run.path, trust=True), RowPlan.of_files(new_files))
    np.testing.assert_allclose(rows.probabilities, alone.probabilities, atol=1e-12)


def test_a_budget_that_no_member_fits_is_refused(pair: Predictor, new_files: dict[str, Path]) -> None:
    name = pair.members[0].run.name
    with pytest.raises(RunError, match=rf"no member fits. {name} alone takes .*--budget 1[89]m would suffice"):
        fitted(pair, new_files, made_costs(999, 2000), 100)


def test_one_run_has_nothing_to_drop(kit: Path, new_files: dict[str, Path]) -> None:
    run = next((kit / "runs").glob("stats_pca_linear-*"))
    with pytest.raises(RunError, match=r"has one member. --budget \d+m would suffice"):
        fitted(open_predictor(run), new_files, made_costs(999), 100)


@pytest.mark.parametrize(("lost", "why"), [("oof.parquet", "oof.parquet"), ("labels.parquet", "labels.parquet")])
def test_without_predictions_or_labels_no_member_is_dropped(
    kit: Path, new_files: dict[str, Path], tmp_path: Path, lost: str, why: str
) -> None:
    copy = shutil.copytree(kit, tmp_path / "copy")
    for path in (copy / "runs").glob(f"*/{lost}"):
        path.unlink()
    predictor = open_predictor(copy / "submissions" / "pair.json", trust=True)
    with pytest.raises(RunError, match=rf"cannot be dropped: .*{why}"):
        fitted(predictor, new_files, made_costs(10, 5000), 1000)


def test_a_run_in_its_workspace_needs_no_stored_labels(
    trained: Workspace, new_files: dict[str, Path], tmp_path: Path
) -> None:
    work = Workspace.find(shutil.copytree(trained.root, tmp_path / "work"))
    for path in work.runs_path.glob("*/labels.parquet"):  # as runs of earlier versions
        path.unlink()
    names = [path.name for path in work.runs_path.iterdir() if not path.name.startswith("logmel")]
    blend_runs(work, runs=names, method="geometric", name="pair")
    predictor = open_predictor("pair", work.root)
    found, _ = fitted(predictor, new_files, made_costs(10, 5000), 1000)
    assert found.members == (predictor.members[0],)


def test_a_resumed_prediction_has_the_members_that_were_chosen(
    pair: Predictor, new_files: dict[str, Path], tmp_path: Path
) -> None:
    finished = FinishedSlices.beside(tmp_path / "out.csv", pair, AUTO)
    first, _ = fitted(pair, new_files, made_costs(10, 5000), 1000, finished)
    again, told = fitted(pair, new_files, made_costs(5000, 10), 1000, finished)  # timings differ
    assert [member.run.name for member in again.members] == [member.run.name for member in first.members]
    assert told == []
    of_first, of_again = (FinishedSlices.beside(tmp_path / "out.csv", one, AUTO).key for one in (first, again))
    assert of_first == of_again != finished.key
    other, _ = fitted(pair, new_files, made_costs(5000, 10), 999, finished)  # another budget
    assert other.members == (pair.members[1],)
    finished.remove()
    assert not finished.folder.exists()


def test_costs_of_all_clips_have_fixed_and_variable_parts() -> None:
    few = Seconds(4, 1.0, {}, {"wave": 0.0, "stats": 0.5}, (2.0, 1.0))
    many = Seconds(24, 3.0, {}, {"wave": 0.0, "stats": 2.5}, (2.0, 5.0))
    needs = frozenset({"wave"}), frozenset({"wave", "stats"})
    costs = costs_of_all(few, many, 1000, 10, needs, [5, 3])
    assert costs.decoding == pytest.approx(10 * 0.6 + 1000 * 0.1)
    assert costs.features == pytest.approx({"wave": 0.0, "stats": 10 * 0.1 + 1000 * 0.1})
    assert costs.models == pytest.approx((5 * 10 * 2.0, 3 * (10 * 0.2 + 1000 * 0.2)))
    assert costs.needs == needs


def test_of_several_waves_each_pays_what_it_adds() -> None:
    two = {"wave-1": 6.0, "wave-2": 8.0}  # 4 s of each are decoding
    found = Seconds(10, 10.0, two, {"wave-1": 0.0, "wave-2": 0.0}, (0.0, 0.0))
    costs = costs_of_all(found, found, 10, 1, (frozenset({"wave-1"}), frozenset({"wave-2"})), [1, 1])
    assert costs.decoding == pytest.approx(4.0)
    assert costs.features == pytest.approx({"wave-1": 2.0, "wave-2": 4.0})


def test_a_sample_is_spread_over_files_by_size(tmp_path: Path) -> None:
    files = [tmp_path / f"{i}.wav" for i in range(10)]
    for i, path in enumerate(files):
        path.write_bytes(bytes(100 * (i * 7 % 10)))
    whole = [NewClip(path.name, path, path.name) for path in files]
    sizes = sorted(files[i].stat().st_size for i in spread_sample(whole, 5, 4))
    assert sizes == [100, 300, 500, 700, 900]
    windows = [NewClip(f"{path.stem}_{k}", path, path.name, k, k + 1) for path in files for k in range(50)]
    chosen = spread_sample(windows, 20, 4)
    assert {windows[i].start for i in chosen} == set(range(5))
    assert len({windows[i].file for i in chosen}) == 4


def test_seconds_of_the_forecast_are_done_step_by_step(
    pair: Predictor, new_files: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(predict, "SLICE", 5)
    monkeypatch.setattr(predict, "AT_ONCE", 3)
    keys = [frozenset(f.key for f in with_sources(features_of(pair, i))) for i in range(2)]
    costs = Costs(100.0, dict.fromkeys(keys[0] | keys[1], 50.0), (200.0, 300.0), tuple(keys))
    steps: list[tuple[int, int]] = []
    predict_rows(
        pair,
        RowPlan.of_files(new_files),
        on_progress=lambda what, *n: steps.append(n) if what == predict.WHOLE else None,
        costs=costs,
    )
    done, totals = zip(*steps, strict=True)
    assert set(totals) == {round(costs.whole)}
    assert list(done) == sorted(done)
    assert done[-1] == totals[-1]
    assert 5 / 12 * totals[0] == pytest.approx(done[len(done) * 5 // 12], rel=0.3)  # it is even, not only at the end


def test_real_clips_are_measured(pair: Predictor, new_files: dict[str, Path]) -> None:
    clips, steps = RowPlan.of_files(new_files).clips, []
    costs = measure_costs(pair, clips, None, Workers(0), AUTO, 0.1, lambda _, *n: steps.append(n))
    assert costs.decoding > 0
    assert len(costs.models) == 2
    assert min(costs.models) > 0
    assert all(needed <= set(costs.features) for needed in costs.needs)
    assert steps == [(1, 3), (2, 3), (3, 3)]
