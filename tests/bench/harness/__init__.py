"""The parts of the benchmark: the programs it starts, the loads, and the report."""
