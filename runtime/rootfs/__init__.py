"""What a container sees as its file system, put together in a mount namespace that ends with the start.

Three layers, lowest first: the image (shared, read-only, ids mapped), the furniture (host-wide
/etc/hosts, /etc/resolv.conf and empty mount points, so that no instance needs copies), the
instance's own writable layer. Nothing is ever left to unmount: the mounts live in the launcher's
namespace and, through it, in the container's.
"""

from runtime.rootfs.assemble import Stage, assemble, attach_volume, open_stage
from runtime.rootfs.common_layer import ensure_furniture, furniture_path

__all__ = ["Stage", "assemble", "attach_volume", "ensure_furniture", "furniture_path", "open_stage"]
