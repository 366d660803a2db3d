"""Proxies: what is said to them, and when to use which."""
