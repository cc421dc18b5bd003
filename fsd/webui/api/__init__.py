"""AUTOMATIC1111's API on the studio's engine: what is asked, what it means as a Job, what is answered."""
