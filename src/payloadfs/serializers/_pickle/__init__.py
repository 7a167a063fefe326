"""Everything that is not plain data: pickle, protocol 5, with large buffers out of band."""
