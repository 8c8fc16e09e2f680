"""Torch modules and losses; nothing here reads data or downloads."""
