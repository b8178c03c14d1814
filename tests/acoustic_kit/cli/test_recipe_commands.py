"""`akit recipe list`, `show`, `run` and `tune`: published values, patterns, leaks, and weighted sums as metrics."""

import io
import json
import re
import sys
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from typer.testing import CliRunner, Result

from acoustic_kit.cli import app
from acoustic_kit.recipe.catalog import find_recipes, recipe_folders
from acoustic_kit.recipe.recipe import load_recipe
from acoustic_kit.workspace.workspace import Workspace

SUM = "0.8*accuracy+0.2*f1"


def akit(*arguments: str | Path, code: int = 0) -> Result:
    result = CliRunner().invoke(app, [str(argument) for argument in arguments])
    assert result.exit_code == code, result.output
    return result


def document(*arguments: str | Path) -> Any:
    return json.loads(akit(*arguments).stdout)


def write_variants(workspace: Workspace, *names: str) -> None:
    text = (Path(__file__).parents[3] / "recipes" / "stats_pca_linear.py").read_text()
    workspace.recipes_path.mkdir()
    for number, name in enumerate(names):
        (workspace.recipes_path / f"{name}.py").write_text(text.replace("Field(0.1,", f"Field({0.1 * 2**-number},"))


def divide_groups(workspace: Workspace) -> None:
    workspace.manifest.with_columns(group=pl.col("label").list.first()).write_parquet(workspace.manifest_path)


def test_tuning_prints_the_best_and_writes_settings_to_run(workspace: Workspace) -> None:
    root = workspace.root
    result = akit("-C", root, "recipe", "tune", "stats_pca_linear", "--trials", "3", "--set", "sample_rate=22050")
    assert "3 trials: 3 done." in result.stderr
    assert re.search(r"on folds 1, 2, 3, which chose them\s+0\.\d{4}", result.stdout)
    assert re.search(r"on fold 4, which was held out\s+0\.\d{4}", result.stdout)
    assert "Rely on the second" in result.stdout
    found = re.search(r"akit recipe run stats_pca_linear --set @(.*)", result.stdout)
    assert found
    assert Path(found[1]).is_file()
    akit("-C", root, "recipe", "run", "stats_pca_linear", "--set", f"@{found[1]}")
    (run,) = document("-C", root, "runs", "list", "--json")
    best = dict(line.split("=") for line in Path(found[1]).read_text().splitlines() if not line.startswith("#"))
    assert run["settings"] == {name: float(value) for name, value in best.items()}


def test_an_interrupted_search_says_how_to_go_on(workspace: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("acoustic_kit.runs.tuning.fit_fold", interrupted)
    command = ["-C", workspace.root, "recipe", "tune", "stats_pca_linear", "--trials", "2"]
    result = akit(*command, code=130)
    assert "Run the same command again" in result.stderr
    monkeypatch.undo()
    assert "2 trials: 2 done." in akit(*command).stderr


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["run", "stats_pca_linear", "--set", "@nowhere.txt"], "nowhere.txt cannot be read"),
        (["tune", "stats_pca_linear", "--set", "@nowhere.txt"], "nowhere.txt cannot be read"),
        (["tune", "stats_pca_linear", "--set", "C=1"], "--set C: "),
        (["tune", "stats_pca_linear", "--folds", "1,2"], "needs three folds"),
        (["tune", "stats_pca_linear", "--trials", "0"], "--trials"),
        (["tune", "stats_pca_*"], "no recipe"),
    ],
)
def test_mistakes(built: Path, arguments: list[str], says: str) -> None:
    assert says in akit("-C", built, "recipe", *arguments, code=2).stderr


def test_divided_groups_are_told_wherever_a_score_is_made(workspace: Workspace) -> None:
    root = workspace.root
    assert "Warning" not in akit("-C", root, "recipe", "run", "stats_pca_linear", "--folds", "1").stderr
    divide_groups(workspace)
    for command in (["run", "stats_pca_linear", "--fast"], ["tune", "stats_pca_linear", "--fast", "--trials", "1"]):
        assert akit("-C", root, "recipe", *command).stderr.count("Warning: the folds divide 3 groups") == 1
    problems = document("-C", root, "data", "inspect", "--json")["problems"]
    assert [line for line in problems if line.startswith("groups that the folds divide: 3 (sound_00,")]


def test_init_warns_of_divided_groups(synthetic: Path, tmp_path: Path) -> None:
    table = pl.read_csv(synthetic / "meta" / "esc50.csv")
    data = tmp_path / "data"
    (data / "meta").mkdir(parents=True)
    (data / "audio").symlink_to(synthetic / "audio")
    table.with_columns(src_file=pl.lit("one")).write_csv(data / "meta" / "esc50.csv")
    result = akit("init", tmp_path / "work", "--data", data)
    assert "Warning: the folds divide 1 groups" in result.stderr
    assert "groups that the folds divide: 1 (one)" in result.stdout
    assert "Warning" not in akit("init", tmp_path / "other", "--data", synthetic).stderr


