"""Full disks, forbidden folders, damaged and half-copied files: one message that names the file, and nothing lost."""

import re
import resource
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import polars as pl
import pytest
from typer.testing import CliRunner

from acoustic_kit.cli import app
from acoustic_kit.recipe.recipe import load_recipe
from acoustic_kit.runs.runner import run_recipe
from acoustic_kit.workspace.workspace import Workspace

Tree = Callable[[Path], dict[str, object]]


def fail(*arguments: str | Path) -> str:
    """What a command says that fails: on stderr, beside its device and progress bars, in two lines at most."""
    result = CliRunner().invoke(app, [str(argument) for argument in arguments])
    assert result.exit_code == 1, result.output
    assert "Traceback" not in result.output
    assert "defect" not in result.output
    lines = [
        line for line in result.stderr.splitlines() if line.strip() and not re.search(r"\d/\d+ |^Training on ", line)
    ]
    assert len(lines) <= 2, result.stderr
    return "\n".join(lines)


def succeed(*arguments: str | Path) -> None:
    result = CliRunner().invoke(app, [str(argument) for argument in arguments])
    assert result.exit_code == 0, result.output


@pytest.fixture(scope="module")
def trained(built: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A workspace with a run and a submission; copy it before you change it."""
    root = shutil.copytree(built, tmp_path_factory.mktemp("trained") / "work")
    run_recipe(Workspace.find(root), load_recipe("stats_pca_linear"))
    succeed("-C", root, "blend", "--method", "mean", "--name", "first")
    return root


@pytest.fixture
def work(trained: Path, tmp_path: Path) -> Path:
    """A copy of `trained`."""
    return shutil.copytree(trained, tmp_path / "work")


def run_of(root: Path) -> Path:
    (path,) = (root / "runs").iterdir()
    return path


@contextmanager
def file_size_limit(n_bytes: int) -> Iterator[None]:
    """No file may grow beyond this, as on a disk that is full."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (n_bytes, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


# --- full disks ---


@pytest.mark.parametrize(
    ("limit", "arguments", "names"),
    [
        (150, ["features", "build", "logmel", "--workers", "0"], "zarr.json"),
        (3000, ["features", "build", "logmel", "--workers", "0"], "logmel-"),
        (0, ["recipe", "run", "stats_pca_linear", "--folds", "1", "--set", "C=0.2"], "recipe.py"),
        (8000, ["recipe", "run", "stats_pca_linear", "--folds", "1", "--set", "C=0.2"], "model.skops"),
        (20, ["blend", "--method", "mean", "--name", "first"], "first.csv"),
        (400, ["blend", "--method", "mean", "--name", "first"], "first.json"),
        (3000, ["report"], "report.html"),
        (2000, ["recipe", "tune", "stats_pca_linear", "--trials", "1", "--workers", "0"], "study.db"),
    ],
    ids=lambda value: " ".join(value[:2]) if isinstance(value, list) else None,
)
def test_a_full_disk_is_told_and_costs_nothing_that_was_there(
    work: Path, limit: int, arguments: list[str], names: str, tree: Tree
) -> None:
    before = tree(work)
    with file_size_limit(limit):
        said = fail("-C", work, *arguments)
    assert names in said
    after = tree(work)
    assert {path: content for path, content in after.items() if path in before} == before
    assert not [path for path in after if ".tmp" in path or ".partial" in path]
    if arguments[:2] != ["recipe", "tune"]:  # a minute
        succeed("-C", work, *arguments)


def test_a_full_disk_leaves_no_half_workspace(synthetic: Path, tmp_path: Path) -> None:
    with file_size_limit(1000):
        said = fail("init", tmp_path / "new", "--data", synthetic)
    assert "manifest.parquet cannot be written: File too large" in said
    assert not list((tmp_path / "new").iterdir())
    succeed("init", tmp_path / "new", "--data", synthetic)


def test_a_file_system_that_fills_up_while_features_are_built(work: Path, tmp_path: Path) -> None:
    small = tmp_path / "small"
    small.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=400k", "tmpfs", small], capture_output=True, check=False
    )
    if mounted.returncode:
        pytest.skip("mounting a small file system needs more rights than these")
    try:
        config = work / "akit.toml"
        config.write_text(f'store = "{small}/features.zarr"\n' + config.read_text())
        said = fail("-C", work, "features", "build", "stats", "--workers", "2")
        assert "No space left on device" in said
        assert "What was stored before is kept" in said
        subprocess.run(["mount", "-o", "remount,size=20m", small], check=True)
        succeed("-C", work, "features", "build", "stats", "--workers", "0")
        succeed("-C", work, "features", "verify")
    finally:
        subprocess.run(["umount", "-l", small], check=True)  # lazily: what was read is still mapped


