"""``python -m rtplan``: the command line."""

from rtplan.cli import main

if __name__ == "__main__":
    main()
