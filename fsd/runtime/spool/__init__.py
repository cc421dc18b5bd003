"""From this disk to Drive, behind the work's back: nothing is called saved that was not read back."""
