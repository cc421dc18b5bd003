"""What `fsd setup` is made of: what a machine has, what a profile lacks, which wheels fit, and whether they work."""
