"""The command line `orquanta`: one file per noun, on top of the SDK.

Nothing here imports gRPC or rich before a command needs it, so that help and completion are quick.
"""
