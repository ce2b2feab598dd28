"""Files and images at the edges: decoding, Darknet's resize, atomic writes."""
