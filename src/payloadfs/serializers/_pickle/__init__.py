"""Pickle, protocol 5, with large buffers out of band: for everything that is not plain data."""
