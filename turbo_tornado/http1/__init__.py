"""The parser of HTTP/1 responses. It does no I/O."""
