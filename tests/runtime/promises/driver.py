"""What every driver promises, as one suite: a subclass brings the driver, the tests are the same."""

from tests.runtime.promises.images import ImagePromises
from tests.runtime.promises.instances import InstancePromises
from tests.runtime.promises.volumes import VolumePromises


class DriverPromises(InstancePromises, ImagePromises, VolumePromises):
    """Subclasses define the fixture `subject`."""
