"""Boxes, detections, the model card and class colours: numpy only, imported by everything."""
