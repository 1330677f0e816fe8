"""Hold the commands that maintain the project. Users of the suite do not need them."""
