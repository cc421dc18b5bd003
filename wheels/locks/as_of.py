"""The moment up to which the registry is looked at: the same inputs give the same locks until it is moved."""

AS_OF = "2026-11-22T00:00:00Z"
OPTIONS = ("--exclude-newer", AS_OF)
