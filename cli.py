"""AVCE on the command line; the same as the installed command `avce` and as `python -m avce`."""

from avce.__main__ import main

if __name__ == "__main__":
    main()
