"""What says how the control plane is: readiness, metrics, the beat of its programs."""
