"""`python -m himac`."""

import sys

from himac.cli.main import main

sys.exit(main())
