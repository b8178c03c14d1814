"""Report a build: how far it is, and what it did for each feature."""

from __future__ import annotations

import time
from collections import Counter, defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from acoustic_kit.features.build.executor import Executor
from acoustic_kit.features.build.job import SILENT, BlockJob, Part, Stages
from acoustic_kit.features.build.plan import BuildPlan
from acoustic_kit.features.feature import Feature

OnProgress = Callable[[Feature, int, int], None]


@dataclass(frozen=True)
class BuildReport:
    """What one call of `build_features` did for one feature."""

    feature: Feature
    built: int  # clips computed now, failures included
    held: int  # clips that the store already held
    failures: dict[str, str]  # clip id → reason, of all clips asked for
    silenced: list[str]  # clips that could not be decoded and count as silence
    retried: dict[str, str]  # clip id → how the worker process ended that computed it first
    seconds: float  # wall time until its last clip was built; features that share the decoding begin together
    stages: Stages  # of this feature, and of those that share the decoding with it
    gpu: str | None = None  # its name, if one computed the feature


@dataclass
class BuildProgress:
    """How far a build is, over several rounds of features that are built together. Its dicts are by feature key."""

    on_progress: OnProgress  # called with a feature, its clips done and its clips to do, of the round
    built: defaultdict[str, set[str]] = field(default_factory=lambda: defaultdict(set))  # ids
    stages: defaultdict[str, Stages] = field(default_factory=lambda: defaultdict(Stages))
    _seconds: defaultdict[str, float] = field(default_factory=lambda: defaultdict(float))  # of earlier rounds
    _begun: float = 0.0
    _ended: dict[str, float] = field(default_factory=dict)
    _todo: dict[str, int] = field(default_factory=dict)  # clips
    _done: Counter[str] = field(default_factory=Counter)

    def begin_round(self) -> None:
        """Begin to measure the time of features that are planned and built together."""
        for key in self._todo:
            self._seconds[key] = self.seconds(key)
        self._begun, self._ended, self._todo, self._done = time.monotonic(), {}, {}, Counter()

    def expect(self, parts: Mapping[str, Sequence[Part]]) -> None:
        """Take the blocks of each feature that the round will build."""
        self._todo = {key: sum(len(block.clips) for _, block in found) for key, found in parts.items()}

    def add(self, job: BlockJob, stages: Stages) -> None:
        """Count the clips of a finished job."""
        for feature, block in job.parts:
            key = feature.key
            self.built[key].update(id for id, _ in block.clips)
            self.stages[key] += stages
            self._done[key] += len(block.clips)
            self._ended[key] = time.monotonic()
            self.on_progress(feature, self._done[key], self._todo[key])

    def seconds(self, key: str) -> float:
        """Return the wall time that a feature has taken, waiting for others of its round included."""
        return self._seconds[key] + self._ended.get(key, time.monotonic()) - self._begun


def report_on(
    feature: Feature, plan: BuildPlan, executor: Executor, progress: BuildProgress, gpu: str | None
) -> BuildReport:
    """Return what a build did for a feature; `gpu` is the name of the GPU that computed it."""
    stored = plan.complete[feature.key] if feature.key in plan.complete else plan.store[feature.key]
    failures, states, built = stored.failures, plan.states(feature), len(progress.built[feature.key])
    return BuildReport(
        feature,
        built,
        len(plan.clips) - built,
        {id: failures[id].reason for id, _ in plan.clips if id in failures},
        [id for id, _ in plan.clips if states.get(id) == SILENT],
        {id: how for id, how in executor.died_on.items() if id not in failures},
        progress.seconds(feature.key),
        progress.stages[feature.key],
        gpu,
    )
