"""Payloads inside other frameworks, one module each. Nothing here is loaded unless it is imported."""
