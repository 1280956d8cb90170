"""Interfaces of other libraries over Apus."""
