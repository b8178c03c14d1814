"""Download public data sets: resume and check their archives, and unpack them completely or not at all.

The downloaded part of an archive is stored in `<folder>.download/<archive>.part`; after a broken connection, an
interrupt or a kill, the same command resumes it. `<archive>.part.json` identifies the version of the file, so that the
server resumes only that one (RFC 9110, `If-Range`). pooch checks and keeps the archives, requests downloads them.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from acoustic_kit import __version__
from acoustic_kit.data.archives import OnProgress, in_use, new_folder, require_new, unpack
from acoustic_kit.errors import DataError, UsageError
from acoustic_kit.files import locked

if TYPE_CHECKING:
    import requests

    from acoustic_kit.data.public_data import Archive, PublicDataSet

TRIES = 5  # attempts per call, as long as each receives data
PAUSE = 2.0  # seconds between attempts
TIMEOUT = (15, 60)  # seconds to connect, and between two bytes
_CHUNK = 1 << 16

OnNote = Callable[[str], object]


def download_data_set(
    data_set: PublicDataSet,
    folder: Path | None = None,
    *,
    keep_archives: bool = False,
    on_progress: OnProgress = lambda what, done, total: None,
    on_note: OnNote = lambda note: None,
) -> Path:
    """Download, check and unpack a data set, and return the folder that `akit init --data` reads.

    Parameters
    ----------
    data_set : of `PUBLIC_DATA_SETS`
    folder : to be created; by default the data set's own name, in the current folder
    keep_archives : keep `<folder>.download`
    on_progress : called with the step (downloading, checking, unpacking), bytes done and bytes in all
    on_note : called with each note for the user, one line

    Raises
    ------
    DataError : no network, an error of the server, a wrong checksum, a full disk. The downloaded part is kept, and the
        same call resumes it
    UsageError : `folder` exists and is not empty

    """
    folder = Path(data_set.folder) if folder is None else folder
    require_new(folder)
    downloads = folder.resolve().with_name(f"{folder.resolve().name}.download")
    with _locked_downloads(downloads):
        archives = [(fetch(archive, downloads, on_progress, on_note), archive.into) for archive in data_set.archives]
        with new_folder(folder) as draft:
            for path, into in archives:
                (draft / into).mkdir(exist_ok=True)
                _unpack(path, draft / into, on_progress)
            data_set.arrange(draft)
        if not keep_archives:
            shutil.rmtree(downloads)
    return _root(folder, data_set)


@contextmanager
def _locked_downloads(downloads: Path) -> Iterator[None]:
    """Lock the folder of the archives for this process; remove it at the end if it is empty."""
    with locked(downloads, in_use(downloads)):
        try:
            yield
        finally:
            with suppress(OSError):
                downloads.rmdir()


def find_data_set(name: str) -> PublicDataSet:
    """Return a public data set by its name. Raises UsageError if it is unknown."""
    from acoustic_kit.data.public_data import PUBLIC_DATA_SETS

    if name not in PUBLIC_DATA_SETS:
        raise UsageError(f"unknown data set {name!r}; known: {', '.join(PUBLIC_DATA_SETS)}.")
    return PUBLIC_DATA_SETS[name]


def fetch(archive: Archive, folder: Path, on_progress: OnProgress, on_note: OnNote) -> Path:
    """Return the archive in `folder`, checked; download it if it is missing. Raises DataError."""
    import pooch

    path = folder / archive.name
    for stray in folder.glob("tmp*"):  # left by pooch in a killed process
        stray.unlink()
    pooch.get_logger().setLevel("ERROR")
    downloader = _Downloader(archive, folder / f"{archive.name}.part", on_progress, on_note)
    for is_last in (False, True):
        downloader.resumed = False
        try:
            pooch.retrieve(archive.url, archive.checksum, archive.name, folder, downloader=downloader)
            break
        except ValueError:  # pooch found another checksum
            downloader.forget()
            if is_last or not downloader.resumed:
                text = f"{archive.url} is not the published file: its checksum is not {archive.checksum}."
                raise DataError(f"{text}\nNothing was kept. Try again later, or over another network.") from None
            on_note(f"The earlier part of {archive.name} was wrong; it is downloaded again from the start.")
    downloader.forget()
    if archive.checksum is None:
        digest = pooch.file_hash(str(path))
        on_note(f"{archive.name} was not checked, as akit knows no checksum of it. Its sha256 is {digest}.")
    return path


class _Downloader:
    """Downloader for pooch. It writes into `part`, which is kept until `forget` is called."""

    def __init__(self, archive: Archive, part: Path, on_progress: OnProgress, on_note: OnNote) -> None:
        self._archive, self._part, self._on_progress, self._on_note = archive, part, on_progress, on_note
        self._state = part.with_name(f"{part.name}.json")
        self.resumed = False

    def __call__(self, url: str, output_file: str, _pooch: object) -> None:
        """Download `url` to `output_file`. Raises DataError."""
        import requests

        for tries_left in reversed(range(TRIES)):
            before = self._have()
            try:
                self._fetch(url)
                break
            except requests.RequestException as error:
                if tries_left == 0 or self._have() <= before:
                    raise DataError(self._connection_message(url, error)) from error
                time.sleep(PAUSE)
            except OSError as error:
                text = f"{self._part} cannot be written: {error.strerror or error}. The downloaded part is kept."
                raise DataError(f"{text}\nFree some space, then run the same command again.") from error
        Path(output_file).unlink()
        try:  # a second name, so that a kill while pooch checks it loses nothing
            os.link(self._part, output_file)
        except OSError:  # the file system has no hard links
            self._part.replace(output_file)

    def forget(self) -> None:
        """Remove the downloaded part."""
        self._part.unlink(missing_ok=True)
        self._state.unlink(missing_ok=True)

    def _have(self) -> int:
        return self._part.stat().st_size if self._part.exists() else 0

    def _fetch(self, url: str) -> None:
        """Resume the download, or start it. Raises requests.RequestException if the connection breaks."""
        validator, total = self._known()
        start = self._have() if total is not None and self._have() <= total else 0
        self.resumed |= start > 0
        if start and start == total:
            return
        headers = {"Range": f"bytes={start}-"} | ({"If-Range": validator} if validator else {}) if start else {}
        with _get(url, headers) as response:
            if start and not _resumes(response, start, total):
                self._on_note(f"The server cannot resume {self._archive.name}; it is downloaded again from the start.")
                self.resumed, start = False, 0
            if response.status_code == 200:
                self._begin(response)
            elif not start:  # 206 or 416 for other bytes than requested
                self.forget()
                return self._fetch(url)
            self._save(response, start)
        return None

    def _known(self) -> tuple[str | None, int | None]:
        """Return the validator for `If-Range`, and the size of the whole file; (None, None) if unknown."""
        try:
            state = json.loads(self._state.read_text("utf-8"))
            validator, total = state["validator"], state["total"]
        except (OSError, ValueError, TypeError, KeyError):
            return None, None
        return validator if isinstance(validator, str) else None, total if isinstance(total, int) else None

    def _remember(self, validator: str | None, total: int | None) -> None:
        self._state.write_text(json.dumps({"validator": validator, "total": total}), "utf-8")

    def _begin(self, response: requests.Response) -> None:
        """Record the version of the file. Raises DataError if it does not have the published size."""
        total = _integer(response.headers.get("Content-Length")) or self._archive.size
        if self._archive.size not in (None, total):
            text = f"{self._archive.url} is {total:,} bytes long, not {self._archive.size:,} as published."
            raise DataError(f"{text} Nothing was downloaded. Try again later, or over another network.")
        self.forget()
        tag = response.headers.get("ETag", "")
        self._remember(tag if tag.startswith('"') else response.headers.get("Last-Modified"), total)

    def _save(self, response: requests.Response, start: int) -> None:
        """Append the body to the first `start` bytes."""
        import requests

        validator, total = self._known()
        about = total or self._archive.megabytes * 1_000_000
        done = start
        with self._part.open("ab") as file:
            for chunk in response.iter_content(_CHUNK):
                file.write(chunk)
                done += len(chunk)
                self._on_progress(f"downloading {self._archive.name}", done, max(done, about))
        if total not in (None, done):
            raise requests.ConnectionError(f"{done:,} of {total:,} bytes received")
        self._remember(validator, done)

    def _connection_message(self, url: str, error: Exception) -> str:
        """Return the message for a broken or failed connection."""
        have = self._have()
        total = self._known()[1]
        if not have:
            return f"{url} cannot be reached: {_reason(error)}.\nCheck the network, then run the same command again."
        of = f" of {total:,}" if total else ""
        rest = "resumes there" if total else "starts again, as the server does not state the size"
        return f"The connection broke after {have:,}{of} bytes of {self._archive.name}.\nThe same command {rest}."


def _get(url: str, headers: dict[str, str]) -> requests.Response:
    """Return the server's response, its body not yet read. Raises DataError if it is an error."""
    import requests

    if os.environ.get("HF_HUB_OFFLINE"):  # what --offline sets
        raise DataError(f"{url} has not been downloaded, and the network is switched off (--offline).")
    own = {"Accept-Encoding": "identity", "User-Agent": f"akit/{__version__}"}
    response = requests.get(url, headers=own | headers, stream=True, timeout=TIMEOUT)
    status = response.status_code
    if status == 200 or (status in (206, 416) and headers):
        return response
    response.close()
    told = f"{url}: the server responded {status} {response.reason}."
    if status in (408, 429) or status >= 500:
        raise DataError(f"{told} It is overloaded or broken.\nThe part is kept; run the same command again later.")
    raise DataError(f"{told} The data set may have moved; try a newer version of akit.")


