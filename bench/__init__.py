"""The benchmark suite: cases, the gate, the clock, result files, and what is read from them."""
