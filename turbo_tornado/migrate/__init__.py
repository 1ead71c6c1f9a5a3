"""Helps to move programs from Turbo.lua: ``python -m turbo_tornado.migrate check FILE``."""