def _resumes(response: requests.Response, start: int, total: int | None) -> bool:
    """Return whether the response is the rest of the file, from byte `start` on."""
    found = re.fullmatch(r"bytes (\d+)-(\d+)/(\d+)", response.headers.get("Content-Range", ""))
    return response.status_code == 206 and found is not None and (int(found[1]), int(found[3])) == (start, total)


def _integer(text: str | None) -> int | None:
    return int(text) if text is not None and re.fullmatch(r"\d{1,18}", text) else None


def _reason(error: Any) -> str:
    """Return the innermost reason of an error of requests, such as `Name or service not known`."""
    while (inner := getattr(error, "reason", None) or next(iter(error.args), None)) and isinstance(inner, Exception):
        error = inner
    return str(error).rpartition(": ")[2].rstrip(".")


def _unpack(path: Path, folder: Path, on_progress: OnProgress) -> None:
    try:
        unpack(path, folder, on_progress=on_progress)
    except DataError as error:
        raise DataError(f"{error}\nIf the archive is damaged, delete it and run the same command again.") from error


def _root(folder: Path, data_set: PublicDataSet) -> Path:
    """Return the data set's own folder: `folder`, or the one in it that has its layout."""
    from acoustic_kit.data.layouts.detect import ADAPTERS

    adapter = ADAPTERS[data_set.name]
    for root in (folder, *sorted(path for path in folder.iterdir() if path.is_dir())):
        if adapter.found(root):
            return root
    raise DataError(f"{folder} is unpacked, but akit cannot read it as {data_set.title}: it lacks {adapter.LOOKS_FOR}.")
