import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import ASTConfig, ASTModel

from acoustic_kit.errors import AkitError, UsageError
from acoustic_kit.features.weights import AST_NAME, Weights, ast_shape, find_weights, load_ast, new_ast

HOW = "weights=FOLDER"
ENCODER = "audio_spectrogram_transformer."


@pytest.fixture
def checkpoint(tiny_ast: Path, tmp_path: Path) -> Path:
    """A copy of `tiny_ast`, to do with as one likes."""
    return shutil.copytree(tiny_ast, tmp_path / "checkpoint")


def configure(folder: Path, **changes: object) -> None:
    path = folder / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def rewrite(folder: Path, change: Callable[[dict[str, torch.Tensor]], object]) -> None:
    tensors = load_file(folder / "model.safetensors")
    change(tensors)
    save_file(tensors, folder / "model.safetensors")


# Loading


def equal(ours: ASTModel, theirs: ASTModel) -> bool:
    ours_state, their_state = ours.state_dict(), theirs.state_dict()
    return list(ours_state) == list(their_state) and all(torch.equal(ours_state[k], their_state[k]) for k in ours_state)


def test_classifiers_and_encoders_load_as_in_transformers(tiny_ast: Path, tmp_path: Path) -> None:
    theirs = ASTModel.from_pretrained(tiny_ast)
    theirs.save_pretrained(tmp_path)
    for folder in (tiny_ast, tmp_path):
        model = load_ast(find_weights(str(folder), how=HOW))
        assert equal(model, theirs)
        assert not model.training
        assert model.config._attn_implementation == "sdpa"


def test_loading_is_silent_and_leaves_transformers_unchanged(tiny_ast: Path, capfd: pytest.CaptureFixture[str]) -> None:
    from transformers.utils import logging

    before = logging.get_verbosity(), logging.is_progress_bar_enabled()
    load_ast(Weights(tiny_ast))
    assert capfd.readouterr() == ("", "")
    assert (logging.get_verbosity(), logging.is_progress_bar_enabled()) == before


def test_half_precision_files_are_computed_in_float32(checkpoint: Path) -> None:
    configure(checkpoint, dtype="float16")
    rewrite(checkpoint, lambda tensors: tensors.update({name: x.half() for name, x in tensors.items()}))
    assert {parameter.dtype for parameter in load_ast(Weights(checkpoint)).parameters()} == {torch.float32}


def test_settings_that_would_fetch_or_run_code_are_left_aside(checkpoint: Path, tiny_ast: Path) -> None:
    configure(
        checkpoint,
        auto_map={"AutoModel": "evil--evil.Model"},
        attn_implementation="evil/kernel",
        _attn_implementation="evil/kernel",
        quantization_config={"quant_method": "bitsandbytes", "load_in_8bit": True},
    )
    assert equal(load_ast(Weights(checkpoint)), ASTModel.from_pretrained(tiny_ast))


