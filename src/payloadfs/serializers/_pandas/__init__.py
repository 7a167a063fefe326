"""pandas frames and series as Arrow files with a sidecar."""
