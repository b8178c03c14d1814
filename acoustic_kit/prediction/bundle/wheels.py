"""Wheels of a bundle: akit's own, made of the installed files, and those of other packages, downloaded or given."""

from __future__ import annotations

import base64
import hashlib
import re
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path

from packaging.tags import compatible_tags, cpython_tags
from packaging.utils import InvalidWheelFilename, canonicalize_name, parse_wheel_filename
from packaging.version import Version

import acoustic_kit
import acoustic_store
from acoustic_kit.caches import user_cache
from acoustic_kit.errors import AkitError, UsageError
from acoustic_kit.files import temporary_folder
from acoustic_kit.prediction.bundle.image import OWN_NAME, Image
from acoustic_kit.recipe.catalog import recipe_folders

_WHEEL = "Wheel-Version: 1.0\nGenerator: akit\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
_COPIED = ("METADATA", "entry_points.txt")  # of the installed package
_TIME = (1980, 1, 1, 0, 0, 0)  # the earliest of zip: equal files make equal wheels

OnProgress = Callable[[str, int, int], object]


def write_own_wheel(folder: Path) -> Path:
    """Write a wheel of the akit that is running, installed or in a checkout, with its recipes, and return it.

    Raises AkitError if akit runs without being installed.
    """
    try:
        installed = distribution(OWN_NAME)
    except PackageNotFoundError as error:
        raise AkitError("akit runs from its source without being installed. Install it: pip install -e .") from error
    files: dict[str, bytes] = {}
    packages = {module.__name__: Path(str(module.__file__)).parent for module in (acoustic_kit, acoustic_store)}
    for name, root in (packages | {"acoustic_kit/_recipes": recipe_folders()[0]}).items():
        files |= {f"{name}/{path.relative_to(root).as_posix()}": path.read_bytes() for path in _sources(root)}
    info = f"acoustic_kit-{installed.version}.dist-info"
    files |= {f"{info}/{name}": (installed.read_text(name) or "").encode() for name in _COPIED}
    files[f"{info}/WHEEL"] = _WHEEL.encode()
    record = [f"{name},{_record_digest(content)},{len(content)}\n" for name, content in sorted(files.items())]
    files[f"{info}/RECORD"] = "".join([*record, f"{info}/RECORD,,\n"]).encode()
    path = folder / f"acoustic_kit-{installed.version}-py3-none-any.whl"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in sorted(files.items()):
            archive.writestr(zipfile.ZipInfo(name, _TIME), content, zipfile.ZIP_DEFLATED)
    return path


def _sources(root: Path) -> Iterator[Path]:
    """Yield the files of a package, without compiled ones and hidden ones."""
    for path in sorted(root.rglob("*")):
        parts = path.relative_to(root).parts
        if path.is_file() and "__pycache__" not in parts and not any(part.startswith(".") for part in parts):
            yield path


def _record_digest(content: bytes) -> str:
    digest = base64.urlsafe_b64encode(hashlib.sha256(content).digest()).decode().rstrip("=")
    return f"sha256={digest}"


def collect_wheels(
    packages: Mapping[str, str],
    image: Image,
    folder: Path,
    given: Path | None = None,
    on_progress: OnProgress = lambda *_: None,
) -> None:
    """Copy the wheels of packages, by name and version, into a folder.

    Parameters
    ----------
    given : the folder of wheels; None downloads them by pip, from its index, into a cache
    on_progress : called with "wheels", those that are done and all

    Raises UsageError if `given` does not contain them, AkitError if they cannot be downloaded.

    """
    source = given or user_cache("wheels")
    for number, (name, version) in enumerate(packages.items()):
        on_progress("wheels", number, len(packages))
        wheel = _find(source, name, version, image)
        if wheel is None and given is None:
            _download(name, version, image, source, packages)
            wheel = _find(source, name, version, image)
        if wheel is None:
            raise UsageError(
                f"{source} contains no wheel of {name} {version} for Python {image.python} on Linux x86-64.\n"
                f"On a machine with a network: {_command(packages, image, str(source))}"
            )
        shutil.copyfile(wheel, folder / wheel.name)
    on_progress("wheels", len(packages), len(packages))


def _find(folder: Path, name: str, version: str, image: Image) -> Path | None:
    """Return a wheel in a folder that the image can install; None if there is none."""
    for path in sorted(folder.glob("*.whl")):
        try:
            found, found_version, _, tags = parse_wheel_filename(path.name)
        except InvalidWheelFilename:
            continue
        if (found, found_version) == (canonicalize_name(name), Version(version)) and tags & _tags(image):
            return path
    return None


def _tags(image: Image) -> set[object]:
    python = tuple(map(int, image.python.split(".")))
    interpreter = f"cp{image.python.replace('.', '')}"
    return {
        *cpython_tags(python, platforms=image.platforms),
        *compatible_tags(python, interpreter, platforms=image.platforms),
    }


def _download(name: str, version: str, image: Image, folder: Path, packages: Mapping[str, str]) -> None:
    """Download a wheel by pip. Raises AkitError with pip's reason."""
    from huggingface_hub import is_offline_mode

    reason = "the network is switched off"
    if not is_offline_mode():
        with temporary_folder("akit-wheels-") as draft:
            arguments = _arguments({name: version}, image, str(draft))
            command = [sys.executable, "-m", "pip", *arguments, "--quiet", "--disable-pip-version-check"]
            done = subprocess.run(command, capture_output=True, text=True, errors="replace", check=False)
            if done.returncode == 0:
                for path in draft.glob("*.whl"):
                    shutil.move(path, folder / path.name)
                return
        reason = _reason(done.stderr) or f"pip failed with exit code {done.returncode}"
    raise AkitError(
        f"The wheel of {name} {version} cannot be downloaded: {reason}.\n"
        f"On a machine with a network: {_command(packages, image, 'wheels')}\nThen pass that folder: --wheels wheels"
    )


def _arguments(packages: Mapping[str, str], image: Image, folder: str) -> list[str]:
    named = [f"{name}=={version}" for name, version in packages.items()]
    platforms = [f"--platform={platform}" for platform in image.platforms]
    python = ["--only-binary=:all:", "--no-deps", f"--python-version={image.python}"]
    return ["download", *python, *platforms, f"--dest={folder}", *named]


def _command(packages: Mapping[str, str], image: Image, folder: str) -> str:
    """Return the command that downloads all wheels, for a message: with the platforms that most wheels are for."""
    usual = [arg for arg in _arguments(packages, image, folder) if not arg.startswith("--platform")]
    for platform in ("manylinux_2_28_x86_64", "manylinux_2_27_x86_64", "manylinux_2_17_x86_64", "manylinux2014_x86_64"):
        usual.insert(4, f"--platform={platform}")
    return " ".join(["pip", *usual])


def _reason(stderr: str) -> str:
    """Return the last error that pip printed."""
    errors: Sequence[str] = re.findall(r"^(?:ERROR: )?(.*\S)", stderr.strip(), flags=re.M)
    return errors[-1].rstrip(".") if errors else ""
