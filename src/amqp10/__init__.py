"""AMQP 1.0 for Python."""
