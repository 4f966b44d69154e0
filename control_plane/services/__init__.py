"""The gRPC services: thin servicers by noun, behind one gate that authenticates, authorises and maps errors."""
