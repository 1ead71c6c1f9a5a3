"""What the libcurl and the pycurl of this installation can do, and what they do otherwise."""

from __future__ import annotations

import pycurl

_version = pycurl.version_info()[2]

HAS_HTTP2 = bool(pycurl.version_info()[4] & pycurl.VERSION_HTTP2)
#: From pycurl 7.45.7 on, a transfer can be stopped before libcurl sends it once more.
CAN_STOP = hasattr(pycurl, "PREREQFUNCTION")
#: Otherwise it is for libcurl alone to see that an idle connection is not what it was. It
#: began to look for unread input with 7.87, and to look only once a second with 8.22.
LOOKS_ITSELF = 0x075700 <= _version < 0x081600
#: From 8.17 on, it puts the files that were compiled in into the place of one that is not set.
FILLS_IN_TRUST = _version >= 0x081100
#: Before 7.64, it takes the time of a transfer a moment after it has set its timer. Called
#: in that moment, it lets the transfer go on, and has forgotten the timeout.
FORGETS_TIMEOUTS = _version < 0x074000
#: Several times libcurl's own 16 KB saves a fifth of what a large body costs. From 8.7 on,
#: there is one such buffer for all transfers, not one for each.
BUFFER_SIZE = 131072 if _version >= 0x080700 else 16384
