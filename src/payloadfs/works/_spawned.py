"""The main module of processes that a work spawns with ``multiprocessing``: prepares them to import the program."""

from ._program import import_in_spawned

import_in_spawned()
