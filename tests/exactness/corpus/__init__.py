"""The corpus: named objects of every kind, each of which has to come back exactly."""

import importlib
import sys

from ..harness import IMPORTABLE

sys.path.append(str(IMPORTABLE))

FAMILIES = ("columns", "cells", "indexes", "facts", "series", "arrays", "tables", "plain", "subclasses", "libraries")


def family(name):
    """Return the cases of one family, by name."""
    made = importlib.import_module(f".{name}", __package__).cases()
    return {f"{name}/{case}": obj for case, obj in made.items()}


def cases():
    """Return the cases of all families."""
    return {name: obj for each in FAMILIES for name, obj in family(each).items()}
