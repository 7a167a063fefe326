"""Continues the simulation of a platform in child processes: Python imports this file when it starts."""

import importlib.util
import os
import pathlib

if platform := os.environ.get("SIMULATED_PLATFORM"):
    path = pathlib.Path(__file__).parents[1] / "simulate.py"
    spec = importlib.util.spec_from_file_location("payloadfs_simulate", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    module.install(platform)
