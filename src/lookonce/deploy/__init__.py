"""Deploy services on this machine: supervised in the background, or in a container."""
