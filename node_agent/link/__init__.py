"""The daemon's link to the control plane: joining, the gRPC stream, telemetry and logs over NATS."""
