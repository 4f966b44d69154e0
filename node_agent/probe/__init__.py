"""What the host is and how its GPUs do, read through NVML and /proc."""
