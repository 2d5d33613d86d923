"""Gymnasium environments around the model: no formula of the system stands here."""
