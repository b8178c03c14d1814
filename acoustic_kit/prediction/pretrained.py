"""Places of the models, pretrained or runs, by which the features of a run are computed."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from acoustic_kit.errors import RunError
from acoustic_kit.features import FEATURES
from acoustic_kit.features.embed.embed import weights_digest
from acoustic_kit.features.weights import LOCAL, find_weights
from acoustic_kit.runs.run import RECORD_NAME, RUN_NAME, Run

HUB_NAME = r"\w[\w.-]*/\w[\w.-]*"  # no path out of the run's folder


def find_models(run: Run, given: Sequence[str]) -> dict[str, str]:
    """Return the places of models, by `weights_digest`: those given, and of other runs, which are next to the run.

    Raises RunError if the model of a feature is missing, or another one than in training.
    """
    places = {weights_digest(place): place for place in given}
    for link in (link for parameters in run.record.parameters.values() for link in _chain(parameters)):
        digest, family = link.get("weights_sha256"), FEATURES.get(str(link.get("name")))
        if digest is None or digest in places:
            continue
        name = str(link.get(family.weights_parameter or "") if family is not None else None)
        beside = run.path.parent / name
        if re.fullmatch(RUN_NAME, name) and (beside / RECORD_NAME).is_file() and weights_digest(str(beside)) == digest:
            places[digest] = str(beside)
        elif not re.fullmatch(HUB_NAME, name):
            raise _missing(run, link["name"], name, digest, given)
    return places


def used_models(run: Run, given: Sequence[str]) -> list[Path]:
    """Return the places of all models that compute the features of a run: folders, ONNX files and runs.

    Those on the Hugging Face hub are in its cache. Raises AkitError if one is missing.
    """
    known, used = find_models(run, given), list[Path]()
    for link in (link for parameters in run.record.parameters.values() for link in _chain(parameters)):
        if (digest := link.get("weights_sha256")) in known:
            used.append(Path(known[str(digest)]).expanduser().absolute())
        elif digest is not None:
            name = str(link[FEATURES[str(link["name"])].weights_parameter or ""])
            used.append(find_weights(name, link.get("revision"), how="--weights FOLDER").folder)
    return used


def _missing(run: Run, feature: str, name: str, digest: str, given: Sequence[str]) -> RunError:
    """Return the error for a model that is not on the hub and was not found."""
    sha = f"SHA-256 {digest}"
    if given:
        return RunError(f"{' and '.join(given)} contains other weights than those of {run.record.name} ({sha}).")
    if name == LOCAL:
        return RunError(
            f"{run.record.name} reads the feature {feature}, whose weights came from a folder ({sha}).\n"
            "Pass the place of these weights: --weights FOLDER."
        )
    if re.fullmatch(RUN_NAME, name):
        return RunError(
            f"{run.record.name} reads the feature {feature} of the run {name} ({sha}), which is not next to it.\n"
            "Copy its folder there, or pass it: --weights FOLDER."
        )
    return RunError(f"The weights of {run.record.name} have a name that is not valid on the Hugging Face hub.")


def _chain(parameters: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    """Yield the parameters of a feature and of all its sources."""
    yield parameters
    for value in parameters.values():
        if isinstance(value, Mapping):
            yield from _chain(value)
