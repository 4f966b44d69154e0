"""From the product's values to the messages on the wire; the way back is in `validate`."""
