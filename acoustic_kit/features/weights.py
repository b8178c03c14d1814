"""Pretrained model weights: find or download them, identify them, and load the model.

Only ``config.json`` and ``model.safetensors`` are read. Pickles are not, as they can run code.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from acoustic_kit.errors import AkitError, UsageError
from acoustic_kit.files import file_sha256

if TYPE_CHECKING:
    from transformers import ASTModel

AST_NAME = "MIT/ast-finetuned-audioset-10-10-0.4593"
AST_MODEL_TYPE = "audio-spectrogram-transformer"
CONFIG, TENSORS, PICKLE = "config.json", "model.safetensors", "pytorch_model.bin"

# Commits of these names, so that they are the same for all users. Other names mean their newest commit.
_PINNED = {AST_NAME: "f826b80d28226b62986cc218e5cec390b1096902"}
_CLASSIFIER = "classifier."  # of ASTForAudioClassification; not part of the encoder


@dataclass(frozen=True)
class Weights:
    """A folder with ``config.json`` and ``model.safetensors``."""

    folder: Path
    name: str | None = None  # on the hub; None for a folder of the user's
    revision: str | None = None  # the commit on the hub

    def config(self) -> dict[str, Any]:
        """Return the content of ``config.json``. Raises AkitError if it is damaged."""
        try:
            config = json.loads((self.folder / CONFIG).read_bytes())
        except (OSError, ValueError, RecursionError) as error:
            raise AkitError(f"{self.folder / CONFIG} cannot be read: {error}") from error
        if not isinstance(config, dict):
            raise AkitError(f"{self.folder / CONFIG} is damaged: it is no JSON object of settings")
        return config

    def digests(self) -> dict[str, str]:
        """Return the SHA-256 of both files, by name, which does not depend on the folder."""
        return {name: _sha256(self.folder / name) for name in (CONFIG, TENSORS)}

    def describe(self) -> str:
        """Return text that identifies them, for a record: name on the hub and commit, or the tensors' digest."""
        if self.name is not None:
            return f"{self.name} at commit {self.revision}"
        return f"weights in a folder, SHA-256 {self.digests()[TENSORS]}"


def find_weights(name: str, revision: str | None = None, *, how: str) -> Weights:
    """Return the weights of a name on the hub or of a local folder; a folder of that name has precedence.

    From the hub they are downloaded once, into the cache that all Hugging Face libraries share, and not looked up
    again: for newer ones, pass their revision. With ``HF_HUB_OFFLINE=1`` the network is not accessed.

    Parameters
    ----------
    name : OWNER/NAME on the hub, or a folder
    revision : branch, tag or commit on the hub; None is the commit that akit has pinned, or the newest
    how : how the user passes a folder, for the error message

    Raises
    ------
    AkitError
        They are missing and cannot be downloaded; the message says how to get them.
    UsageError
        ``revision`` was given for a local folder.

    """
    folder = Path(name).expanduser()
    if folder.is_dir():
        if revision is not None:
            raise UsageError(f"{name} is a folder, which has no revisions; leave out revision={revision!r}")
        _check_folder(folder)
        return Weights(folder.resolve())
    if not _is_hub_name(name):
        raise AkitError(
            f"There is no folder {name} with weights, nor is that a name on the Hugging Face hub (OWNER/NAME)."
        )
    return _from_hub(name, revision or _PINNED.get(name, "main"), how)


def _check_folder(folder: Path) -> None:
    missing = [name for name in (CONFIG, TENSORS) if not (folder / name).is_file()]
    if TENSORS in missing and (folder / PICKLE).is_file():
        load = f"ASTModel.from_pretrained({str(folder)!r}, use_safetensors=False)"
        raise AkitError(
            f"{folder} holds {PICKLE}, which can run code, instead of {TENSORS}. If you trust it, convert it:\n"
            f'python -c "from transformers import ASTModel; {load}.save_pretrained({str(folder)!r})"'
        )
    if missing:
        raise AkitError(f"The folder {folder} lacks {' and '.join(missing)}. Weights are {CONFIG} and {TENSORS}.")


