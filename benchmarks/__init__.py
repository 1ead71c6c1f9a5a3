"""The comparison of the clients on all workloads: ``python -m benchmarks``."""
