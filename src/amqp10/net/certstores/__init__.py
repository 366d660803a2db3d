"""Certificate stores: one module per family of formats."""
