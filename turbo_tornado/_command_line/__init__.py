"""The parts of ``python -m turbo_tornado``."""
