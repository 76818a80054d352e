"""Scores made anew from a matrix of similarities, against hubs that come first for everything."""