def _is_hub_name(name: str) -> bool:
    from huggingface_hub.utils import HFValidationError, validate_repo_id

    try:
        validate_repo_id(name)
    except HFValidationError:
        return False
    return name.count("/") == 1


def _from_hub(name: str, revision: str, how: str) -> Weights:
    """Return the weights from the cache, or from the hub. Raises AkitError if neither has them."""
    from huggingface_hub import constants, errors, is_offline_mode

    reason = "the network is switched off (HF_HUB_OFFLINE)"
    found = _in_cache(name, revision)
    if found is None and not is_offline_mode():
        try:
            found = _download(name, revision)
        except errors.RemoteEntryNotFoundError as error:
            raise AkitError(
                f"{name} on the hub (revision {revision}) lacks {CONFIG} or {TENSORS}; akit reads nothing else."
            ) from error
        except errors.RepositoryNotFoundError:
            reason = "the hub has no such model"
        except errors.RevisionNotFoundError:
            reason = f"the hub has no revision {revision} of it"
        except Exception as error:
            # Errors of the network, a proxy or the disk have no common class in these libraries.
            reason = f"the download failed ({_first_line(error)})"
    if found is not None:
        return found
    raise AkitError(
        f"Cannot load weights {name}: there is no such folder, the cache {constants.HF_HUB_CACHE} lacks them, and "
        f"{reason}.\n"
        f"Download them elsewhere: hf download {name} {CONFIG} {TENSORS} --revision {revision} --local-dir FOLDER\n"
        f"Then pass that folder: {how}"
    )


def _in_cache(name: str, revision: str) -> Weights | None:
    from huggingface_hub import try_to_load_from_cache

    config = try_to_load_from_cache(name, CONFIG, revision=revision)
    tensors = try_to_load_from_cache(name, TENSORS, revision=revision)
    if not (isinstance(config, str) and isinstance(tensors, str)):
        return None
    return Weights(Path(config).parent, name, revision=Path(config).parent.name)


def _download(name: str, revision: str) -> Weights:
    from huggingface_hub import get_hf_file_metadata, hf_hub_download, hf_hub_url

    # Without a network this fails at once, whereas downloads are retried for half a minute.
    get_hf_file_metadata(hf_hub_url(name, CONFIG, revision=revision))
    folder = Path(hf_hub_download(name, CONFIG, revision=revision)).parent
    hf_hub_download(name, TENSORS, revision=folder.name)  # of the same commit
    return Weights(folder, name, revision=folder.name)


def _sha256(path: Path) -> str:
    try:
        stat = path.stat()
        return _sha256_at(path, stat.st_size, stat.st_mtime_ns)
    except OSError as error:
        raise AkitError(f"{path} cannot be read: {error.strerror}") from error


@lru_cache(maxsize=16)
def _sha256_at(path: Path, size: int, mtime_ns: int) -> str:
    """Return the SHA-256 of a file as it is at this size and time stamp, so that it is read once."""
    return file_sha256(path)


def load_ast(weights: Weights) -> ASTModel:
    """Return the Audio Spectrogram Transformer of transformers, without classifier, with these weights.

    Returns
    -------
    ``ASTModel`` on the CPU, float32, in evaluation mode, with ``scaled_dot_product_attention``

    Raises
    ------
    AkitError
        The files are damaged, do not fit each other, or are of another model. No weight stays random.

    """
    import safetensors.torch
    import torch
    from transformers import ASTConfig, ASTModel

    settings = ast_settings(weights)
    path = weights.folder / TENSORS
    try:
        tensors = safetensors.torch.load_file(path)
    except (OSError, safetensors.SafetensorError) as error:
        raise AkitError(f"{path} is damaged: {error}. Download it again.") from error
    try:
        with _quiet():
            model, report = ASTModel.from_pretrained(
                None,
                config=ASTConfig(**settings),
                state_dict=tensors,
                dtype=torch.float32,
                attn_implementation="sdpa",
                ignore_mismatched_sizes=True,  # they are in the report
                output_loading_info=True,
            )
    except Exception as error:
        # Invalid settings raise many kinds of errors.
        raise AkitError(f"{weights.folder / CONFIG} describes no model: {_first_line(error)}") from error
    _check_report(path, report)
    return model.eval()


