"""What a task asks for."""

from typing import Literal

Task = Literal["single", "multi"]  # one label a clip, or several
