"""What is never printed, logged or stored: passwords in addresses."""

from __future__ import annotations


def mask_password(url: str) -> str:
    """Return an address without the password in it, for messages and tags."""
    scheme, separator, rest = url.partition("://")
    credentials, at, place = rest.rpartition("@")
    return f"{scheme}{separator}{credentials.partition(':')[0]}{at}{place}" if at else url
