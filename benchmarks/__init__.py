"""Speed beside the alternatives. A package, since a dependency of some of them installs one of this name."""
