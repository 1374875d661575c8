"""What is measured in lesions."""
