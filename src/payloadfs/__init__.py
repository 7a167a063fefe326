"""payloadfs."""
