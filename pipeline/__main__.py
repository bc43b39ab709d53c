"""``python -m pipeline`` is the command line."""

from pipeline.cli import run_and_exit

run_and_exit()
