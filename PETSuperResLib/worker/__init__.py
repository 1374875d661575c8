"""The backend as a process of its own: messages, jobs, volumes between processes."""
