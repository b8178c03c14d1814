"""Networks that compute with 8-bit integers, calibrated on clips of the workspace."""

from __future__ import annotations

import time
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path

import numpy as np

from acoustic_kit.dsp.decoding import Decoding
from acoustic_kit.errors import UsageError
from acoustic_kit.files import temporary_folder
from acoustic_kit.prediction.export.onnx_engine import OnnxModel, Waves
from acoustic_kit.prediction.export.onnx_file import errors_only
from acoustic_kit.prediction.models import Predictor
from acoustic_kit.prediction.new_clips import NewClip
from acoustic_kit.prediction.waves import WaveReader
from acoustic_kit.workspace.workspace import Workspace

N_CLIPS = 64  # that the ranges of values are measured on, and as many others that show the change of predictions
ROUNDS = 7  # of the measurement of speed


def to_int8(
    path: Path,
    front_end: Collection[str],
    clips: tuple[Sequence[NewClip], Sequence[NewClip]],
    decodings: Mapping[int, Decoding],
) -> str:
    """Replace the weights of networks in a file by 8-bit integers, and say what that changes.

    Parameters
    ----------
    path : the ONNX file, which is replaced
    front_end : names of nodes that are not quantized
    clips : for the calibration, and for the comparison
    decodings : sample rate → how files are decoded

    Raises UsageError if no clips can be read, or a network has a side input.

    """
    model = OnnxModel.open(path)
    if model.n_side:
        raise UsageError("--int8 calibrates with sounds alone, and a network reads a side input")
    calibration, others = (_waves(some, decodings, model) for some in clips)
    n_bytes = path.stat().st_size
    _quantize(path, model, calibration, front_end)
    quantized = OnnxModel.open(path)
    expected, found = model.predict(others), quantized.predict(others)
    seconds, seconds_int8 = _seconds((model, quantized), others)
    change, differ = np.abs(found - expected), (found.argmax(axis=1) != expected.argmax(axis=1)).sum()
    return (
        f"int8: {path.stat().st_size / n_bytes:.0%} of the size of float32, {seconds / seconds_int8:.2f} times as fast "
        f"here. On {len(found)} training clips, probabilities change by {change.mean():.4f} on average and by "
        f"{change.max():.3f} at most; {differ} clips get another first class."
    )


def calibration_clips(predictor: Predictor) -> tuple[list[NewClip], list[NewClip]]:
    """Return training clips of a run's workspace, drawn at random: for the calibration, and for the comparison.

    Raises UsageError if there is no workspace.
    """
    workspace = next(filter(None, (Workspace.around(member.run.path) for member in predictor.members)), None)
    if workspace is None:
        raise UsageError("--int8 calibrates with training clips, and the run is in no workspace")
    rows = workspace.manifest
    rows = rows.filter((rows["split"] == "train") & rows["problem"].is_null())
    rows = rows.sample(min(len(rows), 2 * N_CLIPS), seed=0, shuffle=True)
    columns = rows.select("id", "path", "start", "end").iter_rows()
    found = [NewClip(id, workspace.data_root / path, path, start, end) for id, path, start, end in columns]
    half = (len(found) + 1) // 2
    return found[:half], found[half:]


def _waves(clips: Sequence[NewClip], decodings: Mapping[int, Decoding], model: OnnxModel) -> Waves:
    """Return the waves of the clips that can be read, cut to the input. Raises UsageError if there are none."""
    with WaveReader(list(decodings.values())) as reader:
        sounds = [sound for part in reader.chunks(clips, len(clips) or 1) for sound in part.sounds]
    if not sounds:
        raise UsageError("--int8 calibrates with training clips, and none can be read")
    return {
        wave.sample_rate: [sound[decodings[wave.sample_rate]].samples[: wave.samples] for sound in sounds]
        for wave in model.waves
    }


def _seconds(models: Sequence[OnnxModel], waves: Waves) -> list[float]:
    """Return the processor time in which each model predicts some clips: the least of several, taken in turn."""
    some = {rate: of[:1] for rate, of in waves.items()}
    times = []
    for _ in range(ROUNDS):
        for model in models:
            began = time.process_time()
            model.predict(some)
            times.append(time.process_time() - began)
    return [min(times[number :: len(models)]) for number in range(len(models))]


def _quantize(path: Path, model: OnnxModel, waves: Waves, front_end: Collection[str]) -> None:
    import onnxruntime
    from onnxruntime.quantization import CalibrationDataReader, QuantType, quantize_static

    class Reader(CalibrationDataReader):
        def __init__(self) -> None:
            n_clips = len(next(iter(waves.values())))
            self.left = (model.inputs(waves, None, clip) for clip in range(n_clips))

        def get_next(self) -> dict[str, np.ndarray] | None:
            return next(self.left, None)

    with temporary_folder("akit-int8-") as folder:
        onnxruntime.set_default_logger_severity(3)  # errors
        try:
            with errors_only(""):
                quantize_static(
                    path, folder / "int8.onnx", Reader(), op_types_to_quantize=["Conv", "MatMul", "Gemm"],
                    per_channel=True, activation_type=QuantType.QUInt8, weight_type=QuantType.QInt8,
                    nodes_to_exclude=list(front_end),
                )  # fmt: skip
        finally:
            onnxruntime.set_default_logger_severity(2)  # warnings, its default
        path.write_bytes((folder / "int8.onnx").read_bytes())
