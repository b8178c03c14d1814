"""Another user's workspace is refused before any of its recipes runs, unless it is named as safe."""

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from acoustic_kit.errors import AkitError
from acoustic_kit.workspace.ownership import SAFE_WORKSPACES
from acoustic_kit.workspace.workspace import Workspace

GiveAway = Callable[[Path], None]


@pytest.fixture
def give_away(monkeypatch: pytest.MonkeyPatch) -> GiveAway:
    """Make a file another user's: by its owner for root, else by who asks."""

    def give(path: Path) -> None:
        if os.geteuid() == 0:
            os.chown(path, 65534, 65534, follow_symlinks=False)
        else:
            monkeypatch.setattr(os, "geteuid", lambda: 4_000_000)

    return give


@pytest.mark.parametrize("name", [".", "akit.toml", "recipes", "recipes/planted.py", "metrics/planted.py"])
def test_what_another_user_owns_is_refused_and_named(name: str, workspace: Workspace, give_away: GiveAway) -> None:
    for folder in ("recipes", "metrics"):
        (workspace.root / folder).mkdir(exist_ok=True)
        (workspace.root / folder / "planted.py").touch()
    below = workspace.root / "below"
    below.mkdir()
    give_away(workspace.root / name)
    with pytest.raises(AkitError, match=SAFE_WORKSPACES) as caught:
        Workspace.find(below)
    assert str(workspace.root) in str(caught.value)


def test_a_link_is_refused_by_its_owner(workspace: Workspace, tmp_path: Path, give_away: GiveAway) -> None:
    (tmp_path / "planted").mkdir()
    link = tmp_path / "planted" / "akit.toml"
    link.symlink_to(workspace.root / "akit.toml")
    give_away(link)
    with pytest.raises(AkitError, match=SAFE_WORKSPACES):
        Workspace.find(tmp_path / "planted")


@pytest.mark.parametrize("safe", ["*", "/nowhere:{root}", "{root}/"])
def test_a_workspace_that_is_named_as_safe_is_opened(
    safe: str, workspace: Workspace, give_away: GiveAway, monkeypatch: pytest.MonkeyPatch
) -> None:
    give_away(workspace.root / "akit.toml")
    monkeypatch.setenv(SAFE_WORKSPACES, str(workspace.root.parent / "other"))
    with pytest.raises(AkitError, match=SAFE_WORKSPACES):
        Workspace.find(workspace.root)
    monkeypatch.setenv(SAFE_WORKSPACES, safe.format(root=workspace.root))
    assert Workspace.find(workspace.root).root == workspace.root
