"""Arrow tables and record batches, and the IPC and memory code that pandas frames share with them."""
