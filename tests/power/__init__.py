"""Power cuts of a real file system: ext4 in a loop device, shut down under the processes that write to it."""
