"""The image in which notebooks run: its packages, and those that akit needs besides."""

from __future__ import annotations

import datetime
import tomllib
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from importlib.metadata import PackageNotFoundError, requires, version
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from acoustic_kit.errors import AkitError

OWN_NAME = "acoustic-kit"
ESTIMATORS = "scikit-learn"
NOT_FOR_PREDICTION = {"optuna"}
ONLY_FOR_ESTIMATORS = {"skops"}
NOT_FOR_EXPORTED = {"zarr"}  # files of `akit export`, whose predictions store no features


@dataclass(frozen=True)
class Image:
    """An image with Python and packages on Linux x86-64. The list of what it has is in `image.toml`."""

    name: str
    date: datetime.date
    python: str  # 3.12
    glibc: int  # 2.x
    packages: Mapping[str, str]  # name, in lower case with dashes → version

    @staticmethod
    @cache
    def listed() -> Image:
        """Return the image of `image.toml`."""
        found = tomllib.loads(Path(__file__).with_name("image.toml").read_text("utf-8"))
        return Image(found["image"], found["date"], found["python"], found["glibc"], found["packages"])

    @property
    def platforms(self) -> list[str]:
        """Platforms of wheels that it takes, newest first."""
        return [f"manylinux_2_{minor}_x86_64" for minor in range(self.glibc, 4, -1)] + ["manylinux2014_x86_64"]

    def lacks(
        self, *, with_estimators: bool = False, is_exported: bool = False, also: Collection[str] = ()
    ) -> dict[str, str]:
        """Return the packages that prediction needs and the image lacks: name → version installed here.

        Parameters
        ----------
        with_estimators : whether models of scikit-learn are loaded, which need the installed scikit-learn: another
            minor version reads them differently
        is_exported : whether a file of `akit export` predicts
        also : packages that akit does not need, but the chosen runs do

        Raises AkitError if a package needs another version than the image has.

        """
        left_out = NOT_FOR_PREDICTION | (set() if with_estimators else ONLY_FOR_ESTIMATORS)
        left_out |= NOT_FOR_EXPORTED if is_exported else set()
        replaced = {ESTIMATORS} if with_estimators and not self._has_minor(ESTIMATORS) else set[str]()
        found: dict[str, str] = {}
        waiting = [OWN_NAME]
        while waiting:
            package = waiting.pop()
            for needed in [*self._requirements(package), *(map(Requirement, also) if package == OWN_NAME else ())]:
                name = canonicalize_name(needed.name)
                if name in found or name in left_out:
                    continue
                if name not in self.packages or name in replaced:
                    found[name] = _installed(name)
                    waiting.append(name)
                elif package != OWN_NAME:  # whose ranges a test compares with the list
                    self._check(package, needed, self.packages[name])
        return dict(sorted(found.items()))

    def _requirements(self, package: str) -> Iterator[Requirement]:
        """Yield what the installed version of a package needs in the image, without extras."""
        environment = {
            **{"python_version": self.python, "python_full_version": f"{self.python}.0", "extra": ""},
            **{"sys_platform": "linux", "platform_system": "Linux", "platform_machine": "x86_64", "os_name": "posix"},
        }
        for needed in map(Requirement, requires(package) or []):
            if needed.marker is None or needed.marker.evaluate(environment):
                yield needed

    def _check(self, package: str, needed: Requirement, has: str) -> None:
        if not needed.specifier.contains(has, prereleases=True):
            raise AkitError(
                f"{package} {_installed(package)} needs {needed.name}{needed.specifier}, but {self.name} has {has} "
                f"({self.date}).\nInstall an older {package} here, and bundle again."
            )

    def _has_minor(self, package: str) -> bool:
        return self.packages.get(package, "").split(".")[:2] == _installed(package).split(".")[:2]


def _installed(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError as error:
        raise AkitError(
            f"{package} is not installed here. Install akit with its dependencies: pip install …"
        ) from error
