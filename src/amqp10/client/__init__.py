"""What the blocking and the asyncio API share: everything but sockets, threads, event loops and clocks.

``core.py`` turns what the engine reports into state, ``recovery.py`` brings the connection back, ``sending.py``,
``receiving.py`` and ``requests.py`` are the two ends of a link and requests over them; ``operations.py`` has what can
wait. ``wait.py`` says what a driver has to offer.
"""
