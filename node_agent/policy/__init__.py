"""What the host may do by itself: the control plane's signed policy, checked and kept."""
