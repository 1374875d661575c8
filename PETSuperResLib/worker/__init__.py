"""The backend as a separate process: messages, jobs, volumes between processes."""
