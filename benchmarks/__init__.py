"""Every client on every workload, side by side: ``python -m benchmarks``."""
