"""Between MRML nodes and the backend."""
