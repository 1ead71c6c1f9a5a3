"""Transports: they carry the requests of `turbo_tornado.HTTPClient`."""
