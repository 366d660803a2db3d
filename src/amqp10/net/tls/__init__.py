"""TLS: what can be asked of it, the session without I/O, and the judgement of servers."""
