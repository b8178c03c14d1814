"""A workspace: one competition's folder, with its `akit.toml`, manifest, features, runs and submissions."""

from acoustic_kit.workspace.config import CONFIG_NAME, Config, read_config
from acoustic_kit.workspace.init import init_workspace
from acoustic_kit.workspace.workspace import Workspace

__all__ = ["CONFIG_NAME", "Config", "Workspace", "init_workspace", "read_config"]
