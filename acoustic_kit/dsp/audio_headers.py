"""Headers of audio files of unknown length: files written to a pipe, chained Ogg, MP3 without a frame count."""

from __future__ import annotations

import io
import struct
from collections.abc import Iterator

# fmt: off
# First bytes of formats that libsndfile does not read: offset, bytes, name.
_FOREIGN = (
    (4, b"ftyp", "an MPEG-4 file (m4a, aac, mp4)"), (0, b"\x30\x26\xb2\x75", "a Windows Media file (wma)"),
    (0, b"\x1a\x45\xdf\xa3", "a Matroska or WebM file"), (0, b"\xff\xf1", "AAC"), (0, b"\xff\xf9", "AAC"),
    (0, b"#!AMR", "AMR"), (0, b"MAC ", "Monkey's Audio (ape)"), (0, b"wvpk", "WavPack"),
    (0, b"<", "text, perhaps a web page"), (0, b"PK\x03\x04", "a zip archive"),
    (0, b"\x00\x05\x16\x07", "a Mac's AppleDouble file"),
)
_RATES_1 = (32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320)  # kbit/s, of MPEG 1
_RATES_2 = (8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160)  # of MPEG 2 and 2.5
# fmt: on


def names_format(head: bytes) -> str | None:
    """Return the format of a file that libsndfile does not read, by its first bytes; None if it is unknown."""
    return next((name for at, magic, name in _FOREIGN if head[at : at + len(magic)] == magic), None)


def guesses_length(head: bytes) -> bool:
    """Return whether it is an MP3 file that does not say how many frames it has, so that its length is guessed."""
    start = _id3_length(head)
    if not start and not (head.startswith(b"\xff") and len(head) > 1 and head[1] & 0xE0 == 0xE0):
        return False
    frames = head[start : start + 4096]
    for name, flags, count in ((b"Xing", 4, 8), (b"Info", 4, 8), (b"VBRI", None, 14)):
        at = frames.find(name)
        if at >= 0 and (flags is None or _big(frames[at + flags : at + flags + 4]) & 1):
            return _big(frames[at + count : at + count + 4]) == 0
    return True


def find_mp3(content: bytes) -> int | None:
    """Return where MP3 frames begin in `content`, after tags and padding: four headers in a row; None if nowhere."""
    at = content.find(b"\xff", _id3_length(content))
    while at >= 0:
        end = at
        for _ in range(3):
            length = _frame_length(content[end : end + 4])
            if length is None:
                break
            end += length
        if _frame_length(content[end : end + 4]) is not None:
            return at
        at = content.find(b"\xff", at + 1)
    return None


def _id3_length(head: bytes) -> int:
    """Return the length of the ID3v2 tag that `head` begins with, or 0."""
    if not head.startswith(b"ID3") or len(head) < 10:
        return 0
    return 10 + sum((byte & 0x7F) << shift for byte, shift in zip(head[6:10], (21, 14, 7, 0), strict=True))


def _frame_length(header: bytes) -> int | None:
    """Return the bytes of an MP3 frame (ISO 11172-3, layer III) from its header; None if it is no header."""
    if len(header) < 4 or header[0] != 0xFF or header[1] & 0xE6 != 0xE2:
        return None
    version, bit_rate, sample_rate = header[1] >> 3 & 3, header[2] >> 4, header[2] >> 2 & 3
    if version == 1 or bit_rate in (0, 15) or sample_rate == 3:
        return None
    hertz = (44100, 48000, 32000)[sample_rate] >> (0, 1, 2)[(3, 2, 0).index(version)]
    rates, samples = (_RATES_1, 144) if version == 3 else (_RATES_2, 72)
    return samples * 1000 * rates[bit_rate - 1] // hertz + (header[2] >> 1 & 1)


def ogg_links(file: io.BufferedIOBase, size: int) -> Iterator[tuple[int, int]]:
    """Yield the first byte and the end of each link of a chained Ogg file: a link begins after another's data."""
    start, at, in_data = 0, 0, False
    while at < size:
        file.seek(at)
        page = file.read(27)
        if len(page) < 27 or not page.startswith(b"OggS"):
            break  # libogg finds the next page itself
        begins, length = bool(page[5] & 2), 27 + page[26] + sum(file.read(page[26]))
        if begins and in_data:
            yield start, at
            start = at
        in_data = not begins
        at += length
    yield start, size


def with_length(head: bytes, size: int) -> bytes:
    """Return the header of WAV, RF64, W64, CAF or AU with the length that a writer to a pipe left open (0 or -1).

    Parameters
    ----------
    head : the beginning of the file
    size : bytes of the file

    """
    if head[:4] in (b"RIFF", b"RIFX", b"RF64") and head[8:12] == b"WAVE":
        return _riff(head, size)
    if head.startswith(b"caff"):
        return _caf(head, size)
    if head.startswith(b".snd") and len(head) >= 12 and not _big(head[8:12]):
        return head[:8] + b"\xff" * 4 + head[12:]
    if head.startswith(b"riff"):
        return _w64(head, size)
    return head


def _riff(head: bytes, size: int) -> bytes:
    order = "big" if head.startswith(b"RIFX") else "little"
    at = 12
    while at + 8 <= len(head) and head[at : at + 4] != b"data":
        length = int.from_bytes(head[at + 4 : at + 8], order)  # type: ignore[arg-type]
        at += 8 + length + length % 2
    rest = size - at - 8
    if at + 8 > len(head) or rest <= 0:
        return head
    if head.startswith(b"RF64") and head[12:16] == b"ds64" and _is_open(head[28:36]):
        return head[:20] + struct.pack("<QQ", size - 8, rest) + head[36:]
    if head[at + 4 : at + 8] == bytes(4) and not _is_chunk(head[at + 8 : at + 16], rest):
        length = min(rest, 0xFFFFFFFF)
        return head[: at + 4] + length.to_bytes(4, order) + head[at + 8 :]  # type: ignore[arg-type]
    return head


def _w64(head: bytes, size: int) -> bytes:
    at = 40
    while at + 24 <= len(head):
        length = int.from_bytes(head[at + 16 : at + 24], "little")  # with the 24 bytes of the chunk's own header
        if head[at : at + 4] == b"data":
            if length > size:
                head = head[: at + 16] + struct.pack("<Q", size - at) + head[at + 24 :]
                head = head[:16] + struct.pack("<Q", size) + head[24:]
            break
        at += max(24, length + -length % 8)
    return head


def _caf(head: bytes, size: int) -> bytes:
    at = 8
    while at + 12 <= len(head):
        length = struct.unpack(">q", head[at + 4 : at + 12])[0]
        if head[at : at + 4] == b"data":
            if length != -1:
                break
            return head[: at + 4] + struct.pack(">q", size - at - 12) + head[at + 12 :]
        if length < 0:
            break
        at += 12 + length
    return head


def _is_open(length: bytes) -> bool:
    return length in (bytes(8), b"\xff" * 8)


def _is_chunk(start: bytes, rest: int) -> bool:
    """Return whether the bytes after an empty ``data`` chunk are another chunk, not samples."""
    return len(start) == 8 and start[:4].isalnum() and int.from_bytes(start[4:], "little") <= rest - 8


def _big(number: bytes) -> int:
    return int.from_bytes(number, "big")
