"""`python -m lookonce`."""

import sys

from lookonce.cli.main import main

sys.exit(main())
