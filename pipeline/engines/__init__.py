"""Who does the work: stages cut into tasks, run by executors."""
