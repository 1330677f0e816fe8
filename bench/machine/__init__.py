"""Handle this computer: its devices, its state, its lock, its files and its processes."""
