"""What `fsd doctor` looks at, and its page."""