def test_patterns_and_names_run_and_the_best_are_blended(workspace: Workspace) -> None:
    root = workspace.root
    write_variants(workspace, "resnet_a", "resnet_b", "wide")
    akit("-C", root, "recipe", "run", "resnet_*", "wide", "resnet_a")
    runs = document("-C", root, "runs", "list", "--json")
    assert sorted(run["recipe"] for run in runs) == ["resnet_a", "resnet_b", "wide"]
    akit("-C", root, "blend", "--top", "12", "--metric", "f1", "--method", "mean", "--name", "all")
    record = json.loads((workspace.submissions_path / "all.json").read_text())
    assert {run["recipe"] for run in record["runs"]} == {"resnet_a", "resnet_b", "wide"}
    tests = [pl.read_parquet(path).drop("id") for path in workspace.runs_path.glob("*/test.parquet")]
    mean = np.mean([frame.to_numpy() for frame in tests], axis=0).argmax(axis=1)
    written = pl.read_csv(workspace.submissions_path / "all.csv")["label"].to_list()
    assert written == [tests[0].columns[winner] for winner in mean]


@pytest.mark.parametrize("metric", [SUM, "0.8 * accuracy + 0.2 * f1", ".5*accuracy+balanced_accuracy"])
def test_a_sum_is_a_metric_wherever_one_is_named(workspace: Workspace, metric: str) -> None:
    config = workspace.root / "akit.toml"
    config.write_text(config.read_text().replace('metric = "f1"', f'metric = "{metric}"'))
    root = workspace.root
    assert metric in akit("-C", root, "recipe", "run", "stats_pca_linear").stdout
    (run,) = document("-C", root, "runs", "list", "--json")
    assert run["metric"] == metric
    assert metric in akit("-C", root, "blend", "--name", "x").stdout
    scores = document("-C", root, "score", root / "submissions" / "x.csv", "--json")
    both = (scores["accuracy"], scores["balanced_accuracy" if "balanced" in metric else "f1"])
    assert scores[metric] == pytest.approx(np.dot((0.5, 1) if "balanced" in metric else (0.8, 0.2), both))
    assert json.loads((root / "submissions" / "x.json").read_text())["metric"] == metric


def test_a_sum_is_a_metric_for_each_command_alone(synthetic: Path, workspace: Workspace, tmp_path: Path) -> None:
    akit("init", tmp_path / "new", "--data", synthetic, "--metric", SUM)
    assert Workspace.find(tmp_path / "new").config.metric == SUM
    root = workspace.root
    akit("-C", root, "recipe", "run", "stats_pca_linear")
    (plain,), (summed,) = (document("-C", root, "runs", "list", "--json", *a) for a in ((), ("--metric", SUM)))
    assert (plain["metric"], summed["metric"]) == ("f1", SUM)
    assert SUM in akit("-C", root, "runs", "list", "--metric", SUM).stdout
    assert SUM in akit("-C", root, "blend", "--metric", SUM, "--name", "x").stdout
    path = root / "submissions" / "x.csv"
    akit("-C", root, "submission", "check", path, "--metric", SUM)
    assert SUM not in document("-C", root, "score", path, "--json")
    assert SUM in document("-C", root, "score", path, "--metric", SUM, "--json")
    for wrong in ("0.8*accurac+0.2*f1", "0.8*accuracy-f1", "0*f1"):
        akit("-C", root, "score", path, "--metric", wrong, code=2)
        akit("-C", root, "runs", "list", "--metric", wrong, code=2)
        akit("-C", root, "blend", "--metric", wrong, code=2)