def test_the_default_has_the_published_number_of_parameters() -> None:
    with torch.device("meta"):
        model = ASTModel(ASTConfig())
    assert sum(parameter.numel() for parameter in model.parameters()) == 86_187_264
    assert model.embeddings.position_embeddings.shape == (1, 1214, 768)


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (
            lambda f: configure(f, model_type="vit"),
            "is of a model of type vit; audio-spectrogram-transformer is needed",
        ),
        (lambda f: (f / "config.json").write_text("{"), "config.json cannot be read"),
        (lambda f: (f / "config.json").write_bytes(b"\xff\xfe\x00"), "config.json cannot be read"),
        (lambda f: (f / "config.json").write_text("[" * 100_000), "config.json cannot be read"),
        (lambda f: (f / "config.json").write_text("[]"), "config.json is damaged"),
        (lambda f: configure(f, hidden_size="wide"), "config.json describes no model: .*hidden_size"),
        (lambda f: configure(f, hidden_act="none such"), "config.json describes no model"),
        (lambda f: configure(f, time_stride=0), "config.json describes no model"),
        (
            lambda f: configure(f, hidden_size=48),
            r"does not fit its config.json: .* \(1, 1, 32\), not \(1, 1, 48\) and",
        ),
        (lambda f: configure(f, max_length=128), r"does not fit its config.json: embeddings.position_embeddings"),
        (lambda f: configure(f, num_hidden_layers=3), "lacks 16 of the model's tensors, among them layers.2"),
        (lambda f: configure(f, num_hidden_layers=1), "holds 16 tensors that its config.json has no place for"),
        (
            lambda f: rewrite(f, lambda t: t.pop(ENCODER + "layernorm.bias")),
            "lacks 1 of the model's tensors, .* layernorm.bias",
        ),
        (lambda f: rewrite(f, lambda t: t.clear()), "lacks 39 of the model's tensors"),
        (lambda f: os.truncate(f / "model.safetensors", 5000), "model.safetensors is damaged"),
        (lambda f: (f / "model.safetensors").write_bytes(b""), "model.safetensors is damaged"),
        (lambda f: (f / "model.safetensors").write_bytes(b"\x80\x04" * 500), "model.safetensors is damaged"),
    ],
)
def test_damaged_or_foreign_folders_are_refused(
    checkpoint: Path, damage: Callable[[Path], object], message: str, capfd: pytest.CaptureFixture[str]
) -> None:
    damage(checkpoint)
    with pytest.raises(AkitError, match=message) as raised:
        load_ast(find_weights(str(checkpoint), how=HOW))
    assert len(str(raised.value).splitlines()) <= 2
    assert capfd.readouterr() == ("", "")


# Shapes


