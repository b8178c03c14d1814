"""Pretrained model weights: find or download them, identify them, and load the model.

Only ``config.json`` and ``model.safetensors`` are read. Pickles are not, as they can run code.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, fields
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from acoustic_kit.errors import AkitError, UsageError
from acoustic_kit.files import file_sha256

if TYPE_CHECKING:
    from torch import Tensor
    from transformers import ASTModel

AST_NAME = "MIT/ast-finetuned-audioset-10-10-0.4593"
AST_MODEL_TYPE = "audio-spectrogram-transformer"
CONFIG, TENSORS, PICKLE = "config.json", "model.safetensors", "pytorch_model.bin"
LOCAL = "local folder"  # stored instead of a path on one machine

# Commits of these names, so that they are the same for all users. Other names mean their newest commit.
_PINNED = {AST_NAME: "f826b80d28226b62986cc218e5cec390b1096902"}
_AST_PREFIX = "audio_spectrogram_transformer."  # of its tensors in files that also have a classifier


@dataclass(frozen=True)
class Weights:
    """A folder with ``config.json`` and ``model.safetensors``."""

    folder: Path
    name: str | None = None  # on the hub; None for a folder of the user's
    revision: str | None = None  # the commit on the hub

    def config(self) -> dict[str, Any]:
        """Return the content of ``config.json``. Raises AkitError if it is damaged."""
        return self.settings(CONFIG)

    def settings(self, name: str) -> dict[str, Any]:
        """Return the content of a JSON file in the folder. Raises AkitError if it is damaged."""
        try:
            found = json.loads((self.folder / name).read_bytes())
        except (OSError, ValueError, RecursionError) as error:
            raise AkitError(f"{self.folder / name} cannot be read: {error}") from error
        if not isinstance(found, dict):
            raise AkitError(f"{self.folder / name} is damaged: it is no JSON object of settings")
        return found

    def digests(self) -> dict[str, str]:
        """Return the SHA-256 of both files, by name, which does not depend on the folder."""
        return {name: self.digest(name) for name in (CONFIG, TENSORS)}

    def digest(self, name: str) -> str:
        """Return the SHA-256 of a file in the folder."""
        return file_digest(self.folder / name)

    def describe(self) -> str:
        """Return text that identifies them, for a record: name on the hub and commit, or the tensors' digest."""
        if self.name is not None:
            return f"{self.name} at commit {self.revision}"
        return f"weights in a folder, SHA-256 {self.digests()[TENSORS]}"


