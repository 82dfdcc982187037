"""Pure functions of arrays: estimates and their intervals; no torch, no files."""
