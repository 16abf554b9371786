"""`python -m backend.cli`: the same as `whetstone`, from a checkout."""

from backend.cli import main

main(prog_name="whetstone")
