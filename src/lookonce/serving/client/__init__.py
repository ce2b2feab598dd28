"""The client of a scoring service: requests, retries, load tests."""
