"""Handle this computer's devices, state, lock, files and processes."""
