"""The images of a host."""

import pytest

from runtime.errors import ImageUnknownError, SpecInvalidError
from runtime.specs import VolumeFate
from tests.runtime.promises.subject import FIRST, Subject


class ImagePromises:
    """Subclasses define the fixture `subject`."""

    def test_images_say_who_uses_them(self, subject: Subject) -> None:
        spec = subject.spec()
        subject.driver.ensure_running(spec, fence=FIRST)
        (image,) = [one for one in subject.driver.images() if one.digest == spec.image_digest]
        assert image.users == (spec.instance_id,)
        assert image.disk_bytes > 0
        subject.driver.ensure_absent(spec.instance_id, fence=FIRST, volume=VolumeFate.DELETE)
        assert all(one.users == () for one in subject.driver.images())

    def test_an_image_that_is_there_is_had_at_once(self, subject: Subject) -> None:
        digest = subject.spec().image_digest
        assert subject.driver.ensure_image(digest, "").digest == digest
        with pytest.raises(ImageUnknownError, match="sha256:9999"):
            subject.driver.ensure_image("sha256:" + "9" * 64, "")
        with pytest.raises(SpecInvalidError, match="image_digest is 'latest'"):
            subject.driver.ensure_image("latest", "")

    def test_images_in_use_kept_or_young_are_never_collected(self, subject: Subject) -> None:
        running, stopped = subject.spec(0), subject.spec(1)
        subject.driver.ensure_running(running, fence=FIRST)
        subject.driver.ensure_running(stopped, fence=FIRST)
        subject.driver.ensure_stopped(stopped.instance_id, fence=FIRST)
        subject.driver.ensure_absent(running.instance_id, fence=FIRST, volume=VolumeFate.DELETE)
        kept, young = subject.spare_image(), subject.spare_image(is_young=True)
        idle = subject.spare_image()
        assert subject.driver.collect_images((kept,)) == (idle,)
        held = {image.digest for image in subject.driver.images()}
        assert {stopped.image_digest, kept, young} <= held
        assert idle not in held
        assert subject.driver.ensure_running(stopped, fence=FIRST).healthy
        assert subject.driver.collect_images(()) == (kept,)
        with pytest.raises(SpecInvalidError, match="image_digest is 'all'"):
            subject.driver.collect_images(("all",))
