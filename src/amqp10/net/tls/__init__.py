"""TLS: its settings, the session without I/O, and the verification of servers."""
