"""What tests in the guest share."""
