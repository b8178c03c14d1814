"""Public data sets that `akit data download` knows: the places, sizes and checksums of their archives.

Only checksums on which several sources agree are listed: UrbanSound8K's is Zenodo's, as in soundata and PaddleSpeech;
Speech Commands' is that of TensorFlow Datasets and torchaudio. ESC-50 has none, as GitHub packs it on demand.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from acoustic_kit.data.label_tables import read_label_table

_ZENODO = "https://zenodo.org/records"


@dataclass(frozen=True)
class Archive:
    """One file to download."""

    url: str
    name: str  # of the file, here
    megabytes: int  # approximate
    size: int | None = None  # bytes; None unless several sources agree
    checksum: str | None = None  # `md5:…` or `sha256:…`; None unless several sources agree
    into: str = ""  # sub-folder to unpack into


@dataclass(frozen=True)
class PublicDataSet:
    """A data set for download, named as its layout."""

    name: str
    title: str
    folder: str  # default folder
    archives: tuple[Archive, ...]
    contents: str
    licence: str
    citation: str
    arrange: Callable[[Path], None] = lambda folder: None  # converts the unpacked folder to its layout


def _as_the_competition(folder: Path) -> None:
    """Add the two tables of the competition to FSDKaggle2018 from Zenodo."""
    meta = folder / "meta"
    (folder / "train.csv").write_bytes((meta / "train_post_competition.csv").read_bytes())
    names = read_label_table(meta / "test_post_competition_scoring_clips.csv").required("fname")
    lines = ["fname,label", *(f"{name},Laughter Hi-Hat Flute" for name in names)]  # the competition's placeholders
    (folder / "sample_submission.csv").write_text("\n".join(lines) + "\n", "utf-8")


def _fsdkaggle2018(part: str, megabytes: int, into: str) -> Archive:
    name = f"FSDKaggle2018.{part}.zip"
    return Archive(f"{_ZENODO}/2552860/files/{name}?download=1", name, megabytes, into=into)


PUBLIC_DATA_SETS = {
    data_set.name: data_set
    for data_set in (
        PublicDataSet(
            "esc50",
            "ESC-50",
            "ESC-50",
            (Archive("https://github.com/karolpiczak/ESC-50/archive/master.zip", "ESC-50-master.zip", 646),),
            "2,000 clips of 5 s, 50 classes, 5 folds; its column esc10 marks the clips of ESC-10",
            "CC BY-NC 3.0",
            "K. J. Piczak, ESC: Dataset for Environmental Sound Classification, ACM Multimedia 2015",
        ),
        PublicDataSet(
            "urbansound8k",
            "UrbanSound8K",
            "UrbanSound8K",
            (
                Archive(
                    f"{_ZENODO}/1203745/files/UrbanSound8K.tar.gz?download=1",
                    "UrbanSound8K.tar.gz",
                    6024,
                    6_023_741_708,
                    "md5:9aa69802bbf37fb986f71ec1483a196e",
                ),
            ),
            "8,732 clips of up to 4 s, 10 classes, 10 folds",
            "CC BY-NC 3.0",
            "J. Salamon, C. Jacoby, J. P. Bello, A Dataset and Taxonomy for Urban Sound Research, ACM Multimedia 2014",
        ),
        PublicDataSet(
            "fsdkaggle2018",
            "FSDKaggle2018",
            "FSDKaggle2018",
            (
                _fsdkaggle2018("meta", 1, "meta"),
                _fsdkaggle2018("audio_test", 700, "audio_test"),
                _fsdkaggle2018("audio_train", 4200, "audio_train"),
            ),
            "9,473 training and 1,600 test clips of up to 30 s, 41 classes",
            "CC BY 4.0; each clip its own: CC0, CC BY or CC BY-NC",
            "E. Fonseca et al., General-purpose Tagging of Freesound Audio with AudioSet Labels, DCASE Workshop 2018",
            _as_the_competition,
        ),
        PublicDataSet(
            "speechcommands",
            "Speech Commands v2",
            "SpeechCommands",
            (
                Archive(
                    "https://storage.googleapis.com/download.tensorflow.org/data/speech_commands_v0.02.tar.gz",
                    "speech_commands_v0.02.tar.gz",
                    2429,
                    2_428_923_189,
                    "sha256:af14739ee7dc311471de98f5f9d2c9191b18aedfe957f4a6ff791c709868ff58",
                ),
            ),
            "105,829 clips of up to 1 s, 35 words",
            "CC BY 4.0",
            "P. Warden, Speech Commands: A Dataset for Limited-Vocabulary Speech Recognition, 2018, arXiv:1804.03209",
        ),
    )
}