# --- what may not be written ---

# Everything is imported, by commands that may write, before the rights are given up: the checkout may lie anywhere.
AS_NOBODY = """
import os, shutil, sys
from pathlib import Path
from typer.testing import CliRunner
from acoustic_kit.cli import app

def akit(*arguments):
    result = CliRunner().invoke(app, [str(a) for a in arguments])
    last = [line for line in result.output.splitlines() if line.strip()][-2:]
    print(result.exit_code, " ".join(last), flush=True)

open_, shut = Path(sys.argv[1]), Path(sys.argv[2])
commands = [
    ("features", "build", "stats", "--workers", "0"),
    ("features", "build", "logmel", "--workers", "0"),
    ("recipe", "run", "stats_pca_linear", "--set", "C=0.3", "--folds", "1"),
    ("blend", "--method", "mean", "--name", "first"),
]
for command in commands:
    akit("-C", open_, *command)
if os.getuid() == 0:
    os.setgroups([])
    os.setgid(65534)
    os.setuid(65534)
for command in commands:
    akit("-C", shut, *command)
"""


def test_read_only_workspace_errors_name_the_path_and_reads_work(trained: Path, synthetic: Path, tree: Tree) -> None:
    with tempfile.TemporaryDirectory() as name:  # tmp_path is closed to others
        folder = Path(name)
        folder.chmod(0o755)
        data = shutil.copytree(synthetic, folder / "data")
        roots = [shutil.copytree(trained, folder / each) for each in ("open", "shut")]
        for root in roots:
            config = root / "akit.toml"
            config.write_text(re.sub(r'^data = ".*"', f'data = "{data}"', config.read_text(), flags=re.M))
        before = tree(roots[1])
        for path in (data, roots[1], *data.rglob("*"), *roots[1].rglob("*")):
            path.chmod(0o555 if path.is_dir() else 0o444)
        found = subprocess.run(
            [sys.executable, "-c", AS_NOBODY, *roots], capture_output=True, text=True, check=False, cwd=folder
        )
        lines = found.stdout.splitlines()
        assert len(lines) == 8, found.stderr
        assert [line[0] for line in lines[:4]] == list("0000")  # the data folder is only read
        held, build, run, blend = lines[4:]
        assert held.startswith("0")
        for line, file in ((build, "features.zarr"), (run, "runs"), (blend, "first.csv")):
            assert line.startswith("1 "), line
            assert f"{roots[1]}" in line
            assert file in line
            assert "ermission" in line
            assert "defect" not in line
        assert tree(roots[1]) == before
        for path in (roots[1], *roots[1].rglob("*"), data, *data.rglob("*")):
            path.chmod(0o755)


# --- edited and damaged files ---


def truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


MANIFESTS: dict[str, tuple[Callable[[pl.DataFrame], pl.DataFrame], str]] = {
    "missing column": (lambda m: m.drop("fold"), "column 'fold' should be Int64 and is missing"),
    "wrong type": (lambda m: m.with_columns(pl.col("fold").cast(pl.String)), "should be Int64 and is String"),
    "duplicate id": (lambda m: pl.concat([m, m[:1]]), "has the id of another clip"),
    "no id": (lambda m: m.with_columns(id=pl.lit("")), "has no id"),
    "unknown class": (
        lambda m: m.with_columns(label=pl.when(split="train").then(pl.lit(["zebra"])).otherwise("label")),
        "a label that is not a class",
    ),
    "path upwards": (lambda m: m.with_columns(path=pl.lit("../../etc/passwd")), "one that leaves the data root"),
    "absolute path": (lambda m: m.with_columns(path=pl.lit("/etc/passwd")), "one that leaves the data root"),
    "unknown split": (lambda m: m.with_columns(split=pl.lit("validation")), "a split other than"),
    "empty": (lambda m: m[:0], "the manifest has no clips"),
}


@pytest.mark.parametrize("edit", MANIFESTS)
def test_an_edited_manifest_is_told_with_what_is_wrong(work: Path, edit: str) -> None:
    path, (change, says) = work / "manifest.parquet", MANIFESTS[edit]
    change(pl.read_parquet(path)).write_parquet(path)
    said = fail("-C", work, "features", "build", "--workers", "0")
    assert f"{path}: " in said
    assert says in said
    assert "runs and features stay valid" in said


