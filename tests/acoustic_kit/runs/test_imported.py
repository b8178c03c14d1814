"""Predictions from elsewhere: every form gives the same run, and what is wrong with a file is said."""

import io
import os
import pickle
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from acoustic_kit.ensemble.run_blend import blend_runs
from acoustic_kit.errors import AkitError, UsageError
from acoustic_kit.metrics.scores import score
from acoustic_kit.recipe.recipe import load_recipe
from acoustic_kit.runs.imported import import_run
from acoustic_kit.runs.leaderboard import leaderboard
from acoustic_kit.runs.run import open_run
from acoustic_kit.runs.runner import run_recipe
from acoustic_kit.workspace.workspace import Workspace


def ids_of(workspace: Workspace, split: str) -> list[str]:
    return workspace.manifest.filter(pl.col("split") == split)["id"].to_list()


def frame(workspace: Workspace, split: str, seed: int = 0) -> pl.DataFrame:
    """Random probabilities of the clips of a split, in the order of the classes."""
    ids, classes = ids_of(workspace, split), list(workspace.config.classes)
    p = np.random.default_rng(seed).dirichlet(np.ones(len(classes)), size=len(ids))
    return pl.DataFrame({"id": ids, **{name: p[:, i] for i, name in enumerate(classes)}})


def write(table: pl.DataFrame, path: Path) -> Path:
    table.write_parquet(path) if path.suffix == ".parquet" else table.write_csv(path)
    return path


def test_every_form_gives_the_same_run(workspace: Workspace, tmp_path: Path) -> None:
    table = frame(workspace, "test")
    classes = workspace.config.classes
    shuffled = table.sample(fraction=1, shuffle=True, seed=1)
    files = [
        write(table, tmp_path / "plain.csv"),
        write(table, tmp_path / "plain.parquet"),
        write(shuffled.select("id", *reversed(classes)), tmp_path / "moved.csv"),
        write(table.rename({name: str(index) for name, index in classes.items()}), tmp_path / "indices.parquet"),
    ]
    semicolons = tmp_path / "windows.csv"
    text = table.rename({"id": "fname"}).write_csv(separator=";").replace("\n", "\r\n")
    semicolons.write_bytes(b"\xef\xbb\xbf" + text.encode())
    runs = [import_run(workspace, file, name="other") for file in [*files, semicolons]]
    array, ids = tmp_path / "p.npy", tmp_path / "ids.txt"
    np.save(array, table.select(*classes).to_numpy())
    ids.write_text("\n".join(table["id"]) + "\n")
    runs.append(import_run(workspace, array, ids=ids, name="other"))
    assert len({run.name for run in runs}) == 1
    assert runs[0].name.startswith("other-")
    test = open_run(runs[0].path).test
    assert test is not None
    np.testing.assert_allclose(test.aligned(table["id"].to_list()), table.select(*classes).to_numpy(), rtol=1e-12)


def test_an_imported_run_is_ranked_and_blended_by_its_score(workspace: Workspace, tmp_path: Path) -> None:
    own, _ = run_recipe(workspace, load_recipe("stats_pca_linear"))
    oof = frame(workspace, "train")
    run = import_run(
        workspace, write(frame(workspace, "test"), tmp_path / "t.csv"), write(oof, tmp_path / "o.csv"), note="noise"
    )
    classes = tuple(workspace.config.classes)
    label = dict(zip(workspace.manifest["id"], workspace.manifest["label"].to_list(), strict=True))
    targets = np.array([classes.index(label[id][0]) for id in oof["id"]])
    expected = score("f1", targets, oof.select(classes).to_numpy())
    assert run.record.metrics["f1"] == pytest.approx(expected)
    board = leaderboard([own, run], workspace.manifest, workspace.task_spec)
    assert [standing.run.name for standing in board] == [own.name, run.name]
    assert board[1].score == pytest.approx(expected)
    assert board[1].complete
    result = blend_runs(workspace, method="mean")
    assert {one.name for one in result.members} == {own.name, run.name}
    assert result.submission is not None


def test_blended_only_by_name_without_out_of_fold(workspace: Workspace, tmp_path: Path) -> None:
    own, _ = run_recipe(workspace, load_recipe("stats_pca_linear"))
    run = import_run(workspace, write(frame(workspace, "test"), tmp_path / "t.csv"))
    result = blend_runs(workspace)
    assert [one.name for one in result.members] == [own.name]
    assert "without out-of-fold" in result.left_out[run.name]
    named = blend_runs(workspace, runs=[own.name, run.name])
    assert not named.scored
    assert named.submission is not None
    with pytest.raises(UsageError, match="nothing can be fitted"):
        blend_runs(workspace, runs=[own.name, run.name], method="greedy")


def test_some_out_of_fold_predictions_do_not_make_it_a_candidate(workspace: Workspace, tmp_path: Path) -> None:
    run_recipe(workspace, load_recipe("stats_pca_linear"))
    run = import_run(workspace, None, write(frame(workspace, "train").head(7), tmp_path / "o.csv"))
    assert "lacks out-of-fold" in blend_runs(workspace).left_out[run.name]


