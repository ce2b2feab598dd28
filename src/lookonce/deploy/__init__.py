"""Services that go on running: on this machine, watched over and started again when they die."""