def ast_settings(weights: Weights) -> dict[str, Any]:
    """Return the encoder's shape from ``config.json``, as arguments of ``transformers.ASTConfig``.

    The rest of the file is ignored: it may have settings that make transformers download code.

    Raises AkitError if it is the configuration of another model.
    """
    config = weights.config()
    if config.get("model_type") != AST_MODEL_TYPE:
        found = config.get("model_type", "unknown")
        raise AkitError(f"{weights.folder / CONFIG} is of a model of type {found}; {AST_MODEL_TYPE} is needed.")
    return {name: config[name] for name in _AST_SETTINGS if name in config}


def ast_shape(name: str, *, how: str = "") -> dict[str, Any]:
    """Return the whole configuration of the encoder for weights of this name: arguments of `new_ast`.

    For the published weights, and for a folder that does not exist, it is the published one, so that a trained network
    can be built again elsewhere. For another folder or name on the hub it is that of its ``config.json``; weights are
    found as by `find_weights`, with its errors.
    """
    if name == AST_NAME or not (Path(name).expanduser().is_dir() or _is_hub_name(name)):
        return dict(_PUBLISHED)
    return _PUBLISHED | ast_settings(find_weights(name, how=how))


def new_ast(shape: dict[str, Any]) -> ASTModel:
    """Return the encoder of this configuration with random weights, drawn by transformers from torch's generator.

    Raises AkitError if the configuration is invalid.
    """
    from transformers import ASTConfig, ASTModel

    try:
        with _quiet():
            return ASTModel(ASTConfig(**shape, attn_implementation="sdpa"))
    except Exception as error:
        # Invalid settings raise many kinds of errors.
        raise AkitError(f"These settings describe no AST: {_first_line(error)}") from error


_PUBLISHED: dict[str, Any] = {  # of AST_NAME, and transformers' defaults
    **{"hidden_size": 768, "num_hidden_layers": 12, "num_attention_heads": 12, "intermediate_size": 3072},
    **{"patch_size": 16, "frequency_stride": 10, "time_stride": 10, "max_length": 1024, "num_mel_bins": 128},
}
_AST_SETTINGS = (
    *("hidden_size", "num_hidden_layers", "num_attention_heads", "intermediate_size", "hidden_act"),
    *("hidden_dropout_prob", "attention_probs_dropout_prob", "initializer_range", "layer_norm_eps"),
    *("patch_size", "qkv_bias", "frequency_stride", "time_stride", "max_length", "num_mel_bins"),
)


def _check_report(path: Path, report: dict[str, Any]) -> None:
    """Raise AkitError unless all weights of the model were in the file, and no others but a classifier's."""
    wrong_shape = sorted(report["mismatched_keys"])
    if wrong_shape:
        key, found, wanted = wrong_shape[0]
        more = f" and {len(wrong_shape) - 1} more" if len(wrong_shape) > 1 else ""
        raise AkitError(f"{path} does not fit its {CONFIG}: {key} is {tuple(found)}, not {tuple(wanted)}{more}.")
    missing = sorted(report["missing_keys"])
    if missing:
        raise AkitError(f"{path} lacks {len(missing)} of the model's tensors, among them {missing[0]}.")
    foreign = sorted(key for key in report["unexpected_keys"] if not key.startswith(_CLASSIFIER))
    if foreign:
        raise AkitError(
            f"{path} holds {len(foreign)} tensors that its {CONFIG} has no place for, such as {foreign[0]}."
        )


@contextmanager
def _quiet() -> Iterator[None]:
    """Silence the notes and progress bars of transformers."""
    from transformers.utils import logging

    verbosity, bars = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        logging.set_verbosity(verbosity)
        if bars:
            logging.enable_progress_bar()


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0]
