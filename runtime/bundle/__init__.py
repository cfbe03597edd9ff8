"""What an instance is on disk, and the OCI configuration worked out from it."""

from runtime.bundle.config import (
    IDS_PER_INSTANCE,
    HostFeatures,
    Launch,
    Program,
    compiled_profile_path,
    environment,
    first_id,
    oci_config,
    process_config,
    render,
)
from runtime.bundle.directory import Desired, InstanceDirectory, InstanceRecord, instance_ids
from runtime.bundle.fences import Fences

__all__ = [
    "IDS_PER_INSTANCE",
    "Desired",
    "Fences",
    "HostFeatures",
    "InstanceDirectory",
    "InstanceRecord",
    "Launch",
    "Program",
    "compiled_profile_path",
    "environment",
    "first_id",
    "instance_ids",
    "oci_config",
    "process_config",
    "render",
]
