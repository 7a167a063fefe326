"""Payloads for other frameworks, one module each. A module is loaded only when it is imported."""
