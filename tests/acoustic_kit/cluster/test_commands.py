"""`akit features build` and `akit recipe run` with `--cluster`, on real Dask processes: as on this machine."""

from typer.testing import CliRunner

from acoustic_kit.cli.app import app
from acoustic_kit.cluster import Cluster, ClusterExecutor
from acoustic_kit.features import Stats, Wave, build_features
from acoustic_kit.recipe.recipe import load_recipe
from acoustic_kit.runs.runner import run_recipe
from acoustic_kit.workspace.workspace import Workspace


def test_remote_build_matches_local_after_worker_death(
    many: Workspace, copy: Workspace, cluster: Cluster, kill_worker, two_workers, files
) -> None:
    progress = []

    def on_progress(feature, done: int, total: int) -> None:
        if not progress:
            kill_worker(two_workers.processes[1])
        progress.append((feature.name, done, total))

    reports = build_features(
        copy.manifest,
        copy.data_root,
        copy.store(),
        [Stats()],
        executor=ClusterExecutor(cluster),
        on_progress=on_progress,
    )
    assert files(copy.store()) == files(many.store())
    n = len(many.manifest)
    assert [(r.feature, r.built, r.held, list(r.failures)) for r in reports] == [
        (Wave(), n, 0, ["bad"]),
        (Stats(), n, 0, ["bad"]),
    ]
    assert [p for p in progress if p[1] == p[2]] == [("wave", n, n), ("stats", n, n)]
    assert all(report.stages.compute > 0 for report in reports)


def test_the_command_builds_on_the_cluster_what_is_new(
    many: Workspace, copy: Workspace, two_workers, cluster: Cluster
) -> None:
    # The workers opened the store for the clips of the first build, and then again for those of the second.
    half = copy.manifest.filter(copy.manifest["id"].is_in(copy.manifest["id"][::2].to_list()))
    build_features(half, copy.data_root, copy.store(), [Stats()], executor=ClusterExecutor(cluster))
    result = CliRunner().invoke(app, ["-C", str(copy.root), "features", "build", "--cluster", two_workers.address])
    assert result.exit_code == 0, result.output
    assert f"Cluster {two_workers.address}: 2 workers, 1 with a GPU." in result.stderr
    assert "bad: it cannot be decoded" in result.stderr
    stored, alone = copy.store()[Stats().key], many.store()[Stats().key]
    assert sorted(stored.ids) == sorted(alone.ids)
    assert all((stored.read(id) == alone.read(id)).all() for id in alone.ids)
    both = CliRunner().invoke(
        app, ["-C", str(copy.root), "features", "build", "--workers", "1", "--cluster", "tcp://x"]
    )
    assert both.exit_code == 2
    assert "--workers" in both.stderr
    command = ["-C", str(copy.root), "recipe", "run", "logmel_cnn", "--device", "cpu", "--cluster", "tcp://x"]
    torchrun = {"TORCHELASTIC_RUN_ID": "1", "WORLD_SIZE": "2", "LOCAL_WORLD_SIZE": "2", "LOCAL_RANK": "0"}
    both = CliRunner().invoke(app, command, env=torchrun)
    assert both.exit_code == 2
    assert "--cluster" in both.stderr
    assert "torchrun started 2" in both.stderr


def test_parallel_folds_and_seeds_match_local_training(
    workspace: Workspace, elsewhere: Workspace, two_workers, one_thread: None, tree
) -> None:
    workspace.recipes_path.mkdir()
    source = load_recipe("stats_pca_linear").file.source
    (workspace.recipes_path / "seeded.py").write_text(source.replace("SEEDED = False", "SEEDED = True"))
    run = ["recipe", "run", "seeded", "--set", "n_components=10", "--seed", "0,1", "--folds", "1,2"]
    command = ["-C", str(workspace.root), *run]
    result = CliRunner().invoke(app, [*command, "--cluster", two_workers.address])
    assert result.exit_code == 0, result.output
    assert f"Training on the workers of {two_workers.address}." in result.stderr
    assert result.stdout.count("fold") == 2
    recipe = load_recipe("seeded", workspace.recipes_path)
    for seed in (0, 1):
        here, trained = run_recipe(
            elsewhere, recipe, recipe.settings({"n_components": 10}), seed=seed, folds=["1", "2"]
        )
        assert trained
        assert tree(workspace.runs_path / here.name) == tree(here.path)
    again = CliRunner().invoke(app, [*command, "--cluster", two_workers.address])
    assert again.stderr.count("is already there") == 2
