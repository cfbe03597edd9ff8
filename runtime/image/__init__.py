"""The images of this host: one flat, read-only directory per manifest digest, counted by who holds it."""

from runtime.image.config import ImageConfig
from runtime.image.store import ImageStore

__all__ = ["ImageConfig", "ImageStore"]
