"""Settings of all tests."""

import gc
import signal

from hypothesis import settings

from tests.examples import examples

# How long an example takes says something about the machine, not about what is tested. The rest stays as it is: on a CI
# system, Hypothesis takes the same examples every time.
settings.register_profile("unhurried", settings(), deadline=None, max_examples=examples(100))
settings.load_profile("unhurried")

# A shell that starts a program in the background has Ctrl-C ignored in it, and Python leaves it so.
signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_collection_finish() -> None:
    """What lives as long as the run, thousands of tests, is not looked through for garbage again and again.

    What grows with the run, the reports, is looked through a tenth as often. Tests that need a collection make one.
    """
    gc.collect()
    gc.freeze()
    young, middle, _ = gc.get_threshold()
    gc.set_threshold(young, middle, 100)
