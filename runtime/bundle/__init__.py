"""What an instance is on disk, and the OCI configuration worked out from it."""

from runtime.bundle.config import (
    IDS_PER_INSTANCE,
    HostFeatures,
    Launch,
    Program,
    compiled_profile,
    environment,
    first_id,
    keep_compiled_profile,
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
    "compiled_profile",
    "environment",
    "first_id",
    "instance_ids",
    "keep_compiled_profile",
    "oci_config",
    "process_config",
    "render",
]
