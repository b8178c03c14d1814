"""`python -m acoustic_kit.cli`: the `akit` command of this Python."""

from acoustic_kit.cli import main

main()