@pytest.mark.parametrize("name", [AST_NAME, "/no/such/folder"])
def test_the_published_shape_is_known_without_files(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("acoustic_kit.features.weights.find_weights", None)
    shape = ast_shape(name)
    assert len(shape) == 9
    assert {key: getattr(ASTConfig(), key) for key in shape} == shape


def test_the_shape_of_a_folder_is_its_configurations(tiny_ast: Path) -> None:
    shape = ast_shape(str(tiny_ast))
    new, loaded = new_ast(shape), load_ast(Weights(tiny_ast))
    new.load_state_dict(loaded.state_dict())
    assert equal(new, loaded)
    assert new.config._attn_implementation == "sdpa"


def test_a_new_encoder_is_drawn_from_torchs_generator(tiny_ast: Path) -> None:
    def drawn(seed: int) -> ASTModel:
        torch.manual_seed(seed)
        return new_ast(ast_shape(str(tiny_ast)))

    assert equal(drawn(0), drawn(0))
    assert not equal(drawn(0), drawn(1))


def test_a_shape_that_makes_no_model_is_refused(checkpoint: Path) -> None:
    configure(checkpoint, time_stride=0)
    with pytest.raises(AkitError, match="These settings describe no AST"):
        new_ast(ast_shape(str(checkpoint)))


def test_a_folder_is_described_by_its_digest_and_no_path(tiny_ast: Path) -> None:
    found = Weights(tiny_ast)
    assert found.describe() == f"weights in a folder, SHA-256 {found.digests()['model.safetensors']}"
    assert Weights(tiny_ast, "owner/tiny", "1" * 40).describe() == f"owner/tiny at commit {'1' * 40}"


# Folders


def test_digests_are_the_files_sha256(tiny_ast: Path) -> None:
    digests = find_weights(str(tiny_ast), how=HOW).digests()
    assert digests == {
        name: hashlib.sha256((tiny_ast / name).read_bytes()).hexdigest()
        for name in ("config.json", "model.safetensors")
    }


@pytest.mark.parametrize(
    ("keep", "message"),
    [
        (["config.json"], "lacks model.safetensors"),
        (["model.safetensors"], "lacks config.json"),
        ([], "lacks config.json and model.safetensors"),
    ],
)
def test_incomplete_folders_say_what_they_lack(checkpoint: Path, keep: list[str], message: str) -> None:
    for path in checkpoint.iterdir():
        if path.name not in keep:
            path.unlink()
    with pytest.raises(AkitError, match=message):
        find_weights(str(checkpoint), how=HOW)


def test_a_pickle_is_refused_with_a_command_that_converts_it(
    checkpoint: Path, tiny_ast: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    torch.save(load_file(checkpoint / "model.safetensors"), checkpoint / "pytorch_model.bin")
    (checkpoint / "model.safetensors").unlink()
    with pytest.raises(AkitError, match=r"pytorch_model.bin, which can run code") as raised:
        find_weights(str(checkpoint), how=HOW)
    command = re.fullmatch('python -c "(.*)"', str(raised.value).splitlines()[1])
    assert command
    exec(command[1], {})
    assert equal(load_ast(find_weights(str(checkpoint), how=HOW)), ASTModel.from_pretrained(tiny_ast))


def test_a_folder_has_no_revision(tiny_ast: Path) -> None:
    with pytest.raises(UsageError, match="is a folder, which has no revisions"):
        find_weights(str(tiny_ast), "main", how=HOW)


@pytest.mark.parametrize(
    "name", ["no-such-folder", "./no/such", "/no/such/folder", "~/no-such", "./a", "../a", "a/b/c", "a/b--c"]
)
def test_paths_that_do_not_exist_never_reach_the_network(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(AkitError, match="There is no folder"):
        find_weights(name, how=HOW)


# The hub


class Hub(ThreadingHTTPServer):
    """The part of the hub's protocol that downloads use, for the repository owner/tiny."""

    commits: dict[str, Path]  # commit → the folder of its files
    asked: list[str]

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"


class Handler(BaseHTTPRequestHandler):
    server: Hub

    def do_HEAD(self) -> None:
        self.answer(send_body=False)

    def do_GET(self) -> None:
        self.answer(send_body=True)

    def answer(self, send_body: bool) -> None:
        self.server.asked.append(f"{self.command} {self.path}")
        found = re.fullmatch("(/api/models)?/owner/tiny/(resolve|revision|tree)/([^/?]+)/?([^/?]*).*", self.path)
        if not found:
            return self.refuse("RepoNotFound")
        _, kind, revision, name = found.groups()
        commit = revision if revision in self.server.commits else next(iter(self.server.commits))
        if revision not in {commit, "main"}:
            return self.refuse("RevisionNotFound")
        folder = self.server.commits[commit]
        if kind == "resolve" and not (folder / name).is_file():
            return self.refuse("EntryNotFound", commit)
        body = (
            (folder / name).read_bytes() if kind == "resolve" else json.dumps(described(folder, commit, kind)).encode()
        )
        self.send_response(200)
        self.send_header("X-Repo-Commit", commit)
        self.send_header("ETag", f'"{hashlib.sha256(body).hexdigest()}"')
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if send_body:
            self.wfile.write(body)
        return None

    def refuse(self, code: str, commit: str = "") -> None:
        self.send_response(404)
        self.send_header("X-Error-Code", code)
        self.send_header("X-Repo-Commit", commit)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *_: object) -> None:
        pass


def described(folder: Path, commit: str, kind: str) -> dict | list:
    """What the hub's interface says of a revision, or of the files in it."""
    files = [{"type": "file", "path": p.name, "size": p.stat().st_size, "oid": "0" * 40} for p in folder.iterdir()]
    return files if kind == "tree" else {"id": "owner/tiny", "sha": commit}


FIRST, SECOND = "1" * 40, "2" * 40


@pytest.fixture
def hub(checkpoint: Path, tmp_path: Path) -> Iterator[Hub]:
    server = Hub(("127.0.0.1", 0), Handler)
    older = shutil.copytree(checkpoint, tmp_path / "older")
    configure(older, comment="older")
    server.commits, server.asked = {SECOND: checkpoint, FIRST: older}, []
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield server
    server.shutdown()
    server.server_close()


ASK = """
import json, sys
from acoustic_kit.errors import AkitError
from acoustic_kit.features.ast import Ast
from acoustic_kit.features.ast_input import AstInput
try:
    feature = Ast(AstInput(n_mels=32, max_length=64), sys.argv[1], sys.argv[2] if len(sys.argv) > 2 else None)
    print(json.dumps(feature.parameters()))
except AkitError as error:
    print(error)
print([name for name in ("torch", "transformers", "numba") if name in sys.modules])
"""


@pytest.fixture
def ask(hub: Hub, tmp_path: Path) -> Callable[..., str]:
    """Ask for the parameters of `ast` in a process whose hub is ours and whose cache is new; its output but one line.

    The libraries read the environment when they are imported, hence the process.
    """

    def in_a_process(*arguments: str, **environment: str) -> str:
        home = {"HF_ENDPOINT": hub.url, "HF_HOME": str(tmp_path / "hf"), "NO_PROXY": "127.0.0.1", "HF_HUB_OFFLINE": "0"}
        done = subprocess.run(
            [sys.executable, "-c", ASK, *arguments],
            env=os.environ | home | environment,
            cwd=tmp_path,
            capture_output=True,
            text=True,
            check=True,
        )
        *said, imported = done.stdout.splitlines()
        assert imported == "[]"
        return "\n".join(said)

    return in_a_process


def test_weights_are_downloaded_once_and_the_key_has_the_commit(
    hub: Hub, ask: Callable[..., str], checkpoint: Path
) -> None:
    parameters = json.loads(ask("owner/tiny"))
    assert (parameters["weights"], parameters["revision"]) == ("owner/tiny", SECOND)
    assert parameters["weights_sha256"] == hashlib.sha256((checkpoint / "model.safetensors").read_bytes()).hexdigest()
    files = {request.rpartition("/")[2] for request in hub.asked if "/resolve/" in request}
    assert files == {"config.json", "model.safetensors"}
    hub.asked.clear()
    assert json.loads(ask("owner/tiny")) == parameters
    assert json.loads(ask("owner/tiny", HF_HUB_OFFLINE="1")) == parameters
    assert json.loads(ask("owner/tiny", SECOND)) == parameters
    assert hub.asked == []


def test_another_revision_has_another_key(ask: Callable[..., str]) -> None:
    older = json.loads(ask("owner/tiny", FIRST))
    assert older["revision"] == FIRST
    assert older != json.loads(ask("owner/tiny"))


def test_a_half_finished_download_is_completed(hub: Hub, ask: Callable[..., str], checkpoint: Path) -> None:
    hidden = (checkpoint / "model.safetensors").rename(checkpoint / "hidden")
    said = ask("owner/tiny")
    assert "owner/tiny on the hub (revision main) lacks config.json or model.safetensors" in said
    hidden.rename(checkpoint / "model.safetensors")
    assert json.loads(ask("owner/tiny"))["revision"] == SECOND


@pytest.mark.parametrize(
    ("arguments", "environment", "reason"),
    [
        (["owner/tiny"], {"HF_HUB_OFFLINE": "1"}, "the network is switched off (HF_HUB_OFFLINE)"),
        (["owner/tiny"], {"HF_ENDPOINT": "http://127.0.0.1:9"}, "the download failed ("),
        (["owner/none"], {}, "no such model"),
        (["owner/tiny", "none"], {}, "no revision none"),
    ],
)
def test_missing_weights_name_the_cache_and_two_remedies(
    ask: Callable[..., str], tmp_path: Path, arguments: list[str], environment: dict[str, str], reason: str
) -> None:
    name, revision = (*arguments, "main")[:2]
    cache = tmp_path / "hf" / "hub"
    files = f"config.json model.safetensors --revision {revision}"
    first, command, folder = ask(*arguments, **environment).splitlines()
    assert all(value in first for value in (name, str(cache), reason))
    assert command.endswith(f": hf download {name} {files} --local-dir FOLDER")
    assert all(way in folder for way in ("ast:weights=FOLDER", "--weights FOLDER", 'Ast(weights="FOLDER")'))


@pytest.mark.slow
def test_the_command_of_the_message_fetches_them(hub: Hub, ask: Callable[..., str], tmp_path: Path) -> None:
    line = ask("owner/tiny", HF_HUB_OFFLINE="1").splitlines()[1]
    command = line.partition(": ")[2].replace("FOLDER", str(tmp_path / "fetched")).split()
    tool = Path(sys.executable).with_name(command[0])
    home = {"HF_ENDPOINT": hub.url, "HF_HOME": str(tmp_path / "hf"), "NO_PROXY": "127.0.0.1", "HF_HUB_OFFLINE": "0"}
    subprocess.run([tool, *command[1:]], env=os.environ | home, check=True, capture_output=True)
    assert json.loads(ask(str(tmp_path / "fetched")))["weights"] == "local folder"
