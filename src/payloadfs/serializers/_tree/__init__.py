"""Trees: containers and values of plain data in msgpack, with large parts out of band. No pickle."""
