"""Long simulations of controllers, without Gymnasium."""
