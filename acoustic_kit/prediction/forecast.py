"""Forecast of the seconds that a prediction takes, measured on some of its clips."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from acoustic_kit.data.clips import slices_by_file
from acoustic_kit.device import Compute
from acoustic_kit.features import build_features, with_sources
from acoustic_kit.features.build.worker import Workers
from acoustic_kit.files import temporary_folder
from acoustic_kit.prediction.budget import Costs
from acoustic_kit.prediction.models import Predictor
from acoustic_kit.prediction.new_clips import NO_FILE, NewClip, manifest_rows, stored_clips
from acoustic_kit.prediction.onnx_graphs import ExportedFile, ExportedNetworks
from acoustic_kit.prediction.predict import BLOCK, SLICE, predict_fold, predict_networks

if TYPE_CHECKING:
    import polars as pl

    from acoustic_kit.features import Feature
    from acoustic_kit.prediction.export import NetworkGraph
    from acoustic_store import FeatureStore

WARM_UP = 4  # clips; so many also show what does not depend on the number of clips, such as loading a model
AT_ONCE = 8  # clips that an exported file predicts at once
MOST = 128  # clips that are measured
SHORT = 1.0  # s; a model that predicts some clips in less is measured twice


class Seconds(NamedTuple):
    """Seconds that one pass over some clips took."""

    n: int  # clips
    waves: float  # decoding, with all waves
    alone: dict[str, float]  # key of a wave → seconds without the others
    features: dict[str, float]  # key → seconds
    models: tuple[float, ...]  # of one fold model of each member, loading and prediction; or of its graph

    @property
    def total(self) -> float:
        """All seconds."""
        return self.waves + sum(self.features.values()) + sum(self.models)


def measure_costs(
    predictor: Predictor,
    clips: Sequence[NewClip],
    columns: pl.DataFrame | None,
    processes: Workers,
    compute: Compute,
    seconds: float,
    on_progress: Callable[[str, int, int], None],
    networks: ExportedNetworks | None = None,
) -> Costs:
    """Measure some of the clips and return the costs of all.

    They are predicted by the same functions in the same processes, once to warm up; the results are discarded.

    - `columns`: further inputs of each clip
    - `seconds`: about how long to measure
    - `networks`: what predicts instead of torch
    """
    readable = [i for i, clip in enumerate(clips) if clip.path is not NO_FILE]
    few = min(max(WARM_UP, processes.n), -(-len(readable) // 4))
    processes = processes if len(clips) > BLOCK else Workers(0)

    def measure(n: int, step: int) -> Seconds:
        chosen = [readable[i] for i in spread_sample([clips[k] for k in readable], n, max(4, processes.n))]
        rows = manifest_rows([clips[i] for i in chosen], None if columns is None else columns[chosen])
        found = _one_pass(predictor, rows, processes, compute, networks)
        on_progress("forecast", step, 3)
        return found

    began = time.perf_counter()
    measure(few, 1)
    rough = (time.perf_counter() - began) / few
    n = min(max(2 * few, 8, round(seconds / rough)), MOST, len(readable))
    n_slices = len(list(slices_by_file([clip.file for clip in clips], SLICE)))
    needs = tuple(
        frozenset(feature.key for feature in with_sources(features_of(predictor, member)))
        for member in range(len(predictor.members))
    )
    graphs = _graphs(predictor, networks)
    n_models = [
        len(member.folds) if graph is None else 1 for member, graph in zip(predictor.members, graphs, strict=True)
    ]
    return costs_of_all(measure(few, 2), measure(n, 3), len(readable), n_slices, needs, n_models)


def measure_file(
    clips: Sequence[NewClip], file: ExportedFile, seconds: float, on_progress: Callable[[str, int, int], None]
) -> Costs:
    """Measure some of the clips by an exported file, and return the costs of all; see `measure_costs`."""
    readable = [clip for clip in clips if clip.path is not NO_FILE]
    few = min(AT_ONCE, len(readable))

    def measure(n: int, step: int) -> Seconds:
        chosen = [readable[i] for i in spread_sample(readable, n, WARM_UP)]
        file.predict(chosen, at_once=AT_ONCE)
        on_progress("forecast", step, 3)
        waited, computed = file.seconds
        return Seconds(len(chosen), waited, {}, {}, (computed,))

    rough = (warm := measure(few, 1)).total / warm.n
    n = min(max(4 * AT_ONCE, round(seconds / rough)), MOST, len(readable))
    n_slices = len(list(slices_by_file([clip.file for clip in clips], SLICE)))
    return costs_of_all(measure(few, 2), measure(n, 3), len(readable), n_slices, (frozenset(),), [1])


def of_all_clips(few: float, many: float, n: tuple[int, int], n_clips: int, n_slices: int) -> float:
    """Return the seconds of all clips from those of a few and of more of them.

    What a slice costs whatever its clips is what remains of the time of a few clips without that of each clip.

    - `n`: numbers of a few and of more clips
    """
    each = max(many - few, 0.0) / (n[1] - n[0]) if n[1] > n[0] else many / n[1]
    return n_slices * max(few - n[0] * each, 0.0) + n_clips * each


def costs_of_all(
    few: Seconds,
    many: Seconds,
    n_clips: int,
    n_slices: int,
    needs: tuple[frozenset[str], ...],
    n_models: Sequence[int],
) -> Costs:
    """Return the costs of all clips from those of a few and of more of them, see `of_all_clips`.

    - `needs`: keys of the features of each member
    - `n_models`: how many models of each member predict, one of which was measured
    """

    def of_all(a: float, b: float) -> float:
        return of_all_clips(a, b, (few.n, many.n), n_clips, n_slices)

    alone = {key: of_all(few.alone[key], many.alone[key]) for key in many.alone}
    together = of_all(few.waves, many.waves)
    decoding = together  # with the only wave
    if len(alone) > 1:
        decoding = min(max((sum(alone.values()) - together) / (len(alone) - 1), 0.0), *alone.values())
    features = {key: of_all(few.features[key], many.features[key]) for key in many.features}
    features |= {key: found - decoding for key, found in alone.items()}
    models = zip(n_models, few.models, many.models, strict=True)
    return Costs(decoding, features, tuple(n * of_all(a, b) for n, a, b in models), needs)


def spread_sample(clips: Sequence[NewClip], n: int, at_least: int) -> list[int]:
    """Return the positions of about `n` clips, spread over the files by their size.

    Windows are taken from the beginning of recordings, as those before a window are decoded too; of `at_least` so many
    recordings, if there are.
    """
    of_file: dict[str, list[int]] = defaultdict(list)
    for position, clip in enumerate(clips):
        of_file[clip.file].append(position)
    files = sorted(of_file.values(), key=lambda found: _size(clips[found[0]].path))
    n_files = min(len(files), max(at_least, -(-n * len(files) // len(clips))), n)
    chosen = [files[int((i + 0.5) * len(files) / n_files)] for i in range(n_files)]
    return sorted(position for found in chosen for position in found[: -(-n // n_files)])


def _size(path: Path) -> int:
    with suppress(OSError):
        return path.stat().st_size
    return 0


def features_of(predictor: Predictor, member: int) -> list[Feature]:
    """Return the features that the fold models of a member read."""
    one = predictor.members[member]
    return [feature for fold in one.folds for feature in one.features_of(fold).values()]


def _one_pass(
    predictor: Predictor, rows: pl.DataFrame, processes: Workers, compute: Compute, networks: ExportedNetworks | None
) -> Seconds:
    """Predict some clips by one fold model of each member, or its networks, and return the seconds."""
    from acoustic_store import FeatureStore

    features = [feature for i in range(len(predictor.members)) for feature in features_of(predictor, i)]
    waves = [feature for feature in with_sources(features) if feature.source is None]
    block_size = -(-len(rows) // max(1, processes.n))

    def build(store: FeatureStore, some: Sequence[Feature]) -> dict[Feature, float]:
        reports = build_features(
            rows, Path("/"), store, some, workers=processes, device=compute.device, block_size=block_size
        )
        return {report.feature: report.seconds for report in reports}

    alone = dict[str, float]()
    for wave in waves if len(waves) > 1 else ():
        with temporary_folder("akit-predict-") as folder:
            alone[wave.key] = build(FeatureStore.open(folder, create=True), [wave])[wave]
    with temporary_folder("akit-predict-") as folder:
        store = FeatureStore.open(folder, create=True)
        built = build(store, features)
        graphs = enumerate(_graphs(predictor, networks))
        models = tuple(_model_seconds(predictor, i, graph, rows, store, compute) for i, graph in graphs)
    together = max(built[wave] for wave in waves)
    of_features = {feature.key: 0.0 if feature in waves else found for feature, found in built.items()}
    return Seconds(len(rows), together, alone, of_features, models)


def _graphs(predictor: Predictor, networks: ExportedNetworks | None) -> Sequence[NetworkGraph | None]:
    return networks.graphs if networks else [None] * len(predictor.members)


def _model_seconds(
    predictor: Predictor,
    position: int,
    graph: NetworkGraph | None,
    rows: pl.DataFrame,
    store: FeatureStore,
    compute: Compute,
) -> float:
    member = predictor.members[position]
    fold = member.folds[0]

    def seconds() -> float:
        began = time.perf_counter()
        clips = stored_clips(rows, predictor.task_spec, member.features_of(fold), store, compute)
        if graph is None:
            predict_fold(member, fold, clips, lambda _: None)
        else:
            predict_networks(graph, member, clips, lambda _: None)
        return time.perf_counter() - began

    first = seconds()
    return first if first > SHORT else min(first, seconds())  # torch prepares for each shape of a batch once
