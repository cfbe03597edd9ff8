"""The images of this host: one flat, read-only directory per manifest digest, counted by who holds it.

`runtime.image.fetch` fills the store from elsewhere; it is not named here, because those who only read
images need none of the network.
"""

from runtime.image.keeping import Keeping
from runtime.image.store import ImageStore
from runtime.image.supply import Supply

__all__ = ["ImageStore", "Keeping", "Supply"]
