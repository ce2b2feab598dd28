"""The server: routes, queue, guard, processes."""
