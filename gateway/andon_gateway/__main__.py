"""`python -m andon_gateway` is `andon-gateway`."""

import sys

from andon_gateway.cli import main

sys.exit(main())