def test_seeds_of_one_setting_are_one_row_with_their_mean(workspace: Workspace) -> None:
    root = workspace.root
    workspace.recipes_path.mkdir()
    source = load_recipe("stats_pca_linear").file.source
    (workspace.recipes_path / "seeded.py").write_text(source.replace("SEEDED = False", "SEEDED = True"))
    akit("-C", root, "recipe", "run", "seeded", "--seed", "0,1,2", "--set", "n_components=3")
    akit("-C", root, "recipe", "run", "seeded", "--set", "n_components=2")
    akit("-C", root, "recipe", "run", "seeded", "--set", "n_components=3", "--seed", "3", "--folds", "1")
    runs = document("-C", root, "runs", "list", "--json")
    assert len(runs) == 5
    of_setting = [run for run in runs if run["settings"]["n_components"] == 3 and run["seed"] < 3]
    assert len({run["setting"] for run in of_setting}) == 1
    mean = np.mean([run["score"] for run in of_setting])
    assert [run["setting_score"] for run in of_setting] == [pytest.approx(mean)] * 3
    by_fold = np.mean([list(run["fold_scores"].values()) for run in of_setting], axis=0)
    assert [run["setting_spread"] for run in of_setting] == [pytest.approx(np.std(by_fold, ddof=1))] * 3
    table, *_ = akit("-C", root, "runs", "list").stdout.split("\n\n")  # below it stand those that are best together
    _, *rows = table.splitlines()
    assert len(rows) == 3  # three seeds in one; another setting; a seed that has one fold only
    assert "seed=3" in rows[2]
    (row,) = [row for row in rows if "seeds=0,1,2" in row]
    assert f"{mean:.4f}" in row
    assert all(run["run"].removeprefix("seeded-") in row for run in of_setting)
    assert "4/4" in row
    names = re.search(r"seeded-\w{8}, \w{8}, \w{8}", row)
    assert names
    akit("-C", root, "blend", "--runs", names[0])  # as the row prints them


@pytest.mark.parametrize(
    ("name", "rows", "says"),
    [
        (
            "itmo_ast_inception",
            [r"head_outputs +none +≠ 131072", r"lr +1e-05 +\S", r"micro_batch +none"],
            ["a sequence of length one", "--set head_input=tokens", "131,072 outputs", "dropout on", "bf16"],
        ),
        (
            "eat_s_us8k",
            [
                r"ema +none +≠ 0\.995, never used",
                r"checkpoint +last +≠ last; or best on test",
                r"seq_len +90112",
            ],
            ["kept up and never used", "the published scores may be", "start at zero", "crashed", "accuracy 0.855"],
        ),
        (
            "freesound_mobilenet_pca",
            [r"erasing +0\.0 +≠ 0\.5, never ran", r"balanced +false +≠ true, never used", r"last_epochs +15"],
            ["the code never calls it", "not passed on", "geometric", "fitted on the clips of all folds", "22.05 kHz"],
        ),
    ],
)
def test_show_prints_published_values_and_reasons(name: str, rows: list[str], says: list[str]) -> None:
    shown = akit("recipe", "show", name).stdout
    assert [row for row in rows if not re.search(f"^{row}", shown, flags=re.M)] == []
    assert [words for words in says if words not in shown] == []
    differing = document("recipe", "show", name, "--json")["write_up"]
    assert set(re.findall(r"^(\S+) .*≠ ", shown, flags=re.M)) == set(differing)
    assert all(one.keys() == {"published", "default", "reason"} for one in differing.values())


def test_show_says_nothing_of_a_write_up_where_there_is_none() -> None:
    shown = akit("recipe", "show", "stats_pca_linear").stdout
    assert re.search(r"^setting +default +--fast +meaning$", shown, flags=re.M)
    assert re.search(r"^C +0\.1 ", shown, flags=re.M)
    assert "published" not in shown.partition("setting ")[2]


def test_show_fits_the_screen(monkeypatch: pytest.MonkeyPatch) -> None:
    class Screen(io.StringIO):
        def isatty(self) -> bool:
            return True

    monkeypatch.setattr(sys, "stdout", screen := Screen())
    monkeypatch.setenv("COLUMNS", "100")
    monkeypatch.setenv("NO_COLOR", "1")
    app(["recipe", "show", "itmo_ast_inception"], standalone_mode=False)
    lines = re.sub(r"\x1b\[[0-9;]*m", "", screen.getvalue()).splitlines()
    assert max(map(len, lines)) <= 100
    assert "Source: github.com/Maunberg/ITMO-Acoustic-Event-Detectin-2025 @ 2de42cc: README, notebook and" in lines
    assert "  - Its local F1 is of its training clips, and not comparable. Here folds are held out." in lines


@pytest.mark.parametrize(
    ("options", "code", "message"),
    [
        (["--device", "gpu"], 2, "There is no device 'gpu': it is auto, cpu, cuda, or a GPU's number as cuda:1."),
        (["--precision", "16"], 2, "There is no precision '16': it is auto, 32, bf16, fp16."),
        (["--device", "cuda:99"], 1, "no"),
    ],
)
def test_a_device_that_makes_no_sense_or_is_not_there_is_said(
    workspace: Workspace, options: list[str], code: int, message: str
) -> None:
    result = akit("-C", workspace.root, "recipe", "run", "tiny_resnet_transformer", "--fast", *options, code=code)
    assert message in result.output
    assert not list(workspace.runs_path.glob("*"))


