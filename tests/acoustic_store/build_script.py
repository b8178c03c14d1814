"""Build a store of generated clips; run by the tests in a process of its own, to be killed there.

    python build_script.py STORE [--workers N] [--kill-at LINE] [--count-lines] [--clips N] [--file-limit BYTES]
    python build_script.py STORE --compact CLIPS [--kill-at LINE] [--count-lines]

`--kill-at` sends SIGKILL to this process just before it executes that line of acoustic_store (or of the generator of
rows), counted from the start: any instant of a build can be chosen, and the same one each time.
"""

import argparse
import os
import resource
import signal
import sys
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

import numpy as np

import acoustic_store
from acoustic_store import Block, Failure, FeatureStore

KEY, DTYPE, BLOCK_SIZE = "wave-0a1b2c3d", "int16", 4
WATCHED = (str(Path(acoustic_store.__file__).parent), __file__)


def clips(n: int) -> list[tuple[str, str]]:
    return [(f"clip-{number}", f"print-{number}") for number in range(n)]


def row(clip_id: str) -> np.ndarray | Failure:
    number = int(clip_id.removeprefix("clip-"))
    if number % 9 == 4:
        return Failure(f"clip {number} is no audio")
    return np.random.default_rng(number).standard_normal((number % 3, 200 + number))


def rows(block: Block) -> Iterator[np.ndarray | Failure]:
    for clip_id, _ in block.clips:
        yield row(clip_id)


def write(block: Block) -> None:
    block.write(rows(block))


def build(path: str, n: int, workers: int) -> None:
    store = FeatureStore.open(path, create=True)
    with store.writer(KEY, DTYPE, {"sample_rate": 8000}) as writer:
        blocks = writer.plan(clips(n), block_size=BLOCK_SIZE)
        if workers:
            with ProcessPoolExecutor(workers, mp_context=get_context("spawn")) as pool:
                list(pool.map(write, blocks))
        else:
            for block in blocks:
                write(block)


def compact(path: str, n: int) -> None:
    """Keep the first ``n`` clips."""
    FeatureStore.open(path).compact(KEY, keep=[clip_id for clip_id, _ in clips(n)])


class LineCounter:
    """Counts executed lines of the watched files, and kills the process before line number ``kill_at``."""

    def __init__(self, kill_at: int | None) -> None:
        self.lines, self.kill_at = 0, kill_at

    def __call__(self, frame, event, argument):
        if event == "line":
            self.lines += 1
            if self.lines == self.kill_at:
                os.kill(os.getpid(), signal.SIGKILL)
        return self if frame.f_code.co_filename.startswith(WATCHED) else None


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("store")
    parser.add_argument("--workers", type=int, default=0)
    parser.add_argument("--kill-at", type=int)
    parser.add_argument("--count-lines", action="store_true")
    parser.add_argument("--clips", type=int, default=22)
    parser.add_argument("--file-limit", type=int)
    parser.add_argument("--compact", type=int)
    arguments = parser.parse_args()
    counter = LineCounter(arguments.kill_at)
    if arguments.file_limit:
        resource.setrlimit(resource.RLIMIT_FSIZE, (arguments.file_limit, arguments.file_limit))
    if arguments.count_lines or arguments.kill_at:
        sys.settrace(counter)
    if arguments.compact:
        compact(arguments.store, arguments.compact)
    else:
        build(arguments.store, arguments.clips, arguments.workers)
    sys.settrace(None)
    print(counter.lines)


if __name__ == "__main__":
    main()
