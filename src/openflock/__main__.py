"""`python -m openflock`: the command line, for who starts it as a process of its own."""

from openflock.app.cli import main

main()
