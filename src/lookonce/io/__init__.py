"""Files and images: decoding, Darknet's resize, hashing, atomic writes."""
