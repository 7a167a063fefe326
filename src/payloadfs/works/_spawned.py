"""The main module of processes that a work spawns with ``multiprocessing``: prepares them to import the program."""

from ._program import import_in_spawned

if __name__ == "__mp_main__":
    import_in_spawned()