@pytest.mark.parametrize(
    "harm", [truncate, lambda path: path.write_text("id,label"), Path.unlink], ids=["cut", "other text", "gone"]
)
def test_a_damaged_manifest_can_be_made_again_and_no_run_is_lost(
    work: Path, synthetic: Path, tmp_path: Path, harm: Callable[[Path], object]
) -> None:
    harm(work / "manifest.parquet")
    said = fail("-C", work, "runs", "list")
    assert f"{work / 'manifest.parquet'} cannot be read" in said
    succeed("init", tmp_path / "again", "--data", synthetic, "--test-folds", "5")  # as the message says
    shutil.copy(tmp_path / "again" / "manifest.parquet", work)
    result = CliRunner().invoke(app, ["-C", str(work), "recipe", "run", "stats_pca_linear"])
    assert result.exit_code == 0
    assert "already there" in result.output


@pytest.mark.parametrize(("text", "says"), [("[[", "is not valid TOML"), ("\0", "is not valid TOML"), ("", "data: ")])
def test_a_broken_configuration_is_told_with_its_place(work: Path, text: str, says: str) -> None:
    path = work / "akit.toml"
    good = path.read_text()
    path.write_text(text)
    assert says in (said := fail("-C", work, "runs", "list"))
    assert str(path) in said
    path.write_text(good)
    succeed("-C", work, "runs", "list")


@pytest.mark.parametrize(
    ("part", "harm", "command"),
    [
        ("oof.parquet", truncate, "blend --method mean"),
        ("test.parquet", truncate, "blend --method mean"),
        ("folds/2/fold.json", truncate, "recipe run stats_pca_linear"),
        ("run.json", truncate, "recipe run stats_pca_linear"),
        ("folds/2/model.skops", truncate, "predict RUN DATA --workers 0"),
        ("folds/2/model.skops", Path.unlink, "predict RUN DATA --workers 0"),
    ],
    ids=lambda value: getattr(value, "__name__", value),
)
def test_damaged_run_part_is_named_and_deleting_it_recovers(
    work: Path, trained: Path, part: str, harm: Callable[[Path], object], command: str, tree: Tree
) -> None:
    run, data = run_of(work), Workspace.find(work).data_root
    harm(run / part)
    if command.startswith("recipe") or part.startswith("folds"):
        (run / "oof.parquet").unlink()  # so that it has to look
    said = fail("-C", work, *command.replace("RUN", str(run)).replace("DATA", str(data)).split())
    assert str(run / part) in said or (part == "run.json" and run.name in said) or str((run / part).parent) in said
    assert "run the recipe again" in said or "Copy the whole folder" in said
    path = run / part
    shutil.rmtree(path.parent) if part.startswith("folds") else path.unlink()
    succeed("-C", work, "recipe", "run", "stats_pca_linear")
    assert tree(run) == tree(run_of(trained))


@pytest.mark.parametrize("part", ["oof.parquet", "run.json", "folds/2/fold.json"])
def test_damaged_run_is_named_and_the_others_still_work(work: Path, part: str) -> None:
    good = run_of(work)
    bad = shutil.copytree(good, good.with_name("damaged-00000000"))
    (bad / "run.json").write_text((good / "run.json").read_text().replace(good.name, bad.name))
    truncate(bad / part)
    for command in (["runs", "list"], ["blend", "--method", "mean"], ["report"]):
        result = CliRunner().invoke(app, ["-C", str(work), *command])
        assert result.exit_code == 0, result.output
        if command != ["report"]:
            assert good.name in result.stdout
            assert str(bad) in result.output or bad.name in result.output
    assert good.name in (page := next((work / "reports").glob("*.html")).read_text())
    assert bad.name in page


def test_incomplete_run_is_not_blended_but_can_be_completed(work: Path, trained: Path, tree: Tree) -> None:
    run = run_of(work)
    shutil.rmtree(run / "folds" / "3")
    assert "lacks out-of-fold predictions of fold 3" in fail("-C", work, "blend")
    succeed("-C", work, "recipe", "run", "stats_pca_linear")
    assert tree(run) == tree(run_of(trained))


@pytest.mark.slow
def test_a_damaged_checkpoint_is_named_and_costs_its_stage(workspace: Workspace, tree: Tree) -> None:
    tiny = ["--set", "width=4", "--set", "frames=24", "--set", "n_mels=32", "--set", "epochs=1", "--folds", "1"]
    command = ["-C", workspace.root, "recipe", "run", "logmel_cnn", "--device", "cpu", *tiny]
    succeed(*command)
    run = run_of(workspace.root)
    before = tree(run)
    stage = run / "checkpoints" / "1" / "cnn"
    stage.mkdir(parents=True)
    shutil.rmtree(run / "folds" / "1")
    (stage / "state.safetensors").write_bytes(b"half")
    said = fail(*command)
    assert str(stage / "state.safetensors") in said
    assert f"Delete {stage}" in said
    shutil.rmtree(stage)
    succeed(*command)
    assert tree(run) == before
