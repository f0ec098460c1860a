"""Against a reference: image, contour and arm comparisons."""
