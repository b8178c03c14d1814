"""Audio files whose headers do not say how long they are, that have several parts, or that a disk fails to give."""

import errno
import io
import struct
from pathlib import Path

import numpy as np
import pytest
import soundfile

from acoustic_kit.data.scan import scan_audio
from acoustic_kit.dsp.audio_headers import find_mp3, ogg_links
from acoustic_kit.dsp.sound_file import NOT_READ, SoundError, mix, open_sound, sound_errors
from acoustic_kit.errors import AkitError
from acoustic_store import StoreError

RATE, N = 16000, 48000


def tone(n: int = N) -> np.ndarray:
    """Loud noise, then a quiet tone: a decoder that guesses a length by the first frames is far off."""
    quiet = 0.02 * np.sin(2 * np.pi * 440 * np.arange(n - n // 3) / RATE)
    return np.concatenate([np.random.default_rng(0).uniform(-0.5, 0.5, n // 3), quiet]).astype(np.float32)


def encoded(form: str, subtype: str | None = None, wave: np.ndarray | None = None, rate: int = RATE) -> bytes:
    file = io.BytesIO()
    soundfile.write(file, tone() if wave is None else wave, rate, format=form, subtype=subtype)
    return file.getvalue()


def vbr_mp3() -> bytes:
    """MP3 of variable bit rate; its first frame holds the count of frames."""
    file = io.BytesIO()
    soundfile.write(file, tone(), RATE, format="MP3", bitrate_mode="VARIABLE", compression_level=0.5)
    return file.getvalue()


def without_count(mp3: bytes) -> bytes:
    """MP3 without that frame."""
    assert max(mp3[:200].find(b"Xing"), mp3[:200].find(b"Info")) > 0
    second = find_mp3(mp3[1:])
    assert second is not None
    return mp3[1 + second :]


def decoded(content: bytes | Path) -> np.ndarray:
    with open_sound(content if isinstance(content, Path) else io.BytesIO(content)) as file:
        assert file.sample_rate == RATE
        return np.concatenate([mix(block, "mean").copy() for block in file.blocks()])


def piped() -> dict[str, bytes]:
    """Files as writers to a pipe leave them."""
    files = {}
    flac = bytearray(encoded("FLAC"))
    flac[21] &= 0xF0
    flac[22:26] = bytes(4)
    files["flac"] = bytes(flac)
    wav = encoded("WAV")
    at = wav.index(b"data") + 4
    for name, length in (("wav of 0", 0), ("wav of -1", 0xFFFFFFFF)):
        files[name] = wav[:4] + struct.pack("<I", length) + wav[8:at] + struct.pack("<I", length) + wav[at + 4 :]
    rf64 = encoded("RF64")
    for name, length in (("rf64 of 0", 0), ("rf64 of -1", -1)):
        files[name] = rf64[:20] + struct.pack("<qqq", length, length, 0) + rf64[44:]
    caf = encoded("CAF")
    at = caf.index(b"data") + 4
    files["caf"] = caf[:at] + struct.pack(">q", -1) + caf[at + 8 :]
    w64 = encoded("W64")
    at = w64.index(b"data") + 16
    files["w64"] = w64[:16] + b"\xff" * 8 + w64[24:at] + b"\xff" * 7 + b"\x7f" + w64[at + 8 :]
    au = encoded("AU")
    for name, length in (("au of 0", bytes(4)), ("au of -1", b"\xff" * 4)):
        files[name] = au[:8] + length + au[12:]
    return files


@pytest.mark.parametrize("name", piped())
def test_a_file_that_was_written_to_a_pipe_is_read_to_its_end(name: str) -> None:
    np.testing.assert_allclose(decoded(piped()[name])[:N], tone(), atol=1e-4)
    assert N <= len(decoded(piped()[name])) <= N + 20  # what follows the samples of a CAF file counts as some


def test_an_empty_wav_with_another_chunk_holds_no_samples(tmp_path: Path) -> None:
    wav = encoded("WAV", wave=np.zeros(0, np.float32))
    (tmp_path / "a.wav").write_bytes(wav[: wav.index(b"data") + 8] + b"LIST\4\0\0\0INFO")
    assert scan_audio([tmp_path / "a.wav"])["problem"].to_list() == ["it holds no samples"]


def test_mp3_without_a_count_is_read_to_its_end(tmp_path: Path) -> None:
    content = without_count(vbr_mp3())
    wave = decoded(content)
    assert len(wave) == pytest.approx(N, abs=3 * 1152)
    (tmp_path / "a.mp3").write_bytes(content)
    assert scan_audio([tmp_path / "a.mp3"])["duration"].item() == len(wave) / RATE


def test_mp3_with_a_count_is_as_long_as_what_was_written() -> None:
    assert len(decoded(vbr_mp3())) == N


TAG = b"TAG" + bytes(125)
ID3 = b"ID3\4\0\0\0\0\1\0" + bytes(128)


@pytest.mark.parametrize(
    ("before", "after"), [(b"", TAG), (ID3, b""), (ID3 + ID3, TAG), (ID3 + bytes(500), b""), (b"", b"APETAGEX" * 400)]
)
@pytest.mark.parametrize("counted", [True, False])
def test_tags_and_padding_around_mp3_are_passed_over(before: bytes, after: bytes, counted: bool) -> None:
    mp3 = vbr_mp3() if counted else without_count(vbr_mp3())
    assert len(decoded(before + mp3 + after)) == pytest.approx(len(decoded(mp3)), abs=2 * 1152)


@pytest.mark.parametrize("between", [b"", TAG, ID3, TAG + ID3])
@pytest.mark.parametrize("counted", [True, False])
def test_mp3_files_in_one_are_all_read(between: bytes, counted: bool) -> None:
    mp3 = vbr_mp3() if counted else without_count(vbr_mp3())
    assert len(decoded(mp3 + between + mp3)) == pytest.approx(2 * len(decoded(mp3)), abs=3 * 1152)


def test_mp3_goes_on_behind_damaged_frames() -> None:
    mp3 = vbr_mp3()
    half = len(mp3) // 2
    assert len(decoded(mp3[:half] + bytes(5000) + mp3[half + 100 :])) > 0.8 * N


def test_a_mac_file_beside_an_mp3_does_not_matter(tmp_path: Path) -> None:
    content = without_count(vbr_mp3())
    (tmp_path / "a.mp3").write_bytes(content)
    double = struct.pack(">II16sHIIIIII", 0x00051607, 0x00020000, b"Mac OS X", 2, 9, 50, 3760, 2, 3810, 286)
    (tmp_path / "._a.mp3").write_bytes(double.ljust(4096, b"\0"))
    assert len(decoded(tmp_path / "a.mp3")) == len(decoded(content))


@pytest.mark.parametrize("subtype", ["VORBIS", "OPUS"])
def test_all_links_of_a_chained_ogg_are_read(subtype: str) -> None:
    link, other = encoded("OGG", subtype), encoded("OGG", subtype, np.stack([tone(20000), -tone(20000)], 1))
    wave = decoded(link + other + link)
    np.testing.assert_array_equal(wave[:N], decoded(link))
    np.testing.assert_array_equal(wave[-N:], decoded(link))
    assert len(wave) == 2 * N + 20000


def test_an_ogg_whose_links_differ_in_rate_says_so() -> None:
    with pytest.raises(AkitError, match=r"16000 and 8000 Hz"):
        decoded(encoded("OGG", "VORBIS") + encoded("OGG", "VORBIS", rate=8000))


def test_links_of_an_ogg_that_breaks_off() -> None:
    link = encoded("OGG", "VORBIS")
    content = link + link[: len(link) // 2]
    assert list(ogg_links(io.BytesIO(content), len(content))) == [(0, len(link)), (len(link), len(content))]


@pytest.mark.parametrize(
    ("head", "name"), [(b"\0\0\0\x20ftypM4A ", "m4a"), (b"\xff\xf1\x50\x80", "AAC"), (b"<!DOCTYPE html>", "text")]
)
def test_a_format_that_is_not_read_is_named(head: bytes, name: str) -> None:
    with pytest.raises(AkitError, match=name):
        decoded(head + bytes(1000))


def test_channels_are_mixed_as_asked_for() -> None:
    block = np.array([[0.5, -0.25], [0.25, 0.5]], np.float32)
    np.testing.assert_array_equal(mix(block, "mean"), [0.125, 0.375])
    np.testing.assert_array_equal(mix(block, "left"), [0.5, 0.25])
    np.testing.assert_array_equal(mix(block, "right"), [-0.25, 0.5])
    np.testing.assert_array_equal(mix(block[:, :1], "right"), [0.5, 0.25])


class FailingFile(io.BytesIO):
    """A file whose second half the disk cannot read."""

    def read(self, size: int | None = -1) -> bytes:
        self._fail_beyond_half(size or 0)
        return super().read(size)

    def readinto(self, buffer: memoryview) -> int:
        self._fail_beyond_half(len(buffer))
        return super().readinto(buffer)

    def _fail_beyond_half(self, size: int) -> None:
        if self.tell() + size > len(self.getbuffer()) // 2 and self.tell():
            raise OSError(errno.EIO, "Input/output error")


@pytest.mark.parametrize("form", ["WAV", "FLAC", "VORBIS", "OPUS", "MP3", "AIFF", "CAF"])
def test_an_error_of_the_disk_is_none_of_the_file(form: str) -> None:
    wave = np.random.default_rng(0).uniform(-0.5, 0.5, 20 * RATE)  # longer than what is read at once
    is_ogg = form in {"VORBIS", "OPUS"}
    content = encoded("OGG" if is_ogg else form, form if is_ogg else None, wave)
    with pytest.raises(AkitError, match=NOT_READ), open_sound(FailingFile(content)) as file:
        for _ in file.blocks():
            pass


def test_reasons_tell_the_disk_from_the_file() -> None:
    for error, is_unread in ((OSError(5, "I/O error"), True), (MemoryError(), True), (FileNotFoundError(), False)):
        with pytest.raises(SoundError) as found, sound_errors():
            raise error
        assert found.value.is_unread is is_unread
    with pytest.raises(StoreError), sound_errors():
        raise StoreError("no answer")
    assert SoundError(f"{NOT_READ}I/O error").detail == "I/O error"
