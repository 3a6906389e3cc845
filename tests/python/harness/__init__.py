"""What the tests stand on: a user's private place, waiting, processes and terminals."""
