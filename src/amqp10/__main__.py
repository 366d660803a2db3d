"""``python -m amqp10``: the ``amqp10`` command."""

from amqp10.cli import main

main()
