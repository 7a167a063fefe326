"""payloadfs against everyone, on the machine at hand: ``python -m benchmarks``."""
