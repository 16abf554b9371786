"""The routes: what Label Studio, programs and operators call."""
