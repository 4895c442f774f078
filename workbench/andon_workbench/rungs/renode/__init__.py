"""A whole emulated board under Renode: finding the parts, running it, steering it."""
