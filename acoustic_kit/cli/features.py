"""`akit features`: build what the store lacks, list what it holds, check that it is whole."""

from __future__ import annotations

import re
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from acoustic_kit.cli.app import workspace_of
from acoustic_kit.cli.compute import OnCluster, Workers, cluster_at, worker_count
from acoustic_kit.cli.console import Json, duration, inline_picture, print_json, print_table, progress, say, size

if TYPE_CHECKING:
    from collections.abc import Sequence

    from acoustic_kit.features import BuildReport
    from acoustic_kit.workspace.workspace import Workspace
    from acoustic_store import StoredFeature

commands = typer.Typer(no_args_is_help=True, help="The feature store of this workspace.")
Names = Annotated[
    list[str] | None,
    typer.Argument(
        metavar="[NAME…]",
        help="Features (with parameters: logmel:n_mels=64,wave.sample_rate=32000), or recipes for what they need.",
    ),
]
Built = Annotated[list[str] | None, typer.Argument(metavar="[NAME…]", help="Names or keys of built features.")]


def register(app: typer.Typer) -> None:
    """Add these commands to the application."""
    app.add_typer(commands, name="features")


@commands.command(epilog="Example: akit features build stats logmel --workers 4")
def build(
    ctx: typer.Context,
    names: Names = None,
    workers: Workers = None,
    on_error: Annotated[
        Literal["skip", "fail", "silence"],
        typer.Option(help="A clip that cannot be decoded: record it and go on, stop, or take it for silence."),
    ] = "skip",
    device: Annotated[
        str,
        typer.Option(help="auto (a GPU where there is one), cpu, cuda or cuda:1, for features that have a GPU form."),
    ] = "auto",
    cluster: OnCluster = None,
) -> None:
    """Build features for all clips.

    A stopped build goes on where it was; a second one does nothing and says so.
    """
    from acoustic_kit.cluster import ClusterExecutor
    from acoustic_kit.errors import AkitError
    from acoustic_kit.features import build_features
    from acoustic_kit.features.store_users import note_user
    from acoustic_kit.runs.feature_usage import listed_features, named_features, of_all_folds

    workspace = workspace_of(ctx)
    named = named_features(workspace, names) if names else listed_features(workspace, _say_missing)
    wanted = of_all_folds(workspace, named)
    note_user(workspace.store_place, workspace.root)
    with cluster_at(cluster, workers) as machines, progress() as bar:
        reports = build_features(
            workspace.manifest,
            workspace.data_root,
            workspace.store(),
            wanted,
            workers=worker_count(workers),
            on_error=on_error,
            on_progress=lambda feature, done, total: bar(feature.key, done, total),
            device=device,
            executor=None if machines is None else ClusterExecutor(machines),
        )
    workspace.remember_features(names or ())
    _print_reports(workspace, reports)
    _say_where(reports, device)
    if on_error == "fail" and any(report.failures for report in reports):
        raise AkitError("Some clips failed in an earlier build. Mend or remove their files, or use --on-error skip.")


def _say_missing(recipe: str) -> None:
    say(f"Note: akit.toml lists the recipe {recipe} in `features`, which does not exist (any more). It is passed over.")


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
    """Which features a GPU computed, and which ones have no form for it; nothing where none was meant."""
    built = [report for report in reports if report.built and report.feature.source is not None]
    on_gpu = [report.feature.name for report in built if report.gpu]
    on_cpu = [report.feature.name for report in built if not report.feature.has_device_form]
    if on_gpu:
        say(f"Computed on {next(report.gpu for report in built if report.gpu)}: {', '.join(on_gpu)}.")
    if on_cpu and (on_gpu or device.startswith("cuda")):
        say(f"Computed on the CPU, as they have no form for a GPU: {', '.join(on_cpu)}.")


