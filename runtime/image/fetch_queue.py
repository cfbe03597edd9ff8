"""Waits for images no longer than a caller may wait: the fetching itself goes on in a thread."""

from concurrent.futures import Future
from concurrent.futures import TimeoutError as WaitedTooLongError
from threading import Lock, Thread

from runtime.config import ImageAccess
from runtime.errors import ImageUnavailableError
from runtime.ids import check_digest
from runtime.image.store import ImageStore
from runtime.statuses import ImageStatus


class Supply:
    """Gets what one store lacks. Safe to share between threads; one thread per image that is lacking."""

    def __init__(self, store: ImageStore, access: ImageAccess) -> None:
        self._store = store
        self._access = access
        self._fetches: dict[str, Future[ImageStatus]] = {}
        self._lock = Lock()

    def ensure(self, digest: str, source: str, *, wait_seconds: float) -> None:
        """Have the image in the store (see Fetcher.ensure for source and errors).

        Raises ImageUnavailableError after wait_seconds; ask again then, the fetch goes on.
        """
        if self._store.has(check_digest(digest)):
            return
        try:
            self._fetch(digest, source).result(wait_seconds)
        except WaitedTooLongError:
            raise ImageUnavailableError(
                f"image {digest} is still being fetched after {wait_seconds:g} s; ask again",
                digest=digest,
            ) from None

    def _fetch(self, digest: str, source: str) -> "Future[ImageStatus]":
        with self._lock:
            going = self._fetches.get(digest)
            if going is None:
                going = self._fetches[digest] = Future()
                # A daemon: an agent that ends does not wait; what is half done is swept at its next start.
                Thread(
                    target=self._work, args=(digest, source, going), name="fetch", daemon=True
                ).start()
            return going

    def _work(self, digest: str, source: str, going: "Future[ImageStatus]") -> None:
        from runtime.image.fetch import Fetcher  # most agents never need what it needs

        try:
            status = Fetcher(self._store, self._access).ensure(digest, source)
        except BaseException as error:  # noqa: BLE001 - passed on to the waiting caller
            outcome: BaseException | ImageStatus = error
        else:
            outcome = status
        with self._lock:
            del self._fetches[digest]
        if isinstance(outcome, BaseException):
            going.set_exception(outcome)
        else:
            going.set_result(outcome)
