"""HTML pages: the report of one training run, and a comparison of several runs."""
