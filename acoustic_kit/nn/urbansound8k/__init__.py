"""Layers of UrbanSound8K's winner: front end, backbones, attention, fusion with a category.

Source: Jaasssoooonnnnn/Urbansound8K_Competition.
"""
