"""`akit features`: naming, pictures, pruning, silence."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import soundfile
from click.testing import Result
from matplotlib.image import imread
from typer.testing import CliRunner

from acoustic_kit.cli.app import app
from acoustic_kit.cli.console import inline_picture
from acoustic_kit.device import Compute
from acoustic_kit.features import LogMel, Pca, Stats, Wave
from acoustic_kit.workspace.init import init_workspace
from acoustic_kit.workspace.workspace import Workspace


def akit(workspace: Workspace, *arguments: object, code: int = 0) -> Result:
    result = CliRunner().invoke(app, ["-C", str(workspace.root), *map(str, arguments)])
    assert result.exit_code == code, result.output
    return result


def test_a_feature_is_built_with_the_parameters_in_its_name(workspace: Workspace) -> None:
    akit(workspace, "features", "build", "logmel:n_mels=16,wave.sample_rate=8000", "--workers", 0)
    assert LogMel(Wave(8000), n_mels=16).key in workspace.store()
    again = Workspace.find(workspace.root)
    assert "logmel:n_mels=16,wave.sample_rate=8000" in again.config.features
    assert "Nothing to do" in akit(again, "features", "build", "--workers", 0).stderr


def test_names_with_brackets_are_stored_in_the_configuration(workspace: Workspace) -> None:
    names = ("pcen:n_fft=[512,256]", "logmel:n_mels=8")
    for name in names:
        akit(workspace, "features", "build", name, "--workers", 0)
    assert Workspace.find(workspace.root).config.features == ("stats", *names)


def test_a_pca_is_built_per_fold_and_info_prints_its_variance(workspace: Workspace) -> None:
    akit(workspace, "features", "build", "pca:n_components=5", "--workers", 0)
    built = json.loads(akit(workspace, "features", "list", "--json").stdout)["built"]
    folds = [stored["parameters"]["training"]["fold"] for stored in built if stored["parameters"]["name"] == "pca"]
    assert sorted(folds) == ["1", "2", "3", "4"]
    assert "% by 5 components" in akit(workspace, "features", "info", "pca").stdout
    assert "fold=3" in akit(workspace, "features", "list").stdout


def test_the_table_of_a_build_shows_the_stages(workspace: Workspace) -> None:
    result = akit(workspace, "features", "build", "logmel", "--workers", 0)
    header = result.stdout.splitlines()[0].split()
    assert header == ["feature", "built", "held", "failed", "size", "time", "clips/s", "read", "compute", "write"]


def test_a_damaged_pca_is_fitted_and_built_again(workspace: Workspace) -> None:
    akit(workspace, "features", "build", "pca:n_components=5", "--workers", 0)
    for chunk in [*workspace.store().path.glob("pca-*/*/c.0"), *workspace.store().path.glob("pca_fit-*/*/c.0")]:
        content = bytearray(chunk.read_bytes())
        content[8] ^= 255
        chunk.write_bytes(content)
    akit(workspace, "features", "verify", code=1)
    akit(workspace, "features", "verify", "--rebuild")
    akit(workspace, "features", "verify")


@pytest.mark.parametrize("name", ["wave", "logmel", "stats", "pca:n_components=5"])
def test_a_clips_feature_becomes_a_picture(
    workspace: Workspace, name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    akit(workspace, "features", "build", name, "--workers", 0)
    id = workspace.manifest["id"][0]
    key = next(key for key in workspace.store().keys() if key.startswith(name.partition(":")[0] + "-"))  # noqa: SIM118
    path = Path(akit(workspace, "features", "show", key, id).stdout.strip())
    picture = imread(path)
    assert path.parent == Path()
    assert picture.shape[1] == 1000
    assert picture[..., :3].std() > 0.02  # not a blank page
    shown = json.loads(akit(workspace, "features", "show", key, id, "--json", "--out", "x.png").stdout)
    assert (shown["id"], shown["picture"]) == (id, "x.png")
    assert Path("x.png").read_bytes() == path.read_bytes()


def test_show_says_what_there_is_no_picture_of(workspace: Workspace) -> None:
    akit(workspace, "features", "show", "logmel", "x", code=2)
    assert "'x' is missing" in akit(workspace, "features", "show", "stats", "x", code=2).stderr
    akit(workspace, "features", "build", "stats:hop_length=256", "--workers", 0)
    id = workspace.manifest["id"][0]
    assert akit(workspace, "features", "show", "stats", id, code=2).stderr.count("stats-") == 2


def test_names_of_maximum_length_and_equal_files(
    synthetic: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clip, name = next((synthetic / "audio").iterdir()), "é" * 122 + "{}.wav"  # 249 bytes
    for kind in "ab":
        (tmp_path / "data" / kind).mkdir(parents=True)
        for i in range(4):
            shutil.copy(clip, tmp_path / "data" / kind / name.format(i))
    mine = init_workspace(tmp_path / "work", tmp_path / "data", n_folds=2)
    assert mine.manifest["fold"].n_unique() == 2
    akit(mine, "features", "build", "stats", "--workers", 0)
    monkeypatch.chdir(tmp_path)
    path = Path(akit(mine, "features", "show", "stats", mine.manifest["id"][0]).stdout.strip())
    assert path.is_file()


@pytest.mark.parametrize(
    ("variables", "begins"),
    [({"TERM": "xterm-kitty"}, "\x1b_Ga=T,f=100,m="), ({"TERM_PROGRAM": "iTerm.app"}, "\x1b]1337;File=inline=1;")],
)
def test_terminals_that_can_show_the_picture_inline(
    variables: dict[str, str], begins: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("KITTY_WINDOW_ID", "TERM", "TERM_PROGRAM"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr("sys.stdout.isatty", lambda: True)
    assert not inline_picture(b"png")
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    assert inline_picture(bytes(10_000))
    assert capsys.readouterr().out.startswith(begins)


def test_prune_keeps_used_features_and_asks_before_deleting(workspace: Workspace) -> None:
    akit(workspace, "features", "build", "logmel", "pca:n_components=5", "--workers", 0)
    akit(workspace, "recipe", "run", "stats_pca_linear", "--set", "sample_rate=8000", "--folds", "1")
    held = set(workspace.store().keys())
    assert "Nothing to delete" in akit(workspace, "features", "prune").stderr
    config = workspace.root / "akit.toml"
    config.write_text(config.read_text().replace('"logmel", ', "").replace('"pca:n_components=5", ', ""))
    akit(workspace, "features", "prune", code=1)  # nobody answers: nothing is deleted
    assert set(workspace.store().keys()) == held
    result = akit(workspace, "features", "prune", "--yes")
    assert "freed" in result.stderr
    left = set(workspace.store().keys())
    assert left == {Wave().key, Stats().key, Wave(8000).key, Stats(Wave(8000)).key}


def test_prune_deletes_outdated_fits_and_replaced_rows(workspace: Workspace, synthetic: Path, tmp_path: Path) -> None:
    data = shutil.copytree(synthetic, tmp_path / "data")
    mine = init_workspace(tmp_path / "mine", data)
    akit(mine, "features", "build", "stats", "pca:n_components=5", "--workers", 0)
    before = {key for key in mine.store().keys() if key.startswith("pca")}  # noqa: SIM118
    wave = data / mine.manifest["path"][0]
    samples, rate = soundfile.read(wave)
    soundfile.write(wave, samples[::-1], rate)
    akit(mine, "features", "build", "--workers", 0)
    akit(mine, "features", "prune", "--yes")
    store = mine.store()
    after = {key for key in store.keys() if key.startswith("pca")}  # noqa: SIM118
    assert len(after & before) == 2  # of the fold whose validation clip it is: a pca, and its fit
    assert len(after) == len(before)
    assert store[Stats().key].verify() == []
    assert len(store[Wave().key]) == len(mine.manifest)
    np.testing.assert_allclose(store[Wave().key].read(mine.manifest["id"][0]).max(), -samples.min(), rtol=1)


def test_prune_keeps_features_of_other_workspaces(workspace: Workspace, tmp_path: Path) -> None:
    other = Workspace.at(shutil.copytree(workspace.root, tmp_path / "other"))
    link = other.root / "features.zarr"  # a link counts as a path in akit.toml does
    shutil.rmtree(link)
    link.symlink_to(workspace.root / "features.zarr")
    akit(other, "features", "build", "logmel", "--workers", 0)
    held = workspace.store().keys()
    assert "Nothing to delete" in akit(workspace, "features", "prune", "--yes").stderr
    assert workspace.store().keys() == held
    akit(other, "features", "build", "pcen", "--workers", 0)
    config = other.root / "akit.toml"
    config.write_text(config.read_text().replace(', "pcen"', ""))
    refused = akit(other, "features", "prune", "--yes", code=1).stderr
    assert str(workspace.root / "features.zarr") in refused
    assert "--outside" in refused
    akit(other, "features", "prune", "--yes", "--outside")
    assert workspace.store().keys() == held
    shutil.rmtree(other.root)
    assert str(other.root) in akit(workspace, "features", "prune", "--yes", code=1).stderr
    shutil.rmtree(workspace.root / "features.zarr" / ".users")
    akit(workspace, "features", "prune", "--yes")
    assert len(workspace.store().keys()) < len(held)


def test_a_recipe_that_was_deleted_is_passed_over(workspace: Workspace) -> None:
    config = workspace.root / "akit.toml"
    config.write_text(config.read_text().replace("features = [", 'features = ["gone", "gone/too.py", '))
    for command in (["build", "--workers", 0], ["prune", "--yes"], ["verify", "--rebuild"]):
        said = akit(workspace, "features", *command).stderr
        assert command[0] == "verify" or ("recipe gone " in said and "gone/too.py" in said)
    assert Stats().key in workspace.store()
    akit(workspace, "features", "build", "gone", code=2)


def test_reading_commands_make_no_store(workspace: Workspace) -> None:
    config = workspace.root / "akit.toml"
    elsewhere = workspace.root / "elsewhere"
    config.write_text(f'store = "{elsewhere}"\n' + config.read_text())
    assert "not built" in akit(workspace, "features", "list").stdout
    for command in (["verify"], ["prune", "--yes"]):
        akit(workspace, "features", *command)
    akit(workspace, "features", "info", "stats", code=2)
    assert not elsewhere.exists()
    elsewhere.mkdir()
    (elsewhere / "zarr.json").write_text("{broken")
    akit(workspace, "features", "list", code=1)
    assert (elsewhere / "zarr.json").read_text() == "{broken"


def test_silence_stands_in_for_a_file_that_cannot_be_decoded(synthetic: Path, tmp_path: Path) -> None:
    data = shutil.copytree(synthetic, tmp_path / "data")
    mine = init_workspace(tmp_path / "mine", data)
    (data / mine.manifest["path"][3]).write_text("no sound")
    id = mine.manifest["id"][3]
    result = akit(mine, "features", "build", "--on-error", "silence", "--workers", 0)
    assert f"1 clips could not be decoded and count as one second of silence: {id}" in result.stderr
    assert "without" not in akit(mine, "recipe", "run", "stats_pca_linear", "--folds", "1").stderr
    assert id in mine.store()[Pca().table.key]


def test_a_gpu_that_is_not_there_is_said_in_one_line(workspace: Workspace) -> None:
    import torch

    if torch.cuda.is_available():
        pytest.skip("there is a GPU")
    result = akit(workspace, "features", "build", "logmel", "--workers", 0, "--device", "cuda", code=1)
    assert "no CUDA device" in result.stderr
    assert "--device cpu" in result.stderr
    akit(workspace, "features", "build", "logmel", "--workers", 0, "--device", "gpu", code=2)


def test_the_build_says_which_features_have_no_form_for_a_gpu(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Compute, "gpu", lambda asked: "cpu")  # torch's, in place of a GPU
    said = akit(workspace, "features", "build", "logmel", "stats:hop_length=256", "--workers", 0).stderr
    assert "Computed on cpu: logmel." in said
    assert "Computed on the CPU" in said
    assert ": stats." in said
