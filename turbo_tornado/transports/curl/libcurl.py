"""The features of the installed libcurl.

The wheels of pycurl 7.45.7, the oldest supported version, contain libcurl 8.16.0.
"""

from __future__ import annotations

import pycurl

if not hasattr(pycurl, "PREREQFUNCTION"):
    raise ImportError("the curl transport needs pycurl 7.45.7 or newer")

HAS_HTTP2 = bool(pycurl.version_info()[4] & pycurl.VERSION_HTTP2)
