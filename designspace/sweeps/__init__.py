"""Many trials: the worker that trains them one after another, and the pool that keeps workers busy."""
