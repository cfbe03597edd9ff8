"""Where collected static files go: hashed names, gzip beside them."""

from typing import Any

from whitenoise.compress import Compressor
from whitenoise.storage import CompressedManifestStaticFilesStorage


class StaticStorage(CompressedManifestStaticFilesStorage):  # type: ignore[misc]
    """Without Brotli: on the API browser's large scripts it took half a minute for little gain."""

    def create_compressor(self, **kwargs: Any) -> Compressor:
        """WhiteNoise asks for the compressor of all files."""
        return super().create_compressor(**{**kwargs, "use_brotli": False})
