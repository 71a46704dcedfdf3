"""The request that is being answered, as it came in. The server answers one at a time, so one place is enough."""

body = b""
