"""Features built by the workers of a cluster are, bit for bit, those that this machine builds."""

import os
import signal
from pathlib import Path

import pytest

from acoustic_kit.cluster import Cluster, ClusterExecutor, connect
from acoustic_kit.cluster.feature_jobs import _Task as Task
from acoustic_kit.cluster.feature_jobs import build_blocks
from acoustic_kit.errors import AkitError
from acoustic_kit.features import LogMel, Pca, Stats, Wave, build_features
from acoustic_kit.features.build.job import BlockJob
from acoustic_kit.workspace.workspace import Workspace
from acoustic_store import FeatureStore

pytestmark = pytest.mark.slow


def test_what_a_worker_does_not_see_is_told(copy: Workspace, cluster: Cluster) -> None:
    with copy.store().writer(Wave().key, "int16", Wave().parameters()) as writer:
        (block,) = writer.plan([("a", "1")])
        for url, there, told in (
            ("/nowhere/features.zarr", [], "no access to the feature store /nowhere/features.zarr.*s3://"),
            (copy.store().url, ["/nowhere/a.wav"], "no access to /nowhere/a.wav.*s3://"),
        ):
            job = BlockJob(((Wave(), block),), url, {"a": Path("/nowhere/a.wav")}, False)
            ((_, outcome),) = cluster.run(build_blocks, [Task((job,), "", frozenset(map(Path, there)))])
            assert isinstance(outcome, AkitError)
            with pytest.raises(AkitError, match=told):
                raise outcome


def test_build_survives_worker_loss_and_stops_on_failure(
    many: Workspace, copy: Workspace, machines, cluster: Cluster, files
) -> None:
    machines.start_worker()
    lost = machines.start_worker()

    def on_progress(feature, done: int, total: int) -> None:
        if feature == Stats() and lost.poll() is None:
            os.killpg(lost.pid, signal.SIGKILL)
            lost.wait()

    with connect(machines.address) as other:
        build_features(
            copy.manifest,
            copy.data_root,
            copy.store(),
            [Stats()],
            executor=ClusterExecutor(other),
            on_progress=on_progress,
        )
    assert lost.poll() is not None
    assert files(copy.store()) == files(many.store())
    with pytest.raises(AkitError, match="bad: it cannot be decoded"):
        build_features(
            copy.manifest,
            copy.data_root,
            copy.store(),
            [Wave(4000)],
            on_error="fail",
            executor=ClusterExecutor(cluster),
        )


def test_what_needs_a_whole_machine_or_a_gpu_is_a_task_too(
    copy: Workspace, tmp_path: Path, cluster: Cluster, files
) -> None:
    from acoustic_kit.runs.feature_usage import of_all_folds

    wanted = [*of_all_folds(copy, [Pca(Stats(), 5)]), LogMel(n_mels=16)]
    build_features(copy.manifest, copy.data_root, copy.store(), wanted, executor=ClusterExecutor(cluster))
    local = FeatureStore.open(tmp_path / "local.zarr", create=True)
    build_features(copy.manifest, copy.data_root, local, wanted)
    assert files(copy.store()) == files(local)


DEADLY = """
import os, signal
from pathlib import Path
from acoustic_kit.dsp import decoding

def deadly(path, decodings):
    if {all_of_them} or Path(path).name == "{name}":
        os.kill(os.getpid(), signal.SIGKILL)
    return decoding.undisturbed(path, decodings)

if not hasattr(decoding, "undisturbed"):  # Dask loads this twice
    decoding.undisturbed, decoding.decode_as = decoding.decode_as, deadly
"""


@pytest.mark.parametrize("all_of_them", [False, True])
def test_clip_that_kills_workers_is_skipped_then_retried(
    copy: Workspace, machines, tmp_path: Path, all_of_them: bool, cluster: Cluster, files
) -> None:
    manifest = copy.manifest.filter(copy.manifest["id"] != "bad").head(70)
    id, path = manifest.select("id", "path").row(40)
    preload = tmp_path / "deadly.py"
    preload.write_text(DEADLY.format(name=Path(path).name, all_of_them=all_of_them))
    for _ in range(2):
        machines.start_worker("--preload", str(preload))
    with connect(machines.address) as deadly:
        if all_of_them:
            with pytest.raises(AkitError, match=r"Workers die repeatedly .*memory"):
                build_features(manifest, copy.data_root, copy.store(), [Stats()], executor=ClusterExecutor(deadly))
            return
        reports = build_features(manifest, copy.data_root, copy.store(), [Stats()], executor=ClusterExecutor(deadly))
    why = "3 workers died on it, one after another; the next build tries again"
    assert [report.failures for report in reports] == [{id: why}, {id: why}]
    reports = build_features(manifest, copy.data_root, copy.store(), [Stats()], executor=ClusterExecutor(cluster))
    assert [(report.built, report.failures) for report in reports] == [(1, {}), (1, {})]