SPOILED = {
    "nan": lambda t: t.with_columns(pl.lit(float("nan")).alias(t.columns[1])),
    "negative": lambda t: t.with_columns(-pl.col(t.columns[1])),
    "percent": lambda t: t.with_columns(pl.exclude("id") * 100),
    "sum": lambda t: t.with_columns(pl.col(t.columns[1]) * 0.5),
    "missing class": lambda t: t.drop(t.columns[1]),
    "unknown class": lambda t: t.rename({t.columns[1]: "<b>what</b>"}),
    "missing id": lambda t: t.head(3),
    "unknown id": lambda t: t.with_columns(pl.lit("nobody.wav").alias("id")).head(1),
    "twice": lambda t: pl.concat([t, t.head(1)]),
    "empty": lambda t: t.head(0),
}


@pytest.mark.parametrize("suffix", [".csv", ".parquet"])
@pytest.mark.parametrize(
    ("how", "says"),
    [
        ("nan", "not probabilities"),
        ("negative", "not probabilities"),
        ("percent", "percent"),
        ("sum", "must sum to 1"),
        ("missing class", "missing: "),
        ("unknown class", "unknown: '<b>what</b>'"),
        ("missing id", "lacks 9 of the 12 test clips"),
        ("unknown id", "not test clips .*'nobody.wav'"),
        ("twice", "occurs twice"),
        ("empty", "has no rows|lacks 12"),
    ],
)
def test_what_is_wrong_with_a_table_is_said(
    workspace: Workspace, tmp_path: Path, suffix: str, how: str, says: str
) -> None:
    path = write(SPOILED[how](frame(workspace, "test")), tmp_path / f"bad{suffix}")
    with pytest.raises(AkitError, match=says) as caught:
        import_run(workspace, path)
    assert str(path) in str(caught.value)
    assert not workspace.runs_path.exists()


def test_a_class_that_is_there_twice_is_named(workspace: Workspace, tmp_path: Path) -> None:
    path = write(frame(workspace, "test"), tmp_path / "bad.csv")
    first, *lines = path.read_text().splitlines()
    name = first.split(",")[1]
    path.write_text("\n".join([f"{first},{name}", *(f"{line},0" for line in lines)]) + "\n")
    with pytest.raises(AkitError, match=f"more than one column of a name: '{name}'"):
        import_run(workspace, path)


@pytest.mark.parametrize(
    "content", [b"", b"\x00\xff\xfe", b"id,a\n", b"PAR1garbagePAR1", b"\x93NUMPY garbage", b"id,dog\nx,\xff\n"]
)
@pytest.mark.parametrize("suffix", [".csv", ".parquet", ".npy"])
def test_files_that_are_none_are_told(workspace: Workspace, tmp_path: Path, suffix: str, content: bytes) -> None:
    path, ids = tmp_path / f"x{suffix}", tmp_path / "ids.txt"
    path.write_bytes(content)
    ids.write_text("a\n")
    with pytest.raises(AkitError, match=str(path)):
        import_run(workspace, path, ids=ids if suffix == ".npy" else None)


class Trap:
    def __reduce__(self) -> tuple:
        return (Path.touch, (Path("trapped"),))


def test_an_array_of_objects_is_not_unpickled(
    workspace: Workspace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    ids = tmp_path / "ids.txt"
    ids.write_text("a\n")
    file = io.BytesIO()
    np.save(file, np.array([[Trap()] * 3], dtype=object), allow_pickle=True)
    for name, content in (("o.npy", file.getvalue()), ("p.npy", pickle.dumps(Trap()))):
        (tmp_path / name).write_bytes(content)
        with pytest.raises(AkitError, match=r"cannot be read as an \.npy file"):
            import_run(workspace, tmp_path / name, ids=ids)
    assert not (tmp_path / "trapped").exists()


@pytest.mark.parametrize("shape", ["(10000000000, 3)", "(-3, 3)", "(99999999999999999999, 3)"])
def test_the_shape_in_an_arrays_header_takes_no_memory(workspace: Workspace, tmp_path: Path, shape: str) -> None:
    header = f"{{'descr': '<f8', 'fortran_order': False, 'shape': {shape}, }}".ljust(117) + "\n"
    (tmp_path / "a.npy").write_bytes(b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little") + header.encode())
    (tmp_path / "ids.txt").write_text("a\n")
    with pytest.raises(AkitError, match=r"a\.npy"):
        import_run(workspace, tmp_path / "a.npy", ids=tmp_path / "ids.txt")
    os.mkfifo(tmp_path / "pipe")
    np.save(tmp_path / "b.npy", np.zeros((1, 3)))
    with pytest.raises(AkitError, match="pipe"):
        import_run(workspace, tmp_path / "b.npy", ids=tmp_path / "pipe")


def test_misuse_is_told(workspace: Workspace, tmp_path: Path) -> None:
    table = write(frame(workspace, "test"), tmp_path / "t.csv")
    np.save(tmp_path / "p.npy", np.zeros((2, 3)))
    with pytest.raises(UsageError, match="--oof"):
        import_run(workspace, None)
    with pytest.raises(UsageError, match="--ids"):
        import_run(workspace, tmp_path / "p.npy")
    with pytest.raises(UsageError, match="--ids"):
        import_run(workspace, table, ids=table)
    with pytest.raises(UsageError, match="no file"):
        import_run(workspace, tmp_path / "none.csv")


def test_no_name_escapes_the_runs_folder(workspace: Workspace, tmp_path: Path) -> None:
    table = write(frame(workspace, "test"), tmp_path / "t.csv")
    for name in ("../../x", "..", "", "/etc", "a\nb", "日本"):
        run = import_run(workspace, table, name=name)
        assert run.path.parent == workspace.runs_path
        assert "/" not in run.name
