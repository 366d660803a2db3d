"""The names that a program written for the reference imports: change the import, keep the program."""

from amqp10.component.amqp import AMQP
from amqp10.errors import AMQPError as IPWorksMQError

__all__ = ["AMQP", "IPWorksMQError"]
