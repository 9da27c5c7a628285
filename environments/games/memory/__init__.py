"""Games that only agents with a memory can win."""
