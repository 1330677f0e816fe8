"""Hold the built-in backends, in one folder for each framework."""
