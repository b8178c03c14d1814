"""Pictures of features, one clip at a time."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from acoustic_store import StoredFeature

COMPARED_CLIPS = 1000  # maximum number of clips from which mean and deviation of a table's columns are computed


def draw(stored: StoredFeature, id: str) -> bytes:
    """Draw one clip's feature as a PNG: a wave over time, bands over time, or the columns of a table.

    Columns of a table have different units: they are drawn in standard deviations from the mean of the stored clips.
    """
    from matplotlib.figure import Figure

    values = stored.read(id)
    panels = values if values.ndim == 3 else values[None]
    figure = Figure(figsize=(10, 1.5 + 2.5 * len(panels)), dpi=100, layout="constrained")
    axes = figure.subplots(len(panels), squeeze=False)[:, 0]
    for number, (panel, ax) in enumerate(zip(panels, axes, strict=True)):
        if panel.ndim == 2:
            _bands(ax, panel, stored.attributes, number)
        elif stored.attributes["name"] == "wave":
            _wave(ax, panel, stored.attributes["sample_rate"])
        else:
            _columns(ax, panel, stored)
    figure.suptitle(f"{id}   {stored.key}", parse_math=False)
    png = io.BytesIO()
    figure.savefig(png, format="png")
    return png.getvalue()


def extremes(wave: np.ndarray, most: int) -> tuple[np.ndarray, np.ndarray, int]:
    """Return the lowest and highest sample of each of at most `most` segments of a wave, and the segment length."""
    step = -(-len(wave) // most)
    segments = np.pad(wave, (0, -len(wave) % step), mode="edge").reshape(-1, step)
    return segments.min(axis=1), segments.max(axis=1), step


def _wave(ax: Axes, wave: np.ndarray, sample_rate: int) -> None:
    """Draw the lowest and highest sample of at most 2,000 segments, which looks like a plot of all samples."""
    low, high, step = extremes(wave, 2000)
    seconds = np.arange(len(low)) * step / sample_rate
    ax.fill_between(seconds, low, high, linewidth=0.5, edgecolor="C0")
    ax.set(xlabel="seconds", ylabel="full scale 1", xlim=(0, len(wave) / sample_rate))


def _bands(ax: Axes, panel: np.ndarray, parameters: dict[str, Any], number: int) -> None:
    """Draw bands upwards and time to the right: in seconds if the hop is known."""
    name, hop, xlabel = parameters["name"], 1.0, "frame"
    if name == "ast_input":
        panel, hop, xlabel = panel.T, 0.01, "seconds"
    elif "hop_length" in parameters:
        hop, xlabel = parameters["hop_length"] / parameters["wave"]["sample_rate"], "seconds"
    extent = (0, panel.shape[1] * hop, -0.5, panel.shape[0] - 0.5)
    image = ax.imshow(panel, origin="lower", aspect="auto", extent=extent, cmap="magma", interpolation="nearest")
    unit = "dB" if name == "logmel" and parameters.get("scale", "db") == "db" else ""
    ax.figure.colorbar(image, ax=ax, label=unit)
    n_fft = parameters.get("n_fft")
    ax.set(xlabel=xlabel, ylabel="row" if name == "ast" else "mel band")
    if isinstance(n_fft, list):
        ax.set_title(f"n_fft {n_fft[number]}", fontsize="medium")


def _columns(ax: Axes, row: np.ndarray, stored: StoredFeature) -> None:
    others = stored.stack([id for id in stored.ids if stored.shape(id) == row.shape][:COMPARED_CLIPS])
    spread = others.std(axis=0)
    deviations = np.where(spread > 0, (row - others.mean(axis=0)) / np.where(spread > 0, spread, 1), 0)
    ax.bar(np.arange(len(row)), deviations, width=1.0)
    ax.axhline(0, color="black", linewidth=0.5)
    ax.set(xlabel="column", ylabel=f"deviations from the mean of {len(others)} clips", xlim=(-0.5, len(row) - 0.5))
