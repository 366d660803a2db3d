"""The version of the package, for all layers."""

from typing import Final

__all__ = ["VERSION"]

VERSION: Final = "0.1.0"
