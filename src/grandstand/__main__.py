"""``python -m grandstand`` is the command line."""

from grandstand.cli import main

main()
