"""`akit features`: build, list, verify, delete and show the features of a workspace."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from acoustic_kit.api.progress import progress, say, say_failures
from acoustic_kit.cli.app import app, opened, workspace_of
from acoustic_kit.cli.compute import OnCluster, Workers
from acoustic_kit.cli.console import Json, inline_picture, print_json, print_table, size
from acoustic_kit.tables import duration

if TYPE_CHECKING:
    from collections.abc import Sequence

    from acoustic_kit.features import BuildReport
    from acoustic_kit.workspace.workspace import Workspace
    from acoustic_store import StoredFeature

commands = typer.Typer(no_args_is_help=True, help="Build, list, verify and delete features.")
app.add_typer(commands, name="features")
Names = Annotated[
    list[str] | None,
    typer.Argument(
        metavar="[NAME…]",
        help="Features, with parameters (logmel:n_mels=64,wave.sample_rate=32000), or recipes for what they read.",
    ),
]


@commands.command(epilog="Example: akit features build stats logmel --workers 4")
def build(
    ctx: typer.Context,
    names: Names = None,
    workers: Workers = None,
    on_error: Annotated[
        Literal["skip", "fail", "silence"],
        typer.Option(help="For a clip that cannot be decoded: record it and continue, stop, or use silence."),
    ] = "skip",
    device: Annotated[
        str,
        typer.Option(
            metavar="auto|cpu|cuda|cuda:1",
            help="Device of features that can be computed on a GPU; auto: a GPU if available.",
        ),
    ] = "auto",
    cluster: OnCluster = None,
) -> None:
    """Build features for all clips.

    The same command resumes a build that was stopped; clips that are built are not built again.
    """
    from acoustic_kit.runs.feature_maintenance import require_no_failures

    workspace = opened(ctx)
    reports = workspace.features.build_reports(
        names or (), workers=workers, on_error=on_error, device=device, cluster=cluster
    )
    _print_reports(workspace.files, reports)
    _say_where(reports, device)
    if on_error == "fail":
        require_no_failures(reports)


def _print_reports(workspace: Workspace, reports: Sequence[BuildReport]) -> None:
    if not any(report.built for report in reports):
        say("Nothing to do: everything is built.")
    store = workspace.store()
    rows = []
    for report in reports:
        stored = store[report.feature.key]
        rate = f"{report.built / report.seconds:.0f}" if report.built else ""
        stages = [duration(seconds) if report.built else "" for seconds in vars(report.stages).values()]
        rows.append(
            (report.feature.key, report.built, report.held, len(report.failures), size(stored.n_bytes),
             duration(report.seconds), rate, *stages)
        )  # fmt: skip
    columns = ["feature", "built", "held", "failed", "size", "time", "clips/s", "read", "compute", "write"]
    print_table(columns, rows, right=columns[1:])
    say_failures(reports)


def _say_where(reports: Sequence[BuildReport], device: str) -> None:
    """Say which features were computed on a GPU and which ones cannot be, if a GPU was used or requested."""
    built = [report for report in reports if report.built and report.feature.source is not None]
    on_gpu = [report.feature.name for report in built if report.gpu]
    on_cpu = [report.feature.name for report in built if not report.feature.has_device_form]
    if on_gpu:
        say(f"Computed on {next(report.gpu for report in built if report.gpu)}: {', '.join(on_gpu)}.")
    if on_cpu and (on_gpu or device.startswith("cuda")):
        say(f"Computed on the CPU, for lack of a GPU implementation: {', '.join(on_cpu)}.")


@commands.command("list", epilog="Example: akit features list --json")
def list_(ctx: typer.Context, as_json: Json = False) -> None:
    """List the features that are built and those that can be."""
    from acoustic_kit.features import FEATURES
    from acoustic_kit.runs.feature_maintenance import list_stored, own_parameters

    built = list_stored(workspace_of(ctx))
    if as_json:
        print_json({"available": sorted(FEATURES), "built": [_as_json(stored) for stored in built]})
        return
    rows = [(s.key, len(s), len(s.failures), size(s.n_bytes), own_parameters(s)) for s in built]
    missing = sorted(set(FEATURES) - {str(stored.attributes["name"]) for stored in built})
    rows += [(name, "", "", "", f"not built; `akit features build {name}`") for name in missing]  # type: ignore[misc]
    print_table(["feature", "clips", "failed", "size", "parameters"], rows, right=["clips", "failed", "size"])


def _as_json(stored: StoredFeature) -> dict[str, object]:
    return {
        "key": stored.key,
        "parameters": stored.attributes,
        "dtype": stored.dtype,
        "clips": len(stored),
        "blocks": stored.n_blocks,
        "bytes": stored.n_bytes,
        "failures": {id: failure.reason for id, failure in stored.failures.items()},
    }


@commands.command(epilog="Example: akit features info stats")
def info(
    ctx: typer.Context,
    name: Annotated[str, typer.Argument(help="A feature's name or key.")],
    as_json: Json = False,
) -> None:
    """Show a built feature: parameters, shape, size, clips and failures."""
    from acoustic_kit.runs.feature_maintenance import find_stored

    workspace = workspace_of(ctx)
    found = find_stored(workspace, [name])
    if as_json:
        print_json([_as_json(stored) for stored in found])
        return
    for stored in found:
        rows: list[tuple[str, object]] = [("key", stored.key)]
        rows += _flat(stored.attributes)
        shapes = {stored.shape(id) for id in stored.ids}
        ranges = [" – ".join(str(n) for n in sorted({min(axis), max(axis)})) for axis in zip(*shapes, strict=False)]
        rows += [("stored as", stored.dtype), ("shape", "(" + ", ".join(ranges) + ")")]
        rows += [("clips", len(stored)), ("blocks", stored.n_blocks), ("size", size(stored.n_bytes))]
        if stored.attributes["name"] == "pca" and "training" in stored.attributes:
            from acoustic_kit.features.pca import fit_key

            share = workspace.store()[fit_key(stored.key)].read("explained_variance_ratio")
            asked = stored.attributes["n_components"]
            fewer = f" ({asked} requested)" if len(share) < asked else ""
            rows += [("explained variance", f"{share.sum():.2%} by {len(share)} components{fewer}")]
        rows += [(f"failed: {id}", failure.reason) for id, failure in stored.failures.items()]
        print_table(["", "value"], rows)


def _flat(parameters: dict[str, object], prefix: str = "") -> list[tuple[str, object]]:
    rows: list[tuple[str, object]] = []
    for key, value in parameters.items():
        rows += _flat(value, f"{prefix}{key}.") if isinstance(value, dict) else [(prefix + key, value)]
    return rows


@commands.command(epilog="Example: akit features verify --rebuild")
def verify(
    ctx: typer.Context,
    names: Annotated[
        list[str] | None, typer.Argument(metavar="[NAME…]", help="Names or keys of built features.")
    ] = None,
    rebuild: Annotated[bool, typer.Option("--rebuild", help="Rebuild the damaged clips.")] = False,
) -> None:
    """Read every clip and check it against its checksum."""
    from acoustic_kit.errors import DataError
    from acoustic_kit.runs import feature_maintenance

    workspace = workspace_of(ctx)
    with progress() as bar:
        damaged = feature_maintenance.verify(workspace, names or (), bar)
    print_table(["feature", "damaged", "clips"], [(key, len(ids), ", ".join(ids[:10])) for key, ids in damaged.items()])
    if not any(damaged.values()):
        return
    if not rebuild:
        raise DataError("Some clips are damaged. `akit features verify --rebuild` rebuilds them.")
    feature_maintenance.rebuild(workspace, damaged)
    say("Rebuilt the damaged clips.")


@commands.command(epilog="Example: akit features prune --yes")
def prune(
    ctx: typer.Context,
    yes: Annotated[bool, typer.Option("--yes", help="Delete without asking.")] = False,
    outside: Annotated[
        bool, typer.Option("--outside", help="Delete also from a store outside of this workspace.")
    ] = False,
) -> None:
    """Delete unused features, and clips that newer ones have replaced.

    A feature is unused if neither akit.toml nor a run refers to it, nor another workspace with the same store.
    """
    from acoustic_kit.api.session import warn_of_missing_recipe
    from acoustic_kit.runs import feature_maintenance
    from acoustic_kit.runs.feature_usage import unused_keys

    workspace = workspace_of(ctx, with_runs=True)
    unused, store = unused_keys(workspace, warn_of_missing_recipe), workspace.built_store()
    if store is None:
        say("Nothing to delete.")
        return
    print_table(
        ["feature", "clips", "size", "parameters"],
        [
            (key, len(store[key]), size(store[key].n_bytes), feature_maintenance.own_parameters(store[key]))
            for key in unused
        ],
        right=["clips", "size"],
    )
    if unused and not outside:
        feature_maintenance.require_own_store(workspace)
    if unused and not yes:
        typer.confirm(f"Delete {len(unused)} features?", abort=True, err=True)
    freed = feature_maintenance.prune(workspace, unused)
    say(f"{size(freed)} freed." if freed else "Nothing to delete.")


@commands.command(epilog="Example: akit features show logmel 1-100032-A-0.wav --out dog.png")
def show(
    ctx: typer.Context,
    name: Annotated[str, typer.Argument(help="A feature's name or key.")],
    id: Annotated[str, typer.Argument(help="A clip's id.")],
    out: Annotated[Path | None, typer.Option(help="The PNG file to write (default: shown in the terminal).")] = None,
    as_json: Json = False,
) -> None:
    """Draw one clip's feature.

    Draws it in the terminal if that can show pictures, else in a PNG file.
    """
    from acoustic_kit.errors import UsageError
    from acoustic_kit.report.picture import draw
    from acoustic_kit.runs.feature_maintenance import find_stored

    found = find_stored(workspace_of(ctx), [name])
    if len(found) > 1:
        raise UsageError(f"Several features are named {name}: {', '.join(s.key for s in found)}. Use a key.")
    stored = found[0]
    if id not in stored:
        reason = f"could not be computed: {stored.failures[id].reason}" if id in stored.failures else "is missing"
        raise UsageError(f"{stored.key}: the clip {id!r} {reason}.")
    picture = draw(stored, id)
    if out is None and not as_json and inline_picture(picture):
        return
    name = re.sub(r"[^\w.-]+", "_", f"{stored.key}_{id}").lstrip(".").encode()[:200].decode(errors="ignore")
    path = out or Path(f"{name}.png")
    path.write_bytes(picture)
    if as_json:
        values = stored.read(id)
        figures = {"minimum": float(values.min()), "mean": float(values.mean()), "maximum": float(values.max())}
        print_json({"key": stored.key, "id": id, "shape": list(values.shape), **figures, "picture": str(path)})
    else:
        typer.echo(path)
