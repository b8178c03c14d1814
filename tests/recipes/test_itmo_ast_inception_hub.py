"""The ITMO winner's weights from a hub: fetched once, told in the record, and found again without the network."""

import hashlib
import json
import os
import re
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
import torch
from transformers import ASTConfig, ASTModel

from acoustic_kit.workspace.workspace import Workspace


class Hub(BaseHTTPRequestHandler):
    """The part of the hub's protocol that a download uses, for the repository owner/tiny."""

    folder: Path
    commit = "1" * 40

    def do_HEAD(self) -> None:
        found = re.fullmatch(f"/owner/tiny/resolve/(main|{self.commit})/([a-z.]+)", self.path)
        body = (self.folder / found[2]).read_bytes() if found else b""
        self.send_response(200 if found else 404)
        self.send_header("X-Repo-Commit", self.commit)
        self.send_header("ETag", f'"{hashlib.sha256(body).hexdigest()}"')
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(body)

    do_GET = do_HEAD  # noqa: N815 - so the server calls it

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def hub(tmp_path: Path) -> Iterator[str]:
    """The address of a hub that has a network for 64 frames of 32 bands, 32 wide, two layers."""
    shape = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 64}
    torch.manual_seed(0)
    ASTModel(ASTConfig(**shape, max_length=64, num_mel_bins=32)).save_pretrained(tmp_path / "on the hub")
    handler = type("TinyHub", (Hub,), {"folder": tmp_path / "on the hub"})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


def akit(workspace: Workspace, home: Path, *assignments: str, **environment: str) -> subprocess.CompletedProcess:
    """Run the recipe's fold 1 in a process with a new cache of the hub."""
    command = [sys.executable, "-c", "from acoustic_kit.cli import main; main()", "-C", str(workspace.root)]
    command += ["recipe", "run", "itmo_ast_inception", "--folds", "1", "--workers", "0"]
    command += [part for assignment in assignments for part in ("--set", assignment)]
    variables = {"HF_HOME": str(home / "hf"), "NO_PROXY": "127.0.0.1", "HF_HUB_OFFLINE": "0", **environment}
    return subprocess.run(command, env=os.environ | variables, capture_output=True, text=True, check=False)


@pytest.mark.slow
def test_weights_from_a_hub_are_fetched_once(workspace: Workspace, hub: str, tmp_path: Path) -> None:
    settings = ["weights=owner/tiny", "epochs=1", "head_input=tokens"]
    done = akit(workspace, tmp_path, *settings, HF_ENDPOINT=hub)
    assert done.returncode == 0, done.stderr
    (record,) = workspace.runs_path.glob("itmo_ast_inception-*/folds/1/*.json")
    assert json.loads(record.read_text())["notes"] == [f"the AST started from owner/tiny at commit {'1' * 40}"]
    again = akit(workspace, tmp_path, *settings, "ast=frozen", HF_HUB_OFFLINE="1")
    assert again.returncode == 0, again.stderr
