"""Forecast of `akit predict --budget` against the time of the prediction.

Usage: python benchmarks/forecast.py RUN|BLEND FOLDER [copies] [--processor] [--engine=onnx]
The clips of FOLDER, `copies` times (default: 1). With `--processor`, for a busy machine, all times are processor time
of this process, which then computes everything.
Limit: the forecast is within 10 % of the truth.
"""

import sys
import time
from pathlib import Path

if processor := "--processor" in sys.argv:  # before akit reads the clock
    time.monotonic = time.perf_counter = time.process_time

from acoustic_kit.device import Compute
from acoustic_kit.features.build.worker import worker_count
from acoustic_kit.prediction import RowPlan, clips_at, open_predictor
from acoustic_kit.prediction.budget import Budget
from acoustic_kit.prediction.engine import PredictOptions, predict_plan
from acoustic_kit.prediction.within_budget import Forecast


def main() -> None:
    run, folder, *more = [argument for argument in sys.argv[1:] if not argument.startswith("--")]
    copies = int(more[0]) if more else 1
    files = clips_at([Path(folder)])
    plan = RowPlan.of_files({f"{i}/{id}": path for i in range(copies) for id, path in files.items()})
    told: list[tuple[Forecast, float]] = []
    options = PredictOptions(
        engine="onnx" if "--engine=onnx" in sys.argv else "torch",
        budget=Budget(86400.0),
        workers=0 if processor else worker_count(None),
        compute=Compute("cpu"),
        on_forecast=lambda forecast: told.append((forecast, time.perf_counter())),
    )
    predictor = open_predictor(run, trust=True)
    predict_plan(predictor, plan, options)
    ((forecast, began),) = told
    truth, expected = time.perf_counter() - began, forecast.seconds - forecast.spent
    clock = "processor" if processor else "wall"
    print(
        f"{predictor.name}: {len(plan.clips)} clips, measured in {forecast.spent:.1f} s, forecast {expected:.1f} s, "
        f"truth {truth:.1f} s of {clock} time: {expected / truth - 1:+.1%}"
    )


if __name__ == "__main__":
    main()
