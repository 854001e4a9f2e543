"""Structures by molecular dynamics, labelled by models."""
