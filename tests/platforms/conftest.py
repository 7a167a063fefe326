"""The plug-ins are for ``-p``; they contain no tests."""

collect_ignore = ["__main__.py", "darwin.py", "simulate.py", "site", "win32.py"]
