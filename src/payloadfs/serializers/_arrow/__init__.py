"""Arrow tables and record batches, and what frames share with them: IPC messages and memory."""
