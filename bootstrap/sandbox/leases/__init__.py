"""What a job holds on this host, and how it is cleared however the job ends."""
