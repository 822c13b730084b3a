"""What was configured outside the program: files and variables, as CodeCarbon reads them.

`~/.codecarbon.config`, above it `./.codecarbon.config`, above it `CODECARBON_*` of the environment; arguments are above all.
"""

from __future__ import annotations

import os

from .say import warn

FILE = ".codecarbon.config"
SECTION = "codecarbon"
PREFIX = "codecarbon_"


def read_file(path: str) -> dict[str, str]:
    """The section of one file. One that is not there or cannot be read says nothing; the latter is told."""
    if not os.path.isfile(path):
        return {}
    import configparser

    parser = configparser.ConfigParser()
    try:
        parser.read(path, encoding="utf-8")
        return dict(parser[SECTION]) if parser.has_section(SECTION) else {}
    except (OSError, configparser.Error, UnicodeDecodeError) as error:
        warn(f"{path} is not used: {str(error).splitlines()[0]}")
        return {}


def read_environment() -> dict[str, str]:
    """The variables, without their prefix, in lower case."""
    return {name.lower()[len(PREFIX) :]: value for name, value in os.environ.items() if name.lower().startswith(PREFIX)}


def configured() -> dict[str, str]:
    """All of it, each above the one before."""
    home = os.path.join(os.path.expanduser("~"), FILE)
    return {**read_file(home), **read_file(os.path.join(os.getcwd(), FILE)), **read_environment()}
