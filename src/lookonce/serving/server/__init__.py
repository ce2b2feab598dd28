"""The HTTP server: routes, request queue, middleware, worker processes."""
