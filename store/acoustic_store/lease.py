"""The lock of a feature in object storage: a lease, which expires unless renewed, as no kernel would release it."""

import json
import os
import secrets
import socket
import threading
import time
from contextlib import suppress
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from obstore.exceptions import AlreadyExistsError, PreconditionError

from .errors import LockedError, StoreError
from .layout import LEASE

if TYPE_CHECKING:
    from .object_files import ObjectFiles

SECONDS = 60.0  # how long a killed writer blocks others; a running one renews its lease three times as often


def holder(files: "ObjectFiles") -> str | None:
    """Return the token of the lock on a feature; None if it is not locked."""
    try:
        return str(json.loads(files.read(LEASE)).get("token"))
    except FileNotFoundError:
        return None


class Lease:
    """An object that names its owner and when it expires; made, renewed and taken over by conditional PUTs.

    The clocks of machines that write the same feature must agree within two thirds of ``SECONDS``. If a lease is taken
    over too early nonetheless, the blocks of both writers are whole, and the first one gets an error at its end.
    """

    def __init__(self, files: "ObjectFiles") -> None:
        self._files = files
        self.token = secrets.token_hex(8)
        self._owner = {"host": socket.gethostname(), "pid": os.getpid(), "token": self.token}
        self._etag = self._take()
        self._ended = threading.Event()
        self._renewal = threading.Thread(target=self._renew_until_ended, daemon=True)
        self._renewal.start()

    def release(self) -> None:
        """Delete the object; nothing in a forked child. Raises LockedError if another writer has taken it over."""
        if self._ended.is_set() or self._owner["pid"] != os.getpid():
            return
        self._ended.set()
        self._renewal.join()
        if not self._renew():
            raise LockedError(
                f"{self._files} was taken over by another writer, as this one could not renew its lock in time. "
                "What was stored is whole; run the same command again."
            )
        self._files.delete(LEASE)  # just renewed, so no other writer can have taken it over

    def _take(self) -> str:
        try:
            with suppress(AlreadyExistsError):
                return self._put(None)
            owner, etag = self._read()
            if owner.get("token") == self.token:  # the answer to the PUT above was lost, and it was repeated
                return etag
            expires = owner.get("expires", 0.0)
            if time.time() < expires:
                until = datetime.fromtimestamp(expires, UTC).strftime("%H:%M:%S UTC")
                raise LockedError(
                    f"{self._files.name} is being written by process {owner.get('pid')} on {owner.get('host')}. Wait "
                    f"until it has finished, or stop it; without it the lock expires at {until} ({self._files})."
                )
            return self._put(etag)
        except (PreconditionError, FileNotFoundError):
            raise LockedError(f"{self._files} was locked or freed just now; run the same command again.") from None

    def _renew(self) -> bool:
        """Prolong the lease; return False if another writer has it."""
        try:
            try:
                self._etag = self._put(self._etag)
            except PreconditionError:
                owner, self._etag = self._read()
                return owner.get("token") == self.token  # a PUT was repeated, as its answer was lost
        except FileNotFoundError:
            return False
        return True

    def _renew_until_ended(self) -> None:
        while not self._ended.wait(SECONDS / 3):
            with suppress(StoreError):  # the network may recover before the lease expires
                if not self._renew():
                    return

    def _put(self, etag: str | None) -> str:
        content = json.dumps({**self._owner, "expires": time.time() + SECONDS}).encode()
        return self._files.put_if(LEASE, content, etag)

    def _read(self) -> tuple[dict[str, Any], str]:
        content, etag = self._files.read_with_etag(LEASE)
        return json.loads(content), etag