def say_failures(reports: Sequence[BuildReport], limit: int = 10) -> None:
    """Name the clips that could not be computed, each once, with the reason, and those that count as silence."""
    silenced = list(dict.fromkeys(id for report in reports for id in report.silenced))
    if silenced:
        named = ", ".join(silenced[:limit]) + (f" and {len(silenced) - limit} more" if len(silenced) > limit else "")
        say(f"{len(silenced)} clips could not be decoded and count as one second of silence: {named}")
    failures = {id: reason for report in reports for id, reason in report.failures.items()}
    tried_again = {id: how for report in reports for id, how in report.tried_again.items() if id not in failures}
    for id, how in tried_again.items():
        say(f"A worker process {how}, on the clip {id}; the second attempt went well.")
    if failures:
        say(f"{len(failures)} clips could not be computed:")
        for id, reason in list(failures.items())[:limit]:
            say(f"  {id}: {reason}")
        if len(failures) > limit:
            say(f"  … and {len(failures) - limit} more: `akit features info {next(iter(reports)).feature.name}`")


@commands.command("list", epilog="Example: akit features list --json")
def list_(ctx: typer.Context, as_json: Json = False) -> None:
    """What can be built, and what is built."""
    from acoustic_kit.features import FEATURES
    from acoustic_kit.features.pca import FIT_NAME

    built = [stored for stored in _stored(workspace_of(ctx), None) if stored.attributes["name"] != FIT_NAME]
    if as_json:
        print_json({"available": sorted(FEATURES), "built": [_as_json(stored) for stored in built]})
        return
    rows = [(stored.key, len(stored), len(stored.failures), size(stored.n_bytes), _brief(stored)) for stored in built]
    missing = sorted(set(FEATURES) - {str(stored.attributes["name"]) for stored in built})
    rows += [(name, "", "", "", f"not built; `akit features build {name}`") for name in missing]  # type: ignore[misc]
    print_table(["feature", "clips", "failed", "size", "parameters"], rows, right=["clips", "failed", "size"])


def _brief(stored: StoredFeature) -> str:
    """The feature's own parameters, without those of its source."""
    own = {k: v for k, v in stored.attributes.items() if k not in {"name", "version"} and not isinstance(v, dict)}
    if training := stored.attributes.get("training"):
        own["fold"] = training["fold"]
    return ", ".join(f"{key}={value}" for key, value in own.items())


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


def _stored(workspace: Workspace, names: Sequence[str] | None) -> list[StoredFeature]:
    """The built features of these names or keys; all of them without a name."""
    from acoustic_kit.errors import UsageError

    store = workspace.built_store()
    built = list(map(store.__getitem__, store.keys())) if store else []
    if not names:
        return built
    unknown = [name for name in names if not any(name in {s.key, s.attributes["name"]} for s in built)]
    if unknown:
        raise UsageError(f"{', '.join(unknown)} is not built. `akit features list` shows what is.")
    return [stored for stored in built if stored.key in names or stored.attributes["name"] in names]


@commands.command(epilog="Example: akit features info stats")
def info(
    ctx: typer.Context,
    name: Annotated[str, typer.Argument(help="A feature's name or key.")],
    as_json: Json = False,
) -> None:
    """A built feature: parameters, shape, size, clips and failures."""
    workspace = workspace_of(ctx)
    found = _stored(workspace, [name])
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
        if "training" in stored.attributes:
            from acoustic_kit.features.pca import fit_key

            share = workspace.store()[fit_key(stored.key)].read("explained_variance_ratio")
            asked = stored.attributes["n_components"]
            fewer = f" ({asked} were asked for)" if len(share) < asked else ""
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
    names: Built = None,
    rebuild: Annotated[bool, typer.Option("--rebuild", help="Build the damaged clips again.")] = False,
) -> None:
    """Read every clip and check it against its checksum."""
    from acoustic_kit.errors import AkitError
    from acoustic_kit.features import build_features
    from acoustic_kit.features.pca import FIT_NAME
    from acoustic_kit.runs.feature_usage import rebuildable

    workspace = workspace_of(ctx)
    stored = _stored(workspace, names)
    with progress() as bar:
        damaged = {s.key: s.verify(partial(bar, s.key)) for s in stored}
    print_table(["feature", "damaged", "clips"], [(key, len(ids), ", ".join(ids[:10])) for key, ids in damaged.items()])
    hit = [s for s in stored if damaged[s.key]]
    if not hit:
        return
    if not rebuild:
        raise AkitError("Some clips are damaged. `akit features verify --rebuild` builds them again.")
    features = [f for s in hit if s.attributes["name"] != FIT_NAME and (f := rebuildable(workspace, s.attributes))]
    build_features(workspace.manifest, workspace.data_root, workspace.store(), features, rebuild=damaged)
    say("The damaged clips are built again.")


