"""Package mirrors: signed repositories laid out as their vendors' are, for sites without them."""
