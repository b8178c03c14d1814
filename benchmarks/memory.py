"""Peak memory of training, recipe by recipe: each in a process of its own, at its published size.

A step is forward, backward and update of the published batch, 16 clips (ITMO: 10) in memory at once (`micro_batch`), on
generated sound of five seconds a clip; the features are built before. What the process needs before it has a network
(Python, torch) is the first line. The AST is its full size with random weights: only the numbers differ.
"""

import os
import resource
import subprocess
import sys
import tempfile
from pathlib import Path

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

US8K = ("epochs=1", "batch_size=16", "checkpoint=last")
CASES = {
    "tiny_resnet_transformer": ("epochs=1",),
    "resnet34_pcen_sam_8fold": US8K,
    "resnet34_pcen_sam_8f_200e": (*US8K, "warm_up_epochs=0"),
    "resnet34_attention": US8K,
    "resnet34_pcen_salience_fusion_attention": (*US8K, "salience=none"),
    "resnet34_salience_fusion_film_attention": (*US8K, "salience=none"),
    "resnet34_mr_salience_fusion_film_attention": (*US8K, "salience=none", "warm_up_epochs=0"),
    "wideresnet": (*US8K, "salience=none"),
    "res2net50": (*US8K, "salience=none"),
    "eat_s_esc50": ("epochs=1", "batch_size=16"),
    "eat_m_esc50": ("epochs=1", "batch_size=16"),
    "freesound_mobilenet_pca": (
        "epochs=1",
        "batch_size=16",
        "n_pca=16",
        "pretrained=false",
        "checkpoint=last",
        "tries=1",
    ),
    "itmo_ast_inception": ("epochs=1", "ast=random"),
}


def train(work: Path, recipe: str, settings: tuple[str, ...]) -> None:
    """One epoch of one fold; prints the peak in MiB."""
    from acoustic_kit.cli.assignments import parse_assignments
    from acoustic_kit.device import Compute
    from acoustic_kit.recipe.recipe import load_recipe
    from acoustic_kit.runs.runner import run_recipe
    from acoustic_kit.workspace.workspace import Workspace

    if recipe == "nothing":
        import torch  # noqa: F401
    else:
        loaded = load_recipe(recipe)
        chosen, cpu = loaded.settings(parse_assignments(loaded, settings)), Compute("cpu")
        run_recipe(Workspace.find(work), loaded, chosen, folds=["1"], fresh=True, compute=cpu)
    print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024)


def build(work: Path) -> None:
    """Return the features of all recipes, and the data set."""
    from acoustic_kit.cli.assignments import parse_assignments
    from acoustic_kit.data import make_synthetic
    from acoustic_kit.features import build_features
    from acoustic_kit.features.fingerprints import for_folds
    from acoustic_kit.recipe.recipe import load_recipe
    from acoustic_kit.workspace.init import init_workspace

    make_synthetic(work.parent / "data", n_classes=8, clips_per_class=5, seconds=5.0, sample_rate=22050)
    workspace = init_workspace(work, work.parent / "data")
    for name, settings in CASES.items():
        recipe = load_recipe(name)
        features = list(recipe.features(recipe.settings(parse_assignments(recipe, settings))).values())
        for_fold = for_folds(features, workspace.manifest, workspace.data_root, ["1"])["1"]
        build_features(workspace.manifest, workspace.data_root, workspace.store(), for_fold)


def main() -> None:
    if len(sys.argv) > 2:
        return train(Path(sys.argv[1]), sys.argv[2], tuple(sys.argv[3:]))
    with tempfile.TemporaryDirectory() as folder:
        work = Path(folder, "work")
        build(work)
        print(f"{'recipe':44}{'peak MiB':>10}")
        for name, settings in {"nothing": (), **CASES}.items():
            command = [sys.executable, __file__, str(work), name, *settings]
            done = subprocess.run(command, capture_output=True, text=True, check=False)
            peak = done.stdout.strip() if done.returncode == 0 else done.stderr.strip().splitlines()[-1]
            print(f"{name:44}{peak:>10}", flush=True)
    return None


if __name__ == "__main__":
    main()
