"""Where connections come from."""

from __future__ import annotations

import ipaddress

from starlette.types import Scope


def address_of(scope: Scope) -> str:
    """Where a connection comes from; empty where the server cannot tell (a Unix socket)."""
    client = scope.get("client")
    return str(client[0]) if client else ""


def network(address: str) -> str:
    """An address as it is counted: of IPv6 the network, which is what somebody has.

    A subscriber has at least 64 bits to themselves (RFC 6177).
    """
    try:
        found = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:  # a Unix socket has none
        return address
    if isinstance(found, ipaddress.IPv6Address):
        if found.ipv4_mapped is not None:
            return str(found.ipv4_mapped)
        return str(ipaddress.ip_network((found, 64), strict=False))
    return str(found)
