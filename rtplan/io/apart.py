"""Decoding in a process of its own: a decoder that aborts or hangs on a damaged stream ends only that."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from rtplan.errors import DicomError

#: What the process runs; it answers each line of stdin (`codec.main`).
PROGRAM = "rtplan.io.codec"
#: A file may take this long, and each frame so much longer, s.
PATIENCE_S, PER_FRAME_S = 8.0, 0.2
_AGAIN = "export it again, uncompressed."


def decode(requests: Iterable[tuple[Path, Sequence[int]]]) -> Iterator[tuple[Path, NDArray[Any]]]:
    """Decode frames of files, one file after the other.

    Parameters
    ----------
    requests : iterable of (Path, sequence of int)
        Files, and the numbers of the wanted frames, from 0, ascending.

    Yields
    ------
    Path, ndarray of shape (frames, rows, columns)
        The stored values as they were decoded.

    Raises
    ------
    DicomError
        If a file cannot be decoded, or the decoder died or hung on it.
    """
    command = [sys.executable, "-m", PROGRAM]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
    ) as process:
        try:
            for path, numbers in requests:
                yield path, _asked(process, path, list(numbers))
        finally:
            process.kill()


def _asked(process: subprocess.Popen[bytes], path: Path, numbers: list[int]) -> NDArray[Any]:
    assert process.stdin is not None
    assert process.stdout is not None
    clock = threading.Timer(PATIENCE_S + PER_FRAME_S * len(numbers), process.kill)
    clock.start()
    try:
        process.stdin.write(json.dumps([str(path), numbers]).encode() + b"\n")
        process.stdin.flush()
        answer = _answer(process.stdout)
    except (OSError, ValueError):
        answer = None
    finally:
        clock.cancel()
    if answer is None:
        message = "The decoder died or hung on the pixels: the file is damaged."
        raise DicomError(message, where=str(path), action=_AGAIN)
    if isinstance(answer, np.ndarray):
        return answer
    raise DicomError(answer["message"], where=str(path), action=answer["action"] or _AGAIN)


def _answer(stream: IO[bytes]) -> NDArray[Any] | dict[str, str] | None:
    """Return the frames, or what was wrong; None when the process ended before it had answered."""
    line = stream.readline()
    if not line.endswith(b"\n"):
        return None
    said: dict[str, Any] = json.loads(line)
    if "message" in said:
        return said
    values = np.empty(said["shape"], np.dtype(said["dtype"]))
    view = values.data.cast("B") if values.size else memoryview(b"")
    got = 0
    while got < len(view):
        count = stream.readinto(view[got:])  # type: ignore[attr-defined]
        if not count:
            return None
        got += count
    return values