@commands.command(epilog="Example: akit features prune --yes")
def prune(
    ctx: typer.Context,
    yes: Annotated[bool, typer.Option("--yes", help="Delete without asking.")] = False,
    outside: Annotated[
        bool, typer.Option("--outside", help="Also where the store lies outside of this workspace.")
    ] = False,
) -> None:
    """Delete what neither akit.toml nor a run refers to, and the clips that newer ones have replaced.

    What another workspace with the same store refers to stays.
    """
    from acoustic_kit.runs.feature_usage import unused_keys

    workspace = workspace_of(ctx, with_runs=True)
    unused, store = unused_keys(workspace, _say_missing), workspace.built_store()
    if store is None:
        say("Nothing to delete.")
        return
    print_table(
        ["feature", "clips", "size", "parameters"],
        [(key, len(store[key]), size(store[key].n_bytes), _brief(store[key])) for key in unused],
        right=["clips", "size"],
    )
    if unused and not outside:
        _require_inside(workspace)
    if unused and not yes:
        typer.confirm(f"Delete {len(unused)} features?", abort=True, err=True)
    freed = sum(store[key].n_bytes for key in unused)
    for key in unused:
        store.delete(key)
    freed += sum(store.compact(key) for key in store.keys())  # noqa: SIM118 (a store is no mapping)
    say(f"{size(freed)} freed." if freed else "Nothing to delete.")


def _require_inside(workspace: Workspace) -> None:
    """Raise AkitError where the store lies outside of the workspace: others that it does not know may need it."""
    from acoustic_kit.errors import AkitError
    from acoustic_kit.features.store_users import other_users

    place = workspace.store_place
    if isinstance(place, Path) and place.is_relative_to(workspace.root):
        return
    known = ", ".join(map(str, other_users(place, workspace.root))) or "none"
    raise AkitError(
        f"The store {place} lies outside of this workspace: another workspace may need these features. Those that the "
        f"store knows ({known}) keep theirs.\nOne that it does not know yet is noted by `akit features build` there; "
        "then `akit features prune --outside` deletes."
    )


@commands.command(epilog="Example: akit features show logmel 1-100032-A-0.wav --out dog.png")
def show(
    ctx: typer.Context,
    name: Annotated[str, typer.Argument(help="A feature's name or key.")],
    id: Annotated[str, typer.Argument(help="A clip's id.")],
    out: Annotated[Path | None, typer.Option(help="The PNG file to write (default: shown in the terminal).")] = None,
    as_json: Json = False,
) -> None:
    """A picture of one clip's feature: in the terminal where it can show one, else as a PNG file."""
    from acoustic_kit.errors import UsageError
    from acoustic_kit.report.picture import draw

    found = _stored(workspace_of(ctx), [name])
    if len(found) > 1:
        raise UsageError(f"Several features are called {name}: {', '.join(s.key for s in found)}. Name one by its key.")
    stored = found[0]
    if id not in stored:
        reason = f"could not be computed: {stored.failures[id].reason}" if id in stored.failures else "is not there"
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
