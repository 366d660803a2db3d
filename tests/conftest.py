"""Settings of all tests."""

from hypothesis import settings

# How long an example takes says something about the machine, not about what is tested. The rest stays as it is: on a CI
# system, Hypothesis takes the same examples every time.
settings.register_profile("unhurried", settings(), deadline=None)
settings.load_profile("unhurried")
