"""The lock in front of the web UI: who may pass, and the proxy that everything passes through."""