def find_weights(name: str, revision: str | None = None, *, how: str, one_of: Sequence[str] = ()) -> Weights:
    """Return the weights of a name on the hub or of a local folder; a folder of that name has precedence.

    From the hub they are downloaded once, into the cache that all Hugging Face libraries share, and not looked up
    again: for newer ones, pass their revision. With ``HF_HUB_OFFLINE=1`` the network is not accessed.

    Parameters
    ----------
    name : OWNER/NAME on the hub, or a folder
    revision : branch, tag or commit on the hub; None is the commit that akit has pinned, or the newest
    how : how the user passes a folder, for the error message
    one_of : further files, of which one is needed

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
        _check_folder(folder, one_of)
        return Weights(folder.resolve())
    if not _is_hub_name(name):
        raise AkitError(
            f"There is no folder {name} with weights, nor is that a name on the Hugging Face hub (OWNER/NAME)."
        )
    return _from_hub(name, revision or _PINNED.get(name, "main"), how, one_of)


def _check_folder(folder: Path, one_of: Sequence[str]) -> None:
    missing = [name for name in (CONFIG, TENSORS) if not (folder / name).is_file()]
    if one_of and not any((folder / name).is_file() for name in one_of):
        missing.append(one_of[0])
    if TENSORS in missing and (folder / PICKLE).is_file():
        load = f"AutoModel.from_pretrained({str(folder)!r}, use_safetensors=False)"
        raise AkitError(
            f"{folder} holds {PICKLE}, which can run code, instead of {TENSORS}. If you trust it, convert it:\n"
            f'python -c "from transformers import AutoModel; {load}.save_pretrained({str(folder)!r})"'
        )
    if missing:
        needed = " and ".join((CONFIG, TENSORS, *one_of[:1]))
        raise AkitError(f"The folder {folder} lacks {' and '.join(missing)}. Weights are {needed}.")


def _is_hub_name(name: str) -> bool:
    from huggingface_hub.utils import HFValidationError, validate_repo_id

    try:
        validate_repo_id(name)
    except HFValidationError:
        return False
    return name.count("/") == 1


def _from_hub(name: str, revision: str, how: str, one_of: Sequence[str]) -> Weights:
    """Return the weights from the cache, or from the hub. Raises AkitError if neither has them."""
    from huggingface_hub import constants, errors, is_offline_mode

    reason = "the network is switched off (HF_HUB_OFFLINE)"
    found = _in_cache(name, revision, one_of)
    if found is None and not is_offline_mode():
        try:
            found = _download(name, revision, one_of)
        except errors.RemoteEntryNotFoundError as error:
            needed = " or ".join((CONFIG, TENSORS, *one_of[:1]))
            raise AkitError(
                f"{name} on the hub (revision {revision}) lacks {needed}; akit reads nothing else."
            ) from error
        except errors.RepositoryNotFoundError:
            reason = "the hub has no such model"
        except errors.RevisionNotFoundError:
            reason = f"the hub has no revision {revision} of it"
        except Exception as error:
            # Errors of the network, a proxy or the disk have no common class in these libraries.
            reason = f"the download failed ({first_line(error)})"
    if found is not None:
        return found
    raise AkitError(
        f"Cannot load weights {name}: there is no such folder, the cache {constants.HF_HUB_CACHE} lacks them, and "
        f"{reason}.\n"
        f"Download them elsewhere: hf download {name} {' '.join((CONFIG, TENSORS, *one_of[:1]))} "
        f"--revision {revision} --local-dir FOLDER\n"
        f"Then pass that folder: {how}"
    )


def _in_cache(name: str, revision: str, one_of: Sequence[str]) -> Weights | None:
    from huggingface_hub import try_to_load_from_cache

    def path(file: str) -> str | None:
        found = try_to_load_from_cache(name, file, revision=revision)
        return found if isinstance(found, str) else None

    config = path(CONFIG)
    if config is None or path(TENSORS) is None or (one_of and not any(map(path, one_of))):
        return None
    return Weights(Path(config).parent, name, revision=Path(config).parent.name)


def _download(name: str, revision: str, one_of: Sequence[str]) -> Weights:
    from huggingface_hub import get_hf_file_metadata, hf_hub_download, hf_hub_url
    from huggingface_hub.errors import RemoteEntryNotFoundError

    # Without a network this fails at once, whereas downloads are retried for half a minute.
    get_hf_file_metadata(hf_hub_url(name, CONFIG, revision=revision))
    folder = Path(hf_hub_download(name, CONFIG, revision=revision)).parent
    for number, file in enumerate(one_of, 1):  # of the same commit
        try:
            hf_hub_download(name, file, revision=folder.name)
            break
        except RemoteEntryNotFoundError:
            if number == len(one_of):
                raise
    hf_hub_download(name, TENSORS, revision=folder.name)
    return Weights(folder, name, revision=folder.name)


def file_digest(path: Path) -> str:
    """Return the SHA-256 of a file, read once as long as it does not change. Raises AkitError if it is missing."""
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
    from transformers import ASTConfig, ASTModel

    model: ASTModel = load_model(weights, ASTModel, ASTConfig, ast_settings(weights), part_below(_AST_PREFIX))
    return model


Part = Callable[[str, Collection[str]], str | None]
"""Of the name of a tensor in a file, and of all names there: its name in the network, or None if it has no place."""


def part_below(prefix: str) -> Part:
    """Return the part of a file with this prefix: all tensors, if none has it."""

    def part(name: str, names: Collection[str]) -> str | None:
        if not name.startswith(prefix):
            return None if any(other.startswith(prefix) for other in names) else name
        return name.removeprefix(prefix)

    return part


def load_model(
    weights: Weights,
    model_class: Any,
    config_class: Any,
    settings: Mapping[str, Any],
    part: Part,
    untrained: Collection[str] = (),
) -> Any:
    """Return a network of transformers with these weights: on the CPU, float32, in evaluation mode.

    Parameters
    ----------
    model_class, config_class : of transformers
    settings : of the configuration; those that its class does not define itself are ignored, as they may make
        transformers download code
    part : chooses the tensors of the network, the only ones that are read
    untrained : tensors that files may lack, as only training uses them

    Raises
    ------
    AkitError
        The files are damaged, or do not fit each other. No weight stays random.

    """
    import torch
    from transformers import PreTrainedConfig

    known = {f.name for f in fields(config_class)} - {f.name for f in fields(PreTrainedConfig)}
    path = weights.folder / TENSORS
    tensors = _tensors(path, part)
    try:
        with _quiet():
            model, report = model_class.from_pretrained(
                None,
                config=config_class(**{name: value for name, value in settings.items() if name in known}),
                state_dict=tensors,
                dtype=torch.float32,
                ignore_mismatched_sizes=True,  # they are in the report
                output_loading_info=True,
            )
    except Exception as error:
        # Invalid settings raise many kinds of errors.
        raise AkitError(f"{weights.folder / CONFIG} describes no model: {first_line(error)}") from error
    _check_report(path, report, untrained)
    return model.eval()


def _tensors(path: Path, part: Part) -> dict[str, Tensor]:
    """Return the tensors of a network by their names there. Raises AkitError if the file is damaged."""
    import safetensors

    try:
        with safetensors.safe_open(path, "pt") as file:
            names = frozenset(file.keys())
            wanted = {name: part(name, names) for name in names}
            return {new: file.get_tensor(name) for name, new in wanted.items() if new is not None}
    except (OSError, safetensors.SafetensorError) as error:
        raise AkitError(f"{path} is damaged: {error}. Download it again.") from error


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
        raise AkitError(f"These settings describe no AST: {first_line(error)}") from error


_PUBLISHED: dict[str, Any] = {  # of AST_NAME, and transformers' defaults
    **{"hidden_size": 768, "num_hidden_layers": 12, "num_attention_heads": 12, "intermediate_size": 3072},
    **{"patch_size": 16, "frequency_stride": 10, "time_stride": 10, "max_length": 1024, "num_mel_bins": 128},
}
_AST_SETTINGS = (
    *("hidden_size", "num_hidden_layers", "num_attention_heads", "intermediate_size", "hidden_act"),
    *("hidden_dropout_prob", "attention_probs_dropout_prob", "initializer_range", "layer_norm_eps"),
    *("patch_size", "qkv_bias", "frequency_stride", "time_stride", "max_length", "num_mel_bins"),
)


def _check_report(path: Path, report: dict[str, Any], untrained: Collection[str]) -> None:
    """Raise AkitError unless all weights of the model, and no others, were among the tensors that were read."""
    wrong_shape = sorted(report["mismatched_keys"])
    if wrong_shape:
        key, found, wanted = wrong_shape[0]
        more = f" and {len(wrong_shape) - 1} more" if len(wrong_shape) > 1 else ""
        raise AkitError(f"{path} does not fit its {CONFIG}: {key} is {tuple(found)}, not {tuple(wanted)}{more}.")
    missing = sorted(set(report["missing_keys"]) - set(untrained))
    if missing:
        raise AkitError(f"{path} lacks {len(missing)} of the model's tensors, among them {missing[0]}.")
    foreign = sorted(report["unexpected_keys"])
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


def first_line(error: Exception) -> str:
    """Return the first line of an error's message, or its type."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0]
