"""The script and the notebook of a bundle, and the files that the `kaggle` command reads."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from string import Template
from typing import Any

from acoustic_kit.errors import UsageError

SCRIPT, NOTEBOOK = "predict.py", "notebook.ipynb"
_CELL = "# %%\n"
_TEXT_CELL = "# %% [markdown]\n"
_MAX_TITLE = 50  # characters that Kaggle accepts
_OF_NOTEBOOK = "-notebook"


@dataclass(frozen=True)
class KaggleName:
    """A data set on Kaggle."""

    owner: str
    slug: str

    @staticmethod
    def parse(text: str) -> KaggleName:
        """Return the data set of OWNER/SLUG. Raises UsageError if it is no such name."""
        longest = _MAX_TITLE - len(_OF_NOTEBOOK)
        if not re.fullmatch(rf"[\w-]+/[a-z0-9][a-z0-9-]{{5,{longest - 1}}}", text):
            raise UsageError(
                f"--kaggle {text!r}: write OWNER/SLUG, your name on Kaggle and that of a new data set: 6 to {longest} "
                "lower-case letters, digits and dashes."
            )
        return KaggleName(*text.split("/"))


def write_notebook(folder: Path, model: str, template: str, weights: Sequence[str], *, trust: bool) -> None:
    """Write a script that predicts with a bundle, and a notebook of the same cells.

    Parameters
    ----------
    folder : of the bundle
    model : the submission's JSON, the run's folder or the exported file in it
    template : file name of the competition's sample_submission.csv
    weights : places of pretrained models in the bundle
    trust : whether the bundle's recipes and models are used with `--trust`

    """
    given = {"model": model, "template": template, "weights": list(weights), "trust": ["--trust"] if trust else []}
    literals = {name: json.dumps(value) for name, value in given.items()}
    text = Template(Path(__file__).with_name("script.txt").read_text("utf-8")).substitute(literals)
    (folder / SCRIPT).write_text(text, "utf-8")
    (folder / NOTEBOOK).write_text(json.dumps(_notebook(text), indent=1) + "\n", "utf-8")


def _notebook(script: str) -> dict[str, Any]:
    """Return a notebook (nbformat 4) with the cells of a script."""
    cells: list[dict[str, Any]] = []
    for part in re.split(r"^(?=# %%)", script, flags=re.M)[1:]:
        if part.startswith(_TEXT_CELL):
            text = re.sub(r"^# ?", "", part.removeprefix(_TEXT_CELL).strip(), flags=re.M)
            cells.append({"cell_type": "markdown", "metadata": {}, "source": text.splitlines(keepends=True)})
        else:
            lines = part.removeprefix(_CELL).strip().splitlines(keepends=True)
            cells.append({"cell_type": "code", "execution_count": None, "metadata": {}, "outputs": [], "source": lines})
    kernel = {"display_name": "Python 3", "language": "python", "name": "python3"}
    metadata = {"kernelspec": kernel, "language_info": {"name": "python"}}
    return {"cells": cells, "metadata": metadata, "nbformat": 4, "nbformat_minor": 4}


def write_kaggle_files(folder: Path, name: KaggleName, competition: str | None) -> None:
    """Write the metadata of the data set and of the notebook, both private, for the `kaggle` command."""
    identity, title = f"{name.owner}/{name.slug}", name.slug.replace("-", " ")
    data_set = {"title": title, "id": identity, "licenses": [{"name": "other"}]}
    notebook = {
        "id": identity + _OF_NOTEBOOK,
        "title": title + _OF_NOTEBOOK.replace("-", " "),
        "code_file": NOTEBOOK,
        "language": "python",
        "kernel_type": "notebook",
        "is_private": True,
        "enable_gpu": False,
        "enable_internet": False,
        "dataset_sources": [identity],
        "competition_sources": [competition] if competition else [],
        "kernel_sources": [],
        "model_sources": [],
    }
    for file, content in (("dataset-metadata.json", data_set), ("kernel-metadata.json", notebook)):
        (folder / file).write_text(json.dumps(content, indent=2) + "\n", "utf-8")


def readme(name: KaggleName | None, competition: str | None, model: str) -> str:
    """Return the text of README.txt."""
    lines = [f"Predicts clips with {model}, without a network: python {SCRIPT}, or {NOTEBOOK}.", ""]
    if name is None:
        lines += ["Upload this folder as a private data set, add it to the notebook, and switch its internet off."]
    else:
        lines += [
            "Upload it as a private data set, and when Kaggle has processed that, the notebook:",
            "",
            "    kaggle datasets create --dir-mode zip -p .",
            "    kaggle kernels push -p .",
            "",
            'A later version of the data set: kaggle datasets version --dir-mode zip -p . -m "what changed"',
        ]
    if competition is None:
        lines += ["Add the competition's data to the notebook."]
    return "\n".join([*lines, "", "SHA256SUMS has the digests of all files: sha256sum --check SHA256SUMS", ""])
