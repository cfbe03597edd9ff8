"""The images of this host: one flat, read-only directory per manifest digest, kept while it is held.

`runtime.image.fetch` fills the store from elsewhere; it is not named here, because those who only read
images need none of the network.
"""

from runtime.image.fetch_queue import Supply
from runtime.image.keeping import ImageRetention
from runtime.image.store import ImageStore

__all__ = ["ImageRetention", "ImageStore", "Supply"]
