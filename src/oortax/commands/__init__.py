"""What the commands of the `oortax` tool do, one file each; `oortax.cli` only parses arguments.

Nothing here imports JAX before `session.prepare` has set its number of devices and its precision.
"""