@pytest.mark.parametrize("command", [["recipe", "run"], ["recipe", "tune"]])
def test_torchrun_is_for_networks(workspace: Workspace, monkeypatch: pytest.MonkeyPatch, command: list[str]) -> None:
    for name, value in (
        ("TORCHELASTIC_RUN_ID", "1"),
        ("WORLD_SIZE", "2"),
        ("LOCAL_WORLD_SIZE", "2"),
        ("LOCAL_RANK", "0"),
    ):
        monkeypatch.setenv(name, value)
    result = akit("-C", workspace.root, *command, "stats_pca_linear", code=2)
    assert "torchrun started 2" in result.output


def test_a_run_says_and_remembers_what_it_was_trained_on(workspace: Workspace) -> None:
    options = ["--fast", "--folds", "1", "--device", "cpu", "--precision", "bf16", "--set", "epochs=1"]
    result = akit("-C", workspace.root, "recipe", "run", "tiny_resnet_transformer", *options)
    assert result.stderr.splitlines()[0] == "Training on cpu, bf16."
    again = akit("-C", workspace.root, "recipe", "run", "tiny_resnet_transformer", *options)
    assert "Training on" not in again.stderr
    (run,) = document("-C", workspace.root, "runs", "list", "--json")
    assert re.search(r"device\s+cpu, bf16-mixed\n", akit("-C", workspace.root, "runs", "show", run["run"]).stdout)
    (fold,) = document("-C", workspace.root, "runs", "show", run["run"], "--json")["folds_done"].values()
    assert (fold["device"], fold["gpu"], fold["precision"], fold["processes"]) == ("cpu", None, "bf16-mixed", 1)


def test_a_bar_shows_losses_and_metric_within_80_columns(workspace: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    run = ["recipe", "run", "logmel_cnn", "--fast", "--folds", "1", "--set", "epochs=1", "--set", "width=4"]
    shown = akit("-C", workspace.root, *run, "--set", "n_mels=16", "--set", "frames=24").stderr
    (line,) = [line for line in shown.splitlines() if line.startswith("fold 1, cnn")]
    assert re.search(r" 1/1 .* loss \d+\.\d{3} / \d+\.\d{3}  f1 \d\.\d{3}", line)
    assert "accuracy" not in line
    assert len(line.rstrip()) <= 80


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize("columns", [None, 80, 100, 160])
def test_the_list_has_a_line_per_recipe_and_fits(columns: int | None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stdout", out := Terminal() if columns else io.StringIO())
    monkeypatch.setenv("COLUMNS", str(columns))
    monkeypatch.setenv("TERM", "xterm")
    app(["recipe", "list"], standalone_mode=False)
    lines = re.sub(r"\x1b\[[0-9;]*m", "", out.getvalue()).splitlines()
    assert max(map(len, lines)) <= (columns or 80)
    names = find_recipes(recipe_folders())
    rows = {row[0]: row[1:] for row in (line.split() for line in lines if line[:2] == "  ")}
    assert set(rows) == {*names, "recipe"}
    assert rows["eat_s_esc50"] == ["ESC-50", "accuracy", "0.9215", "wave"]
    solution = lines.index("github.com/Jaasssoooonnnnn/Urbansound8K_Competition")
    assert {"res2net50", "wideresnet"} <= {line.split()[0] for line in lines[solution + 1 : solution + 9]}


NEEDS = """

def needs(s):
    def find():
        raise akit.AkitError("there are no weights /none")
    return akit.Needs(weights=find)
"""


def write_recipes_without_weights(workspace: Workspace) -> None:
    write_variants(workspace, "large_a", "large_b")
    for path in workspace.recipes_path.iterdir():
        path.write_text(path.read_text() + NEEDS)


def test_recipes_run_beside_one_without_weights(workspace: Workspace) -> None:
    write_recipes_without_weights(workspace)
    result = akit("-C", workspace.root, "recipe", "run", "large_*", "stats_pca_linear", "--folds", "1", code=1)
    assert re.search(r"all +[\d.]+ s +0\.\d{4}", result.stdout)
    assert [run.name.partition("-")[0] for run in workspace.runs_path.iterdir()] == ["stats_pca_linear"]
    assert result.stderr.count("/none") == 2
    assert "large_a, large_b" in result.stderr


def test_recipes_none_of_which_can_run_are_an_error(workspace: Workspace) -> None:
    write_recipes_without_weights(workspace)
    result = akit("-C", workspace.root, "recipe", "run", "large_*", code=1)
    assert result.stderr.count("/none") == 2
    assert not list(workspace.root.glob("runs/*"))


def test_a_setting_that_one_recipe_lacks_stops_all(workspace: Workspace) -> None:
    write_recipes_without_weights(workspace)
    akit("-C", workspace.root, "recipe", "run", "large_*", "logmel_cnn", "--set", "C=1", code=2)
    assert not list(workspace.root.glob("runs/*"))
