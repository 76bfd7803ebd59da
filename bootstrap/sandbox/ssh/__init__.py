"""The ssh agent that holds a rule's keys, apart from the job that uses them."""
