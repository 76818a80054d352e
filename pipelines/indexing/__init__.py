"""Indexes of a cache and a head: built, brought up to date, checked."""
