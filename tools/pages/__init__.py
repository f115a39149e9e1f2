"""Makes the handouts: pages, drawings and what is generated from the sources.
Called by tools/handouts."""
