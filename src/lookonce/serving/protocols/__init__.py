"""Request and response formats of other services that this service speaks."""
