"""`WRITE_UP` in akit's own recipes: it keeps to the specifications, and every difference has a reason."""

import re
from operator import attrgetter
from pathlib import Path

import pytest
import torch

from acoustic_kit.cli.assignments import parse_assignments
from acoustic_kit.recipe.recipe import find_recipes, load_recipe, recipe_folders
from acoustic_kit.recipe.write_up import differences, has_write_up

# These reproduce no single write-up.
BASELINES = {
    "stats_pca_linear",
    "stats_modulation_linear",
    "covariance_modulation_linear",
    "logmel_cnn",
    "embedding_linear",
    "embedding_mlp",
    "sed_cnn",
}
PUBLISHED = sorted(set(find_recipes(recipe_folders())) - BASELINES)
COMMANDS = (Path(__file__).parents[2] / "docs" / "commands.md").read_text("utf-8")
PAGE = (Path(__file__).parents[2] / "docs" / "recipes.md").read_text("utf-8")
CLASSES = {"logmel_cnn": 50, "tiny_resnet_transformer": 30, "itmo_ast_inception": 41, "freesound_mobilenet_pca": 41}
CLASSES |= {f"eat_{size}_{data}": n for size in "sm" for data, n in (("esc50", 50), ("speechcommands", 35))}
CLASSES |= {f"eat_{size}_audioset": 527 for size in "sm"}  # all others: 10
DIFFERENT = {
    "tiny_resnet_transformer": {"schedule"},
    "resnet34_attention": {"warm_up_epochs"},
    "resnet34_pcen_salience_fusion_attention": {"salience_width"},
    "resnet34_salience_fusion_film_attention": {"schedule", "train_salience"},
    "freesound_mobilenet_pca": {"erasing", "balanced"},
    "itmo_ast_inception": {"head_outputs"},
    **{name: {"ema", "checkpoint", "encoding"} for name in PUBLISHED if name.startswith("eat_")},
}


@pytest.mark.parametrize("name", PUBLISHED)
def test_what_differs_is_known_and_has_its_reason(name: str) -> None:
    recipe = load_recipe(name)
    found = differences(recipe)
    assert has_write_up(recipe)
    assert set(found) == DIFFERENT.get(name, set())
    assert all(one.published != one.default and one.reason for one in found.values())


@pytest.mark.parametrize("name", PUBLISHED)
def test_options_that_the_reasons_name_are_there(name: str) -> None:
    recipe = load_recipe(name)
    texts = [recipe.doc, *(one.reason for one in differences(recipe).values())]
    options = [f"{key}={value}" for key, value in re.findall(r"--set (\w+)=(\w[\w.]*)", " ".join(texts))]
    assert recipe.settings(parse_assignments(recipe, options))


@pytest.mark.parametrize("name", PUBLISHED)
def test_the_commands_of_the_write_up_are_there(name: str) -> None:
    said = load_recipe(name).note("Reproduce")
    commands = [
        command for command in re.findall(r"`(akit [^`]+)`", said) if "recipe run" in command or "blend" in command
    ]
    smaller = name.replace("eat_m_", "eat_s_")  # its two sizes share their commands
    assert any(f"recipe run {smaller}" in command for command in commands)
    sections = dict(re.findall(r"^## akit (recipe run|blend)$(.*?)(?=^## )", COMMANDS, flags=re.M | re.S))
    for command in commands:
        section = sections["blend" if " blend " in command else "recipe run"]
        assert [option for option in re.findall(r" (--\w+)", command) if f"  {option} " not in section] == []


@pytest.mark.parametrize("name", sorted(BASELINES))
def test_the_baselines_have_no_write_up(name: str) -> None:
    assert not has_write_up(load_recipe(name))


@pytest.mark.parametrize(
    ("name", "facts"),
    [
        ("tiny_resnet_transformer", {"lr": 1e-3, "epochs": 50, "d_model": 64, "n_mels": 80, "max_mask_frames": 100}),
        ("resnet34_pcen_sam_8fold", {"epochs": 100, "n_mels": 64, "n_fft": 1024, "rho": 0.05, "weight_decay": 1e-2}),
        ("resnet34_pcen_sam_8f_200e", {"epochs": 200, "batch_size": 256, "warm_up_epochs": 2, "max_mask_frames": 84}),
        ("resnet34_attention", {"epochs": 150, "first_restart": 10, "max_mask_bands": 19, "weight_decay": 1e-4}),
        ("resnet34_pcen_salience_fusion_attention", {"epochs": 120, "weight_decay": 1e-3, "dropout": 0.3}),
        ("resnet34_salience_fusion_film_attention", {"mixup": 2.0, "batch_size": 256, "noise_and_gain": 0.6}),
        ("resnet34_mr_salience_fusion_film_attention", {"n_fft": (2048, 1024), "mixup_share": 0.9, "epochs": 160}),
        ("wideresnet", {"epochs": 120, "bottleneck": 128, "weight_decay": 1e-3, "salience_width": 64}),
        ("res2net50", {"epochs": 120, "base_width": 26, "weight_decay": 1e-3, "dropout": 0.3}),
        ("itmo_ast_inception", {"lr": 1e-5, "epochs": 15, "batch_size": 10, "dropout": 0.4, "lr_epochs": 5}),
        ("freesound_mobilenet_pca", {"n_pca": 350, "tries": 5, "lr_high": 1e-3, "mixup_pca": 0.5, "patience": 10}),
        ("eat_s_esc50", {"epochs": 3500, "max_lr": 3e-4, "seq_len": 114688, "emb_dim": 128, "epoch_mix": 12}),
        ("eat_m_us8k", {"epochs": 3500, "seq_len": 90112, "emb_dim": 256, "n_head": 16, "n_layers": 6, "nf": 32}),
        ("eat_s_speechcommands", {"epochs": 1500, "sample_rate": 16000, "seq_len": 16384, "ds_factors": (4, 4, 4)}),
        ("eat_m_audioset", {"epochs": 250, "batch_size": 208, "epoch_mix": 2, "loss": "bce", "augment.noise": 0.0}),
    ],
)
def test_what_stood_there_is_what_the_specification_says(name: str, facts: dict[str, object]) -> None:
    recipe = load_recipe(name)
    assert {key: attrgetter(key)(recipe.settings()) for key in facts} == facts
    assert not facts.keys() & differences(recipe).keys()


@pytest.mark.parametrize("name", sorted(set(PUBLISHED) | {"logmel_cnn"}))
def test_the_documentation_tells_its_number_of_parameters(name: str) -> None:
    with torch.device("meta"):
        net = load_recipe(name).build_model(CLASSES.get(name, 10))
    row = [line for line in PAGE.splitlines() if line.startswith(f"| `{name}` |")][-1]
    assert row.split("|")[3].split()[0] == f"{sum(p.numel() for p in net.parameters()):,}"


def test_the_documentation_has_every_recipe_in_both_tables() -> None:
    rows = [re.findall(r"`(\w+)`", line.split("|")[1]) for line in PAGE.splitlines() if line.startswith("| `")]
    named = [name for row in rows for name in row]
    assert {name: named.count(name) for name in [*PUBLISHED, *BASELINES]} == dict.fromkeys([*PUBLISHED, *BASELINES], 2)
