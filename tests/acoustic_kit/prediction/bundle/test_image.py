"""The list of what notebooks have fits what akit needs."""

import tomllib
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path

import pytest
from packaging.requirements import Requirement

from acoustic_kit.errors import AkitError
from acoustic_kit.prediction.bundle.image import Image

CHECKOUT = Path(__file__).parents[4]
LACKING = {"lightning-fabric", "optuna", "skops", "zarr"}


def test_the_image_satisfies_akits_ranges() -> None:
    project = tomllib.loads((CHECKOUT / "pyproject.toml").read_text())["project"]
    packages = Image.listed().packages
    needed = [Requirement(text) for text in project["dependencies"]]
    assert {one.name for one in needed if one.name not in packages} == LACKING
    assert [str(one) for one in needed if one.name in packages and packages[one.name] not in one.specifier] == []


def test_only_what_the_runs_need_is_lacking() -> None:
    image = Image.listed()
    of_networks = {"donfig", "lightning-fabric", "lightning-utilities", "numcodecs", "zarr"}
    assert set(image.lacks()) == of_networks
    of_estimators = set(image.lacks(with_estimators=True))
    assert {"skops", "scikit-learn"} <= of_estimators - of_networks
    assert "optuna" not in of_estimators
    assert image.lacks()["zarr"] == version("zarr")


def test_scikit_learn_of_the_same_minor_version_is_the_images() -> None:
    image = Image.listed()
    same = ".".join([*version("scikit-learn").split(".")[:2], "99"])
    image = replace(image, packages={**image.packages, "scikit-learn": same})
    assert "scikit-learn" not in image.lacks(with_estimators=True)


def test_a_package_that_does_not_fit_the_image_is_named() -> None:
    image = Image.listed()
    with pytest.raises(AkitError, match=r"numpy>=\S+, but .* has 1\.20\.0"):
        replace(image, packages={**image.packages, "numpy": "1.20.0"}).lacks()
