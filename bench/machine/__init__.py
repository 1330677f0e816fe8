"""This computer: its devices and state, its lock, files and processes."""
