"""What no update replaces: the choice of the application, breadcrumbs, recovery."""

# What the application may rely on here; a bundle names the version that it needs.
API = 2
