"""`python -m mailprobe` is `mailprobe`."""

from mailprobe.cli import main

main(prog_name="mailprobe")
