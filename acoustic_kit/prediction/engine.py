"""Prediction of a plan by an engine, torch or onnxruntime, within a budget if there is one."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, get_args

from acoustic_kit.device import AUTO, Compute
from acoustic_kit.ensemble.result import BlendResult
from acoustic_kit.errors import UsageError
from acoustic_kit.features.build.worker import workers as open_workers
from acoustic_kit.prediction.budget import Budget, Costs
from acoustic_kit.prediction.forecast import measure_costs, measure_file
from acoustic_kit.prediction.models import Predictor, open_predictor
from acoustic_kit.prediction.onnx_graphs import ExportedFile, ExportedNetworks, networks_of, open_file
from acoustic_kit.prediction.predict import ClipPredictions, OnProgress, columns_of, predict_rows
from acoustic_kit.prediction.rows import RowPlan
from acoustic_kit.prediction.slices import FinishedSlices
from acoustic_kit.prediction.within_budget import Forecast, fit_budget

Engine = Literal["torch", "onnx"]


@dataclass(frozen=True)
class PredictOptions:
    """How a plan is predicted.

    Parameters
    ----------
    engine : `onnx` exports networks once, to the user's cache folder, and runs them with onnxruntime on the CPU
    budget : the time within which members of a blend are chosen; None for all members
    table : a CSV with further inputs of the recipe: ids or file names, then columns such as `salience`
    workers, compute, on_progress : see `predict_rows`
    on_forecast : called with the forecast, if there is a budget
    on_note : called with messages for the user

    Raises UsageError for an unknown engine, and for what onnxruntime does not have.

    """

    engine: Engine = "torch"
    budget: Budget | None = None
    table: Path | None = None
    workers: int = 0
    compute: Compute = AUTO
    on_progress: OnProgress = lambda *_: None
    on_forecast: Callable[[Forecast], None] = lambda _: None
    on_note: Callable[[str], None] = lambda _: None

    def __post_init__(self) -> None:
        if self.engine not in get_args(Engine):
            raise UsageError(f"There is no engine {self.engine!r}: it is {' or '.join(get_args(Engine))}.")
        if self.engine == "onnx" and self.compute.device not in {"auto", "cpu"}:
            raise UsageError(f"--engine onnx predicts on the CPU; --device {self.compute.device} needs --engine torch.")


def is_exported(what: object) -> bool:
    """Return whether `what` is an exported file, not a run or a blend."""
    return isinstance(what, str | Path) and Path(what).suffix == ".onnx" and Path(what).is_file()


def open_model(
    what: str | Path | BlendResult,
    folder: Path = Path(),
    *,
    trust: bool = False,
    weights: str | Path | Sequence[str | Path] | None = None,
    on_note: Callable[[str], None] = lambda _: None,
) -> tuple[Predictor, ExportedFile | None]:
    """Open an exported file, or what `open_predictor` opens, whose parameters are the others."""
    if isinstance(what, str | Path) and is_exported(what):
        return open_file(Path(what))
    return open_predictor(what, folder, trust=trust, weights=weights, on_note=on_note), None


def predict_plan(
    predictor: Predictor,
    plan: RowPlan,
    options: PredictOptions,
    finished: FinishedSlices | None = None,
    file: ExportedFile | None = None,
) -> tuple[Predictor, ClipPredictions]:
    """Return the predictor, without the members that do not fit the budget, and its predictions of a plan.

    - `finished`: where predictions of finished slices are stored
    - `file`: the exported file; networks of a run or a blend are exported here

    Raises AkitError as `fit_budget`, `networks_of` and `predict_rows` do.
    """
    if file is not None and options.engine != "onnx":
        raise UsageError(f"{predictor.name} is an exported file, which --engine {options.engine} does not read.")
    graphs: ExportedFile | ExportedNetworks | None = file
    if options.engine == "onnx" and file is None:
        graphs = networks_of(predictor, plan.clips, options.on_note, options.on_progress)
    compute = options.compute if graphs is None else Compute("cpu")
    if finished is not None and graphs is not None:
        finished = finished.of(predictor, compute, graphs.digest)
    costs, columns = None, columns_of(options.table, plan)
    with open_workers(options.workers) as processes:
        if options.budget is not None:

            def measure(seconds: float) -> Costs:
                if isinstance(graphs, ExportedFile):
                    return measure_file(plan.clips, graphs, seconds, options.on_progress)
                return measure_costs(
                    predictor, plan.clips, columns, processes, compute, seconds, options.on_progress, graphs
                )

            chosen, costs = fit_budget(
                predictor,
                plan,
                options.budget,
                measure,
                finished=finished,
                on_forecast=options.on_forecast,
                on_note=options.on_note,
            )
            if isinstance(graphs, ExportedNetworks) and chosen is not predictor:
                graphs = graphs.of([predictor.members.index(member) for member in chosen.members])
            predictor = chosen
            if finished is not None:
                finished = finished.of(predictor, compute, "" if graphs is None else graphs.digest)
        found = predict_rows(
            predictor,
            plan,
            columns=columns,
            workers=processes,
            compute=compute,
            on_progress=options.on_progress,
            finished=finished,
            graphs=graphs,
            costs=costs,
        )
    return predictor, found
