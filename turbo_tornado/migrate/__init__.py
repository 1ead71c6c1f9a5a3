"""A tool to move from Turbo.lua: ``python -m turbo_tornado.migrate check FILE``."""
