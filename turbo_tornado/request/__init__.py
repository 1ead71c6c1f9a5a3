"""Requests: from the keywords of `HTTPClient.fetch` to the bytes on the wire."""
