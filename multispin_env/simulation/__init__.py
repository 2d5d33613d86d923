"""Simulations of controllers over long times, without Gymnasium."""
