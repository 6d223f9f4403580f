"""From an address to a host in the inventory that is proven to work."""
